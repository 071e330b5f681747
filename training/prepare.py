"""From sources to a prepared dataset: inspect every photo, resolve duplicates, write the splits, analyse them."""

from __future__ import annotations

import hashlib
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from training import dataset
from training.analysis import Analysis, analyse
from training.analysis_page import page
from training.classes import Classes, read_classes
from training.dataset import FORMAT, MANIFEST, PIXELS, SPLITS, split_of
from training.duplicates import Resolution, resolve
from training.label_errors import Suspect, examine
from training.quality import Inspected, Limits, SetAside, inspect
from training.readers import SourceError, folder_files
from training.runs import whole
from training.samples import Sample
from training.sources import CIFAR10, CIFAR100, Progress, samples

if TYPE_CHECKING:
    import pyarrow as pa

    from runners.pipeline import Pipeline

BLOCK = 2_000
"""Photos that are in memory at once."""
PAGE, FIGURES = "analysis.html", "analysis.json"
INDEX = ("id", "sha256", "source", "original", "label", "split", "width", "height", "marks", "dhash")


@dataclass(frozen=True, slots=True)
class Staged:
    """All photos that passed inspection: ``index`` with a row each, their pixels in a raw file; and those set aside."""

    index: pa.Table
    pixels: Path
    set_aside: list[tuple[SetAside, str]]

    def texts(self, column: str) -> list[str]:
        """A column of few different texts, each of them in memory once."""
        return [sys.intern(text) for chunk in self.index[column].chunks for text in chunk.to_pylist()]

    def fetch(self, rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Pixels of some rows, uint8 (m, 32, 32, 3)."""
        return self._file()[rows].reshape(-1, 32, 32, 3)

    def block(self, start: int) -> NDArray[np.uint8]:
        return np.array(self._file()[start : start + BLOCK])

    def _file(self) -> NDArray[np.uint8]:
        # Opened anew each time: pages of a long-lived map would count as this process's memory.
        return np.memmap(self.pixels, np.uint8, "r", shape=(self.index.num_rows, PIXELS))


def prepare(
    classes_file: Path, data_root: Path, folder: Path, progress: Progress, model: Pipeline | None = None
) -> dict[str, Any]:
    """Make ``folder`` the dataset of ``classes_file``, unless it is that already; its `analysis.json` comes back.

    ``model``: the served pair, for the analysis: its embedding makes the map, and where it has the same classes it
    finds likely label errors in the held-out splits. A dataset that another one analysed is made again, the same.

    Raises:
        SourceError: the classes file or a source cannot be used; a dataset that was there stays.
    """
    classes = read_classes(classes_file, data_root)
    inputs = fingerprint(classes_file, classes, data_root)
    manifest = dataset.read_manifest(folder)
    analysed_by = model.cnn_tag if model is not None else (manifest or {}).get("model")
    current = manifest is not None and (manifest["inputs"], manifest["model"]) == (inputs, analysed_by)
    if not current or not (folder / FIGURES).is_file():
        folder.parent.mkdir(parents=True, exist_ok=True)
        with whole(folder) as scratch:
            analysis = build(samples(classes, data_root, progress), classes.labels, scratch, progress, model)
            manifest = {
                "format": FORMAT,
                "labels": classes.labels,
                "digest": analysis.digest,
                "inputs": inputs,
                "model": model.cnn_tag if model is not None else None,
                "classes": analysis.classes,
            }
            (scratch / MANIFEST).write_text(json.dumps(manifest, indent=2) + "\n")
    result: dict[str, Any] = json.loads((folder / FIGURES).read_text())
    return result


def fingerprint(classes_file: Path, classes: Classes, data_root: Path) -> str:
    """A hash of what the dataset is made of: the classes file, and name, size and time of every source file."""
    digest = hashlib.sha256(f"{FORMAT} {data_root.resolve()}".encode() + classes_file.read_bytes())
    files: list[Path] = []
    for cifar, chosen in ((CIFAR10, classes.cifar10), (CIFAR100, classes.cifar100)):
        if chosen:
            files += sorted((data_root / cifar.name).glob("*.parquet"))
            files += [p for p in (data_root / cifar.archive.name, data_root / cifar.folder) if p.exists()]
    for directory in classes.folders.values():
        files += folder_files(directory)
    for path in files:
        status = path.stat()
        digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode())
    return digest.hexdigest()


def build(
    stream: Iterable[Sample],
    labels: tuple[str, ...],
    folder: Path,
    progress: Progress,
    model: Pipeline | None = None,
) -> Analysis:
    """Write the splits of ``stream`` and their analysis into the empty ``folder``.

    Memory holds a block of pixels at a time, and of every photo its row of the index (about half a kilobyte).

    Raises:
        SourceError: a source fails, or a class has no usable training photo.
    """
    staged = _stage(stream, folder / "pixels.raw")
    progress("looking for duplicates", 0, staged.index.num_rows)
    resolution = resolve(
        staged.index["id"].to_pylist(),
        staged.texts("split"),
        staged.texts("label"),
        np.concatenate([np.array(chunk.to_pylist(), "S64") for chunk in staged.index["sha256"].chunks]),
        staged.index["dhash"].to_numpy(),
        staged.fetch,
    )
    progress("looking for duplicates", staged.index.num_rows, staged.index.num_rows)
    digest = _write_splits(staged, resolution, folder)
    _refuse_empty_classes(folder, labels)
    analysis = _analyse(labels, staged, resolution, folder, digest, model, progress)
    (folder / PAGE).write_text(page(analysis))
    (folder / FIGURES).write_text(analysis.model_dump_json(indent=2) + "\n")
    staged.pixels.unlink()
    return analysis


def _stage(stream: Iterable[Sample], raw: Path) -> Staged:
    """Inspect every photo; write pixels to ``raw`` as they come."""
    import pyarrow as pa

    tables: list[pa.Table] = []
    set_aside: list[tuple[SetAside, str]] = []
    rows: list[dict[str, Any]] = []
    limits = Limits()
    with raw.open("wb") as file:
        for sample in stream:
            found = inspect(sample, limits)
            if isinstance(found, SetAside):
                set_aside.append((found, sample.label))
                continue
            file.write(found.pixels.tobytes())
            key = sample.group if sample.group != sample.id else found.sha256
            rows.append(_row(found, sample.source, sample.original, sample.label, split_of(sample.official, key)))
            if len(rows) == BLOCK:
                tables.append(pa.Table.from_pylist(rows, _index_schema()))
                rows = []
    tables.append(pa.Table.from_pylist(rows, _index_schema()))
    return Staged(pa.concat_tables(tables), raw, set_aside)


def _row(found: Inspected, source: str, original: str, label: str, split: str) -> dict[str, Any]:
    values = (found.id, found.sha256, source, original, label, split)
    return dict(zip(INDEX, (*values, found.width, found.height, found.marks, found.dhash), strict=True))


def _index_schema() -> pa.Schema:
    import pyarrow as pa

    return dataset.schema().remove(dataset.schema().get_field_index("pixels")).append(pa.field("dhash", pa.uint64()))


def _write_splits(staged: Staged, resolution: Resolution, folder: Path) -> str:
    """Write the kept rows, each to the file of its split; the dataset's digest comes back."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    schema = dataset.schema()
    digests = {split: hashlib.sha256() for split in SPLITS}
    with ExitStack() as stack:
        writers = {s: stack.enter_context(pq.ParquetWriter(folder / f"{s}.parquet", schema)) for s in SPLITS}
        for start in range(0, staged.index.num_rows, BLOCK):
            block = staged.index.slice(start, BLOCK)
            pixels = staged.block(start)
            names, splits = block["id"].to_pylist(), np.array(block["split"].to_pylist())
            marks = [[*m, *resolution.marks.get(n, ())] for m, n in zip(block["marks"].to_pylist(), names, strict=True)]
            block = block.set_column(
                block.schema.get_field_index("marks"),
                schema.field("marks"),
                pa.array(marks, schema.field("marks").type),
            )
            for split, writer in writers.items():
                chosen = np.flatnonzero(resolution.kept[start : start + BLOCK] & (splits == split))
                if len(chosen):
                    data = pa.py_buffer(np.ascontiguousarray(pixels[chosen]))
                    column = pa.Array.from_buffers(pa.binary(PIXELS), len(chosen), [None, data])
                    part = block.take(chosen).drop_columns("dhash").append_column(schema.field("pixels"), column)
                    writer.write_table(part)
                    for row in zip(*(part[name].to_pylist() for name in ("id", "sha256", "label")), strict=True):
                        digests[split].update("\0".join(row).encode() + b"\n")
    whole_digest = hashlib.sha256("".join(f"{s} {d.hexdigest()}\n" for s, d in digests.items()).encode())
    return whole_digest.hexdigest()


def _refuse_empty_classes(folder: Path, labels: tuple[str, ...]) -> None:
    import pyarrow.parquet as pq

    there = Counter(pq.read_table(folder / "train.parquet", columns=["label"])["label"].to_pylist())
    empty = [label for label in labels if not there[label]]
    if empty:
        raise SourceError(f"no usable training photo of class {empty[0]}: add photos, or take the class out")


def _copies(reasons: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """(dropped, kept) ids of exact copies, of which the reason names the one that is kept."""
    for dropped, reason in reasons.items():
        kept, found, _ = reason.removeprefix("duplicate of ").rpartition(" in ")
        if found and reason.startswith("duplicate of "):
            yield dropped, kept


def _suspects(folder: Path, labels: tuple[str, ...], model: Pipeline | None) -> list[Suspect] | None:
    """Likely label errors, by the served network, in the splits that did not train it; None where it does not fit."""
    if model is None or model.labels != labels:
        return None
    import pyarrow.parquet as pq

    found: list[Suspect] = []
    for split in SPLITS[1:]:
        file = pq.ParquetFile(folder / f"{split}.parquet")
        rows = file.read(columns=["id", "label"]).to_pydict()
        given = np.array([labels.index(label) for label in rows["label"]], np.int64)
        pixels = (dataset.pixels_of(batch["pixels"]) for batch in file.iter_batches(BLOCK, columns=["pixels"]))
        found += examine(model, split, pixels, given, rows["id"]).suspects
    return found


def _analyse(
    labels: tuple[str, ...],
    staged: Staged,
    resolution: Resolution,
    folder: Path,
    digest: str,
    model: Pipeline | None,
    progress: Progress,
) -> Analysis:
    names: list[str] = staged.index["id"].to_pylist()
    rows = np.flatnonzero(~resolution.kept)
    places = staged.index.select(["id", "source", "label"]).take(rows).to_pylist()
    of = {place["id"]: (place["source"], place["label"]) for place in places}
    dropped = [(s.id, s.source, label, f"{s.reason}: {s.detail}") for s, label in staged.set_aside]
    dropped += [(name, *of[name], reason) for name, reason in resolution.reasons.items()]
    near = resolution.near
    pairs = [(kept, dropped, "exact", 0.0) for dropped, kept in _copies(resolution.reasons)]
    pairs += [
        (names[a], names[b], "near-duplicate", float(1 - c))
        for a, b, c in zip(near.first.tolist(), near.second.tolist(), near.correlation.tolist(), strict=True)
    ]
    outside = sorted({int(row) for row in (*near.first, *near.second) if not resolution.kept[row]})
    pictures: Mapping[str, bytes] = {names[row]: staged.fetch(np.array([row])).tobytes() for row in outside}
    suspects = _suspects(folder, labels, model)
    doubtful = None
    if suspects is not None:
        doubtful = [(s.id, labels[s.given], labels[s.suggested], s.confidence) for s in suspects]
    progress("analysing", 0, len(names))

    def batches() -> Iterator[pa.RecordBatch]:
        return dataset.batches(folder)

    result = analyse(
        batches,
        labels,
        digest,
        dropped,
        pairs,
        doubtful,
        (lambda pixels: model.score(pixels).embedding) if model is not None else None,
        pictures=pictures,
    )
    progress("analysing", len(names), len(names))
    return result
