"""Readers of what a data root may hold, each a stream: official CIFAR batches, parquet copies, folders of photos."""

from __future__ import annotations

import os
import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.images import SIDE

CIFAR10_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR100_LABELS = tuple(
    """apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm""".split()  # noqa: SIM905 (a list of quoted names is no easier to read)
)
"""Each set's labels in the order of its numbers."""

LARGEST_PHOTO = 100_000_000
"""Bytes; more is never read of one file in a folder. A longer file comes cut, and above every limit on size."""

_NO_PHOTOS = frozenset({"thumbs.db", "desktop.ini"})  # what Windows leaves in every folder of photos
_ROWS = 1000  # rows that a reader holds as objects at a time


class SourceError(Exception):
    """Data that is missing or not what it should be; the message says where and what to do."""


def read_batch(path: Path, label_key: bytes = b"labels") -> tuple[NDArray[np.uint8], list[int]]:
    """One official batch file, a pickle in which nothing but arrays and plain types is allowed.

    Returns:
        Rows uint8 (n, 3072), each the red, green and blue plane of a 32×32 image, and their n labels.

    Raises:
        SourceError: the pickle names anything else, is damaged, or holds something else.
    """
    try:
        with path.open("rb") as file:
            batch = _ArraysOnly(file, encoding="bytes").load()
        rows, labels = batch[b"data"], batch[label_key]
    except Exception as error:  # a damaged or hostile pickle raises anything
        raise SourceError(f"{path}: not a CIFAR batch ({error or type(error).__name__})") from error
    if not isinstance(rows, np.ndarray) or rows.dtype != np.uint8 or rows.shape != (len(rows), 3 * SIDE * SIDE):
        raise SourceError(f"{path}: not a CIFAR batch (its data are not rows of {3 * SIDE * SIDE} bytes)")
    if not isinstance(labels, list) or len(labels) != len(rows) or not all(isinstance(n, int) for n in labels):
        raise SourceError(f"{path}: not a CIFAR batch (not one label per image)")
    return rows, labels


def batch_rows(path: Path, label_key: bytes) -> Iterator[tuple[bytes, int]]:
    """Stream `read_batch`: 3,072 bytes of interleaved RGB and a label each. The file's array is held meanwhile."""
    rows, labels = read_batch(path, label_key)
    for start in range(0, len(rows), _ROWS):
        images = rows[start : start + _ROWS].reshape(-1, 3, SIDE, SIDE).transpose(0, 2, 3, 1)
        yield from zip((image.tobytes() for image in images), labels[start : start + _ROWS], strict=True)


def parquet_rows(path: Path, label: str | None) -> Iterator[tuple[bytes, Any]]:
    """Stream a parquet copy: the encoded image of `img.bytes`, empty where there is none, and column ``label`` or None.

    Raises:
        SourceError: no parquet file, damaged, or without these columns.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(_ROWS, columns=["img.bytes", *([label] if label else [])]):
                images = batch.column("img").field("bytes")
                labels = batch.column(label).to_pylist() if label else [None] * len(images)
                yield from zip((b.as_py() or b"" for b in images), labels, strict=True)
    except (pa.ArrowException, KeyError, OSError) as error:
        raise SourceError(f"{path}: not a readable parquet file of images ({error})") from error


def folder_files(folder: Path) -> Iterator[Path]:
    """Every file below ``folder``, any depth, in the order of names.

    Hidden files, linked folders and those of an unfinished burst (`training.capture`) are left out.
    """
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith(".") and not name.endswith(".partial"))
        for name in sorted(files):
            if not name.startswith(".") and name.lower() not in _NO_PHOTOS:
                yield Path(place, name)


def read_file(path: Path) -> bytes:
    """At most `LARGEST_PHOTO` + 1 bytes of ``path``; none where it cannot be read or is no regular file."""
    try:
        if not path.is_file():  # a pipe would block for ever
            return b""
        with path.open("rb") as file:
            return file.read(LARGEST_PHOTO + 1)
    except OSError:
        return b""


class _ArraysOnly(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if module in ("numpy.core.multiarray", "numpy._core.multiarray") and name == "_reconstruct":
            return np.empty(0).__reduce__()[0]
        if module == "numpy" and name in ("ndarray", "dtype"):
            return getattr(np, name)
        if (module, name) == ("_codecs", "encode"):
            return _latin1
        raise pickle.UnpicklingError(f"{module}.{name} is not allowed in a data file")


def _latin1(text: str, _encoding: str) -> bytes:
    return text.encode("latin1")
