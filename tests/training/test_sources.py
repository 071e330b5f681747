"""The stream of samples, from each layout of a data root."""

from __future__ import annotations

import hashlib
import pickle
import resource
import tarfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from itertools import chain
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from settings import ROOT
from tests.conftest import encoded
from training.classes import Classes, read_classes
from training.samples import Sample
from training.sources import (
    CIFAR10,
    CIFAR100,
    CifarSet,
    SourceError,
    cifar_samples,
    folder_samples,
    load_cifar10,
    sample_pixels,
    samples,
)

LABELS = ("lion", "man", "woman")
PERSON = {"man": "person", "woman": "person"}
PER_CLASS = {"train": 4, "test": 2}


def small(cifar: CifarSet = CIFAR100) -> CifarSet:
    """A set of three labels, published in the same way as the real one."""
    return replace(cifar, labels=LABELS, per_class=PER_CLASS)


def images(split: str) -> tuple[np.ndarray, list[int]]:
    count = 3 * PER_CLASS[split]
    pixels = np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
    return pixels, [n % 3 for n in range(count)]


def write_batches(folder: Path) -> None:
    folder.mkdir()
    for split in PER_CLASS:
        pixels, labels = images(split)
        planes = pixels.transpose(0, 3, 1, 2).reshape(-1, 3072)
        (folder / split).write_bytes(pickle.dumps({b"data": planes, b"fine_labels": labels}, protocol=2))


def write_parquet(folder: Path, leave_out: int = 0) -> None:
    folder.mkdir()
    for split in PER_CLASS:
        pixels, labels = images(split)
        rows = [{"bytes": encoded(Image.fromarray(image)), "path": None} for image in pixels]
        keep = slice(0, len(rows) - leave_out)
        pq.write_table(pa.table({"img": rows[keep], "fine_label": labels[keep]}), folder / f"{split}-0.parquet")


def archived(root: Path) -> CifarSet:
    """The small set as an archive in ``root``, which has nothing else of it."""
    write_batches(root / "cifar-100-python")
    with tarfile.open(root / "cifar-100-python.tar.gz", "w:gz") as tar:
        tar.add(root / "cifar-100-python", "cifar-100-python")
    for path in (root / "cifar-100-python").iterdir():
        path.unlink()
    (root / "cifar-100-python").rmdir()
    digest = hashlib.sha256((root / "cifar-100-python.tar.gz").read_bytes()).hexdigest()
    return replace(small(), archive=replace(CIFAR100.archive, sha256=digest))


def check(found: list[Sample], split: str, encoded: bool) -> None:
    pixels, labels = images(split)
    wanted = [n for n, label in enumerate(labels) if label != 0]
    assert [s.id for s in found] == [f"cifar100/{split}/{n:05d}" for n in wanted]
    assert [s.original for s in found] == [LABELS[labels[n]] for n in wanted]
    assert {(s.source, s.label, s.official, s.encoded) for s in found} == {("cifar100", "person", split, encoded)}
    assert all(s.group == s.id for s in found)
    assert np.array_equal(np.stack([sample_pixels(s) for s in found]), pixels[wanted])


@pytest.mark.parametrize("split", ["train", "test"])
def test_the_same_samples_from_folder_archive_and_parquet(tmp_path: Path, split: str) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
    write_batches(tmp_path / "a" / "cifar-100-python")
    check(list(cifar_samples(small(), PERSON, split, tmp_path / "a")), split, False)
    packed = archived(tmp_path / "b")
    check(list(cifar_samples(packed, PERSON, split, tmp_path / "b")), split, False)
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["cifar-100-python", "cifar-100-python.tar.gz"]
    write_parquet(tmp_path / "c" / "cifar100")
    check(list(cifar_samples(small(), PERSON, split, tmp_path / "c")), split, True)


def test_a_set_that_is_not_whole_is_refused(tmp_path: Path) -> None:
    write_parquet(tmp_path / "cifar100", leave_out=1)
    with pytest.raises(SourceError, match="CIFAR-100 test set has 1 images of woman, 2 wanted"):
        list(cifar_samples(small(), PERSON, "test", tmp_path))
    with pytest.raises(SourceError, match="has the label 2"):
        list(cifar_samples(replace(small(), labels=LABELS[:2]), PERSON, "test", tmp_path))


