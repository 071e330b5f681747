"""The photo folder: named by content, all or nothing, verified when read."""

from __future__ import annotations

import hashlib
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from monitoring.image_store import DamagedImageError, ImageStore

PNG = b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 400


@pytest.fixture
def store(tmp_path: Path) -> ImageStore:
    return ImageStore(tmp_path / "images")


def files(store: ImageStore) -> list[Path]:
    return [path for path in store.root.rglob("*") if path.is_file()]


@contextmanager
def largest_file(size: int) -> Iterator[None]:
    """The system itself refuses to let any file of this process grow beyond ``size`` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_put_is_found_by_the_digest_of_its_bytes(store: ImageStore) -> None:
    sha256 = store.put(PNG)
    assert sha256 == hashlib.sha256(PNG).hexdigest()
    assert store.exists(sha256)
    assert store.get(sha256) == PNG
    assert store.path(sha256) == store.root / sha256[:2] / sha256[2:4] / f"{sha256}.png"
    assert list(store.digests()) == [sha256]


def test_putting_twice_keeps_one_file(store: ImageStore) -> None:
    assert store.put(PNG) == store.put(PNG)
    assert len(files(store)) == 1


def test_damage_is_noticed_and_mended_by_the_next_put(store: ImageStore) -> None:
    sha256 = store.put(PNG)
    store.path(sha256).write_bytes(PNG[:-1])
    with pytest.raises(DamagedImageError, match="damaged"):
        store.get(sha256)
    store.put(PNG)
    assert store.get(sha256) == PNG


def test_a_missing_photo_is_named(store: ImageStore) -> None:
    sha256 = hashlib.sha256(b"never put").hexdigest()
    with pytest.raises(FileNotFoundError, match=sha256):
        store.get(sha256)
    assert not store.exists(sha256)
    assert not store.delete(sha256)


@pytest.mark.parametrize("name", ["", "../../etc/passwd", "A" * 64, "0" * 63, "0" * 64 + "/..", "0" * 64 + "\n"])
def test_only_digests_name_files(store: ImageStore, name: str) -> None:
    with pytest.raises(ValueError, match="SHA-256"):
        store.path(name)


def test_delete_removes_the_file(store: ImageStore) -> None:
    sha256 = store.put(PNG)
    assert store.delete(sha256)
    assert files(store) == []


def test_a_write_that_fails_half_way_leaves_nothing(store: ImageStore) -> None:
    with largest_file(len(PNG) // 2), pytest.raises(OSError, match="large"):
        store.put(PNG)
    assert files(store) == []


def test_foreign_files_are_no_photos(store: ImageStore) -> None:
    sha256 = store.put(PNG)
    (store.root / "notes.txt").write_text("mine")
    (store.root / "ab" / "cd").mkdir(parents=True)
    (store.root / "ab" / "cd" / f"{sha256}.png").write_bytes(b"in the wrong place")
    (store.root / "ab" / "cd" / f"{sha256}.0a1b2c3d.part").write_bytes(b"half")
    (store.root / "ab" / "cd" / "mine.part").write_bytes(b"mine")
    assert list(store.digests()) == [sha256]
    assert store.drop_leftovers(dry_run=True) == store.drop_leftovers() == 1
    assert sorted(path.name for path in files(store)) == sorted(["notes.txt", "mine.part", *[f"{sha256}.png"] * 2])
