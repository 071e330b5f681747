"""Readers of the data root: the official CIFAR-10 archive, fetched when absent, and parquet copies of it."""

from __future__ import annotations

import io
import pickle
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from runners.images import SIDE, read_photo

CIFAR10_LABELS = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
CIFAR10_URL = "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz"
CIFAR10_SHA256 = "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
CIFAR10_SIZES = {"train": 50_000, "test": 10_000}

Split = Literal["train", "test"]
Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]


class Progress(Protocol):
    """Told what is being done, how many images are done and of how many; ``note`` says where in the work that is."""

    def __call__(self, what: str, done: int, total: int, note: str = "") -> None: ...


class SourceError(Exception):
    """Data that is missing or not what it should be; the message says where and what to do."""


def load_cifar10(root: Path, split: Split, progress: Progress | None = None) -> Labelled:
    """CIFAR-10 in its official order: pixels uint8 (n, 32, 32, 3) and labels int64 (n,) in 0..9.

    Looks in ``root`` for `cifar-10-batches-py/`, `cifar-10-python.tar.gz` or `cifar10/*.parquet`, in this order;
    finds none: downloads the archive into ``root``.

    Raises:
        SourceError: nothing there and no way to fetch it, or the files are damaged or incomplete.
    """
    folder, archive = root / "cifar-10-batches-py", root / "cifar-10-python.tar.gz"
    parquet = sorted((root / "cifar10").glob(f"{split}-*.parquet"))
    if not folder.is_dir() and not archive.is_file() and parquet:
        pixels, labels = _read_parquet(parquet, CIFAR10_SIZES[split], progress)
    else:
        if not folder.is_dir():
            fetch_cifar10(root)
            _unpack(archive, root)
        pixels, labels = _read_batches(folder, split)
    if len(pixels) != CIFAR10_SIZES[split] or not ((labels >= 0) & (labels < 10)).all():
        raise SourceError(
            f"{root}: the CIFAR-10 {split} set has {len(pixels):,} images, {CIFAR10_SIZES[split]:,} wanted"
        )
    return pixels, labels


def fetch_cifar10(root: Path) -> Path:
    """The official archive in ``root``, downloaded unless it is there, its SHA-256 checked either way."""
    import pooch

    try:
        path = pooch.retrieve(
            CIFAR10_URL,
            known_hash=f"sha256:{CIFAR10_SHA256}",
            fname="cifar-10-python.tar.gz",
            path=root,
            progressbar=True,
        )
    except (OSError, ValueError) as error:
        raise SourceError(
            f"no CIFAR-10 in {root.resolve()} and it could not be downloaded ({type(error).__name__}): put "
            "cifar-10-python.tar.gz, cifar-10-batches-py/ or cifar10/*.parquet there, or set CIFAR_DATA_DIR"
        ) from error
    return Path(path)


def read_batch(path: Path) -> dict[bytes, Any]:
    """One official batch file: a pickle in which nothing but arrays and plain types is allowed.

    Raises:
        SourceError: the pickle names anything else, or is damaged.
    """
    try:
        with path.open("rb") as file:
            batch = _ArraysOnly(file, encoding="bytes").load()
    except (pickle.UnpicklingError, EOFError, ValueError, AttributeError, IndexError) as error:
        raise SourceError(f"{path}: not a CIFAR batch ({error})") from error
    if not isinstance(batch, dict) or b"data" not in batch or b"labels" not in batch:
        raise SourceError(f"{path}: not a CIFAR batch (no data or no labels)")
    return batch


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


def _unpack(archive: Path, root: Path) -> None:
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(root, filter="data")
    except (tarfile.TarError, OSError, EOFError) as error:
        raise SourceError(f"{archive}: cannot be unpacked ({error}); delete it and run again") from error


def _read_batches(folder: Path, split: Split) -> Labelled:
    names = [f"data_batch_{i}" for i in range(1, 6)] if split == "train" else ["test_batch"]
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise SourceError(f"{folder}: {', '.join(missing)} missing; delete the folder and run again")
    batches = [read_batch(folder / name) for name in names]
    rows = np.concatenate([np.asarray(b[b"data"], np.uint8).reshape(-1, 3, SIDE, SIDE) for b in batches])
    labels = np.concatenate([np.asarray(b[b"labels"], np.int64) for b in batches])
    return np.ascontiguousarray(rows.transpose(0, 2, 3, 1)), labels


def _read_parquet(files: list[Path], total: int, progress: Progress | None) -> Labelled:
    pixels = np.empty((total, SIDE, SIDE, 3), np.uint8)
    labels = np.empty(total, np.int64)
    count = 0
    for data, label in _parquet_rows(files):
        if count == total:
            raise SourceError(f"{files[0].parent}: more than {total:,} rows")
        pixels[count], labels[count] = read_photo(data).pixels, label
        count += 1
        if progress and count % 500 == 0:
            progress(f"decoding {files[0].name.split('-')[0]}", count, total)
    return pixels[:count], labels[:count]


def _parquet_rows(files: list[Path]) -> Iterator[tuple[bytes, int]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path in files:
        try:
            for batch in pq.ParquetFile(path).iter_batches(1000, columns=["img", "label"]):
                images = batch.column("img").field("bytes")
                yield from zip((b.as_py() for b in images), batch.column("label").to_pylist(), strict=True)
        except (pa.ArrowException, KeyError, OSError) as error:
            raise SourceError(f"{path}: not a readable CIFAR parquet file ({error})") from error


def read_images(root: Path, name: str) -> NDArray[np.uint8]:
    """All pictures of the parquet set ``root``/``name``, as the network reads them: uint8 (n, 32, 32, 3)."""
    import pyarrow.parquet as pq

    column = pq.read_table(root / name, columns=["img"]).column("img").combine_chunks().field("bytes")
    return np.stack([read_photo(io.BytesIO(b.as_py()).getvalue()).pixels for b in column])