def test_an_archive_with_a_wrong_checksum_is_not_unpacked(tmp_path: Path) -> None:
    archived(tmp_path)
    with pytest.raises(SourceError, match="wrong checksum"):
        list(cifar_samples(small(), PERSON, "test", tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["cifar-100-python.tar.gz"]


def test_missing_batches_are_named(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(SourceError, match="test_batch missing"):
        load_cifar10(tmp_path, "test")


@pytest.fixture
def small_disk() -> Iterator[None]:
    """No file can grow beyond 20 kB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_an_archive_that_cannot_be_written_out_leaves_nothing_half_unpacked(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    packed = archived(tmp_path)
    request.getfixturevalue("small_disk")
    with pytest.raises(SourceError, match="cannot be unpacked"):
        list(cifar_samples(packed, PERSON, "train", tmp_path))
    assert [p.name for p in tmp_path.iterdir()] == ["cifar-100-python.tar.gz"]


def test_an_archive_reaches_no_file_outside_its_folder(tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    (tmp_path / "train").write_bytes(b"mine")
    with tarfile.open(root / "cifar-100-python.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "train", "../train")
        link = tarfile.TarInfo("cifar-100-python/test")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/hostname"
        tar.addfile(link)
    (tmp_path / "train").write_bytes(b"mine, and newer")
    digest = hashlib.sha256((root / "cifar-100-python.tar.gz").read_bytes()).hexdigest()
    hostile = replace(small(), archive=replace(CIFAR100.archive, sha256=digest))
    with pytest.raises(SourceError, match="test missing"):
        list(cifar_samples(hostile, PERSON, "test", root))
    assert (tmp_path / "train").read_bytes() == b"mine, and newer"


def test_a_folder_of_photos_with_bursts_and_rubbish(tmp_path: Path, picture: Image.Image) -> None:
    folder = tmp_path / "my photos"
    for name in ("b.jpg", "burst/2.png", "burst/1.png", "burst/more/3.png"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        picture.save(folder / name)
    (folder / "a.jpg").write_bytes(b"no photo")
    (folder / "c.jpg").symlink_to(tmp_path / "nowhere")
    found = list(folder_samples("mug", folder))
    assert [(s.id, s.group) for s in found] == [
        ("mug/a.jpg", "mug/a.jpg"),
        ("mug/b.jpg", "mug/b.jpg"),
        ("mug/c.jpg", "mug/c.jpg"),
        ("mug/burst/1.png", "mug/burst"),
        ("mug/burst/2.png", "mug/burst"),
        ("mug/burst/more/3.png", "mug/burst"),
    ]
    assert {(s.source, s.original, s.label, s.official, s.encoded) for s in found} == {
        ("folder", "mug", "mug", "", True)
    }
    assert (found[0].data, found[2].data) == (b"no photo", b"")
    assert found[1].data == (folder / "b.jpg").read_bytes()


def test_folders_alone_need_no_cifar_set(tmp_path: Path, picture: Image.Image) -> None:
    for name in ("mug", "cable"):
        (tmp_path / name).mkdir()
        picture.save(tmp_path / name / "1.png")
    (tmp_path / "classes.yaml").write_text("folders:\n  mug: mug\n  cable: cable\n")
    shown = []

    def progress(what: str, done: int, total: int, note: str = "", unit: str = "images") -> None:
        shown.append((what, done, total))

    found = list(samples(read_classes(tmp_path / "classes.yaml", tmp_path), tmp_path, progress))
    assert [s.id for s in found] == ["mug/1.png", "cable/1.png"]
    assert shown == [("reading mug", 1, 1), ("reading cable", 1, 1)]


def test_a_set_that_is_not_there_is_asked_for_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    with pytest.raises(SourceError) as raised:
        next(samples(Classes(("person", "x"), {}, PERSON, {}), tmp_path))
    assert str(raised.value) == (
        f"no CIFAR-100 in {tmp_path} and it could not be downloaded (ProxyError): put cifar-100-python.tar.gz, "
        "cifar-100-python/ or cifar100/*.parquet there, or set CIFAR_DATA_DIR"
    )


def test_the_real_data_has_its_official_order(data_root: Path) -> None:
    pixels, labels = load_cifar10(data_root, "test")
    assert pixels.shape == (10_000, 32, 32, 3)
    assert labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert np.bincount(labels).tolist() == [1000] * 10


def test_the_shipped_classes_find_all_their_photos(data_root: Path) -> None:
    classes = read_classes(ROOT / "training" / "classes.yaml", data_root)
    cifar100 = chain.from_iterable(cifar_samples(CIFAR100, classes.cifar100, s, data_root) for s in CIFAR100.batches)
    counts = Counter((s.label, s.official) for s in cifar100)
    assert counts["person", "train"] == 2500
    assert counts["cup", "test"] == 100
    assert counts.total() == 15 * 600
    first = next(cifar_samples(CIFAR10, classes.cifar10, "train", data_root))
    assert (first.id, first.label) == ("cifar10/train/00000", "frog")
    photos = [s for label, folder in classes.folders.items() for s in folder_samples(label, folder)]
    assert set(Counter(s.label for s in photos)) == set(classes.folders)
    assert min(Counter(s.label for s in photos).values()) >= 39
