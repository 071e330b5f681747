"""The photos of the data root as one stream of samples: CIFAR-10, CIFAR-100 and folders of one's own."""

from __future__ import annotations

import shutil
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runners.images import SIDE, read_photo
from runners.progress import Progress
from training.classes import Classes
from training.download import Archive, UnavailableError, fetch
from training.readers import (
    CIFAR10_LABELS,
    CIFAR100_LABELS,
    SourceError,
    batch_rows,
    folder_files,
    parquet_rows,
    read_file,
)
from training.runs import whole
from training.samples import Sample

__all__ = ["CIFAR10_LABELS", "Labelled", "Progress", "SourceError", "load_cifar10", "samples"]

Split = Literal["train", "test"]
Labelled = tuple[NDArray[np.uint8], NDArray[np.int64]]


@dataclass(frozen=True, slots=True)
class CifarSet:
    """How one of the CIFAR sets is published: archive, folder in it, its batch files, labels and counts per class."""

    name: str
    title: str
    archive: Archive
    folder: str
    batches: Mapping[Split, tuple[str, ...]]
    batch_key: bytes
    column: str
    labels: tuple[str, ...]
    per_class: Mapping[Split, int]


CIFAR10 = CifarSet(
    name="cifar10",
    title="CIFAR-10",
    archive=Archive(
        "cifar-10-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
        "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
    ),
    folder="cifar-10-batches-py",
    batches={"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)},
    batch_key=b"labels",
    column="label",
    labels=CIFAR10_LABELS,
    per_class={"train": 5000, "test": 1000},
)
CIFAR100 = CifarSet(
    name="cifar100",
    title="CIFAR-100",
    archive=Archive(
        "cifar-100-python.tar.gz",
        "https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz",
        "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7",
    ),
    folder="cifar-100-python",
    batches={"train": ("train",), "test": ("test",)},
    batch_key=b"fine_labels",
    column="fine_label",
    labels=CIFAR100_LABELS,
    per_class={"train": 500, "test": 100},
)


def samples(classes: Classes, data_root: Path, progress: Progress | None = None) -> Iterator[Sample]:
    """All photos of ``classes`` in a fixed order: CIFAR-10, CIFAR-100 (train, then test), then folders by name.

    Only the sets that ``classes`` names are read, or fetched where ``data_root`` has none. A stream: the most that is
    held is one batch file of an official archive (at most 150 MB). A photo that cannot be read comes with no bytes.

    Raises:
        SourceError: a set is missing and cannot be fetched, damaged, or not whole.
    """
    for cifar, chosen in ((CIFAR10, classes.cifar10), (CIFAR100, classes.cifar100)):
        for split in cifar.batches if chosen else ():
            yield from cifar_samples(cifar, chosen, split, data_root, progress)
    for label, folder in classes.folders.items():
        yield from folder_samples(label, folder, progress)


def cifar_samples(
    cifar: CifarSet, chosen: Mapping[str, str], split: Split, root: Path, progress: Progress | None = None
) -> Iterator[Sample]:
    """The photos of one split whose label is in ``chosen`` (the set's label -> the product's class).

    Looks in ``root`` for the unpacked folder, the archive and parquet files, in this order; finds none: fetches the
    archive. The number in a sample's id is its row.

    Raises:
        SourceError: as `samples`; counts per class are checked at the end.
    """
    wanted = dict.fromkeys(chosen, cifar.per_class[split])
    total = sum(wanted.values())
    found: Counter[str] = Counter()
    encoded, rows = _rows(cifar, split, root, progress)
    for number, (data, index) in enumerate(rows):
        if not isinstance(index, int) or not 0 <= index < len(cifar.labels):
            raise SourceError(f"{root}: image {number} of the {cifar.title} {split} set has the label {index}")
        original = cifar.labels[index]
        if original not in chosen:
            continue
        found[original] += 1
        done = found.total()
        if progress and (done % 500 == 0 or done == total):
            progress(f"reading {cifar.name}/{split}", done, total)
        name = f"{cifar.name}/{split}/{number:05d}"
        yield Sample(name, cifar.name, original, chosen[original], split, name, data, encoded)
    for original, number in wanted.items():
        if found[original] != number:
            raise SourceError(
                f"{root}: the {cifar.title} {split} set has {found[original]:,} images of {original}, {number:,} "
                "wanted: it is not whole; delete it and run again"
            )


def folder_samples(label: str, folder: Path, progress: Progress | None = None) -> Iterator[Sample]:
    """Every file below ``folder`` as a photo of class ``label``; those of one sub-folder are one group."""
    total = sum(1 for _ in folder_files(folder))
    for done, path in enumerate(folder_files(folder), 1):
        below = path.relative_to(folder)
        name = f"{label}/{below.as_posix()}"
        group = f"{label}/{below.parts[0]}" if len(below.parts) > 1 else name
        yield Sample(name, "folder", label, label, "", group, read_file(path))
        if progress and (done % 500 == 0 or done == total):
            progress(f"reading {label}", done, total)


def sample_pixels(sample: Sample) -> NDArray[np.uint8]:
    """What the network reads of ``sample``: uint8 (32, 32, 3); raises `ApiError` as `read_photo` does."""
    if sample.encoded:
        return read_photo(sample.data).pixels
    return np.frombuffer(sample.data, np.uint8).reshape(SIDE, SIDE, 3)


def load_cifar10(root: Path, split: Split, progress: Progress | None = None) -> Labelled:
    """CIFAR-10 in its official order: pixels uint8 (n, 32, 32, 3) and labels int64 (n,) in 0..9; as `samples`."""
    size = CIFAR10.per_class[split] * len(CIFAR10_LABELS)
    pixels, labels = np.empty((size, SIDE, SIDE, 3), np.uint8), np.empty(size, np.int64)
    every = {name: name for name in CIFAR10_LABELS}
    for row, sample in enumerate(cifar_samples(CIFAR10, every, split, root, progress)):
        if row == size:
            raise SourceError(f"{root}: the CIFAR-10 {split} set has more than {size:,} images")
        pixels[row], labels[row] = sample_pixels(sample), CIFAR10_LABELS.index(sample.original)
    return pixels, labels


def _rows(
    cifar: CifarSet, split: Split, root: Path, progress: Progress | None
) -> tuple[bool, Iterator[tuple[bytes, int]]]:
    """Whether the images of a split are encoded, and the stream of them with their labels."""
    folder, archive = root / cifar.folder, root / cifar.archive.name
    parquet = sorted((root / cifar.name).glob(f"{split}-*.parquet"))
    if parquet and not folder.is_dir() and not archive.is_file():
        return True, (row for path in parquet for row in parquet_rows(path, cifar.column))
    if not folder.is_dir():
        _unpack(_archive(cifar, root, progress), folder, cifar)
    files = [folder / name for name in cifar.batches[split]]
    if missing := [path.name for path in files if not path.is_file()]:
        raise SourceError(f"{folder}: {', '.join(missing)} missing; delete the folder and run again")
    return False, (row for path in files for row in batch_rows(path, cifar.batch_key))


def _archive(cifar: CifarSet, root: Path, progress: Progress | None) -> Path:
    try:
        return fetch(cifar.archive, root, progress)
    except UnavailableError as error:
        raise SourceError(
            f"no {cifar.title} in {root.resolve()} and it could not be downloaded ({error}): put "
            f"{cifar.archive.name}, {cifar.folder}/ or {cifar.name}/*.parquet there, or set CIFAR_DATA_DIR"
        ) from error


def _unpack(archive: Path, folder: Path, cifar: CifarSet) -> None:
    """The batch files of ``archive`` into ``folder``, all or none."""
    files = {name for names in cifar.batches.values() for name in names}
    try:
        with tarfile.open(archive) as tar, whole(folder) as scratch:
            for member in tar:
                name = PurePosixPath(member.name).name
                if member.isfile() and name in files and (content := tar.extractfile(member)):
                    with (scratch / name).open("wb") as file:
                        shutil.copyfileobj(content, file)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise SourceError(f"{archive}: cannot be unpacked ({error})") from error
