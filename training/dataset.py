"""The prepared dataset on disk: a parquet file per split, and a manifest with one digest over all of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runners.images import SIDE
from training.sources import Labelled, SourceError

if TYPE_CHECKING:
    import pyarrow as pa

FORMAT = 2
"""Version of the layout; a dataset of another one is prepared again."""
MANIFEST = "manifest.json"
SPLITS = ("train", "validation", "calibration", "test")
PIXELS = SIDE * SIDE * 3
HELD_OUT = {
    "official": {"validation": 50, "calibration": 50},
    "folder": {"validation": 100, "calibration": 100, "test": 200},
}
"""Per mille of the photos in each held-out split: of official training images, and of photos without an official split.
Validation steers choices, scales the temperature and fits the gate; calibration sets the gate's threshold and is the
monitoring reference. Neither ever trains; test is read once, at the end."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """``splits``: name -> (pixels uint8 (n, 32, 32, 3), labels int64 (n,)). ``sources``: name -> source of each photo.

    ``digest``: SHA-256 over ids, pixels, classes and splits.
    """

    splits: dict[str, Labelled]
    sources: dict[str, NDArray[np.str_]]
    labels: tuple[str, ...]
    digest: str

    def __getitem__(self, split: str) -> Labelled:
        return self.splits[split]

    def held_out(self) -> tuple[Labelled, NDArray[np.str_]]:
        """The validation and the calibration photos together, which trained nothing, and their sources."""
        (pixels, labels), (more, theirs) = self["validation"], self["calibration"]
        sources = np.concatenate([self.sources["validation"], self.sources["calibration"]])
        return (np.concatenate([pixels, more]), np.concatenate([labels, theirs])), sources


def split_of(official: str, key: str) -> str:
    """The split of a photo: its official test, else by a hash of ``key``, so that adding photos never moves an old one.

    ``official``: `train`, `test` or empty. ``key``: the SHA-256 of its pixels, or the name of its group.
    """
    if official == "test":
        return "test"
    bucket = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big") % 1000
    for name, share in HELD_OUT["official" if official else "folder"].items():
        if bucket < share:
            return name
        bucket -= share
    return "train"


def schema() -> pa.Schema:
    """Columns of the split files: one row per photo."""
    import pyarrow as pa

    texts = ["id", "sha256", "source", "original", "label", "split"]
    return pa.schema(
        [(name, pa.string()) for name in texts]
        + [("width", pa.int32()), ("height", pa.int32())]
        + [("marks", pa.list_(pa.string())), ("pixels", pa.binary(PIXELS))]
    )


def batches(folder: Path, rows: int = 2_000) -> Iterator[pa.RecordBatch]:
    """All rows of a prepared dataset, split after split, in batches of at most ``rows``."""
    import pyarrow.parquet as pq

    for split in SPLITS:
        yield from pq.ParquetFile(folder / f"{split}.parquet").iter_batches(rows)


def pixels_of(column: pa.Array) -> NDArray[np.uint8]:
    """A column of pixels as uint8 (n, 32, 32, 3)."""
    data = np.frombuffer(column.buffers()[1], np.uint8, len(column) * PIXELS, column.offset * PIXELS)
    return data.reshape(-1, SIDE, SIDE, 3)


def read_manifest(folder: Path) -> dict[str, Any] | None:
    """The manifest in ``folder``, None where there is none of this layout."""
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST).read_text())
    except (OSError, ValueError):
        return None
    return manifest if manifest.get("format") == FORMAT else None


def load(folder: Path) -> Dataset:
    """Read a prepared dataset into memory.

    Raises:
        SourceError: it was not prepared, or a file is damaged.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    manifest = read_manifest(folder)
    if manifest is None:
        raise SourceError(f"{folder}: no prepared dataset; run `python -m training prepare` first")
    labels = tuple(manifest["labels"])
    index = {label: number for number, label in enumerate(labels)}
    splits, sources = {}, {}
    try:
        for split in SPLITS:
            table = pq.read_table(folder / f"{split}.parquet", columns=["label", "source", "pixels"]).combine_chunks()
            pixels = [pixels_of(chunk) for chunk in table["pixels"].chunks]
            numbers = np.array([index[label] for label in table["label"].to_pylist()], np.int64)
            splits[split] = (np.concatenate(pixels) if pixels else np.empty((0, SIDE, SIDE, 3), np.uint8), numbers)
            sources[split] = np.array(table["source"].to_pylist(), np.str_)
    except (pa.ArrowException, KeyError, OSError) as error:
        raise SourceError(f"{folder}: damaged ({error}); delete it and run `python -m training prepare`") from error
    return Dataset(splits, sources, labels, manifest["digest"])


def digest_of(data: Labelled) -> str:
    """SHA-256 of pixels and labels."""
    return hashlib.sha256(data[0].tobytes() + data[1].astype("<i8").tobytes()).hexdigest()
