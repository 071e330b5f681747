"""Kept photos: PNG files named by the SHA-256 of their bytes, written so that a power cut leaves all or nothing."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from monitoring.remote_images import RemoteImageStore

MIN_FREE_BYTES = 1_000_000
"""Less free space than that is a full disk: a kept photo alone may take as much."""
DIGEST = re.compile(r"[0-9a-f]{64}")


class DamagedImageError(Exception):
    """A kept photo whose bytes no longer have the digest it is named by."""


def open_images(address: str) -> ImageStore | RemoteImageStore:
    """The photos in a folder, given as path or ``file://`` URL, or at any other URL that fsspec can address.

    Raises:
        ValueError: no such kind of URL is known, or its package is not installed.
    """
    scheme, _, rest = address.partition("://")
    if not rest or scheme == "file":
        return ImageStore(Path(rest or address))
    from monitoring.remote_images import RemoteImageStore

    return RemoteImageStore(address)


def check_digest(sha256: str) -> None:
    """Raise ValueError for anything but 64 lower-case hex digits."""
    if not DIGEST.fullmatch(sha256):
        raise ValueError(f"{sha256!r} is not a SHA-256 digest of 64 lower-case hex digits.")


class ImageStore:
    """Content-addressed PNG files under ``root/ab/cd/abcd….png``. The folder is made by the first `put`."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def prepare(self) -> None:
        """Make the folder; raises OSError."""
        self.root.mkdir(parents=True, exist_ok=True)

    def has_room(self) -> bool:
        """Whether the folder is there and takes files."""
        there = self.root.is_dir() and os.access(self.root, os.W_OK)
        return there and shutil.disk_usage(self.root).free >= MIN_FREE_BYTES

    def put(self, png: bytes) -> str:
        """Keep ``png`` and return its SHA-256 (64 lower-case hex digits); on disk, folders included, when it returns.

        Putting the same bytes again changes nothing, and mends a damaged copy.

        Raises:
            OSError: the folder cannot be written or the disk is full; then no part of the photo stays.
        """
        sha256 = hashlib.sha256(png).hexdigest()
        path = self.path(sha256)
        if not self._holds(path, png):
            path.parent.mkdir(parents=True, exist_ok=True)
            part = path.with_name(f"{sha256}.{secrets.token_hex(4)}.part")
            try:
                with part.open("xb") as file:
                    file.write(png)
                    file.flush()
                    os.fsync(file.fileno())
                part.replace(path)
            except BaseException:
                part.unlink(missing_ok=True)
                raise
        # Also for a file that was there: the writer before us may have died between rename and fsync.
        for folder in (path.parent, path.parent.parent, self.root):
            _fsync_folder(folder)
        return sha256

    def get(self, sha256: str) -> bytes:
        """The PNG bytes of ``sha256``, verified.

        Raises:
            FileNotFoundError: no such photo is kept.
            DamagedImageError: the file's bytes have another digest.
        """
        path = self.path(sha256)
        try:
            png = path.read_bytes()
        except FileNotFoundError:
            raise FileNotFoundError(f"The photo {sha256} is not in {self.root}.") from None
        if hashlib.sha256(png).hexdigest() != sha256:
            raise DamagedImageError(f"The photo {path} is damaged: its bytes do not have the digest in its name.")
        return png

    def path(self, sha256: str) -> Path:
        """Where the photo ``sha256`` lies or would lie. Raises ValueError for anything but 64 lower-case hex digits."""
        check_digest(sha256)
        return self.root / sha256[:2] / sha256[2:4] / f"{sha256}.png"

    def place(self, sha256: str) -> str:
        """`path`, for people."""
        return str(self.path(sha256))

    def exists(self, sha256: str) -> bool:
        return self.path(sha256).is_file()

    def delete(self, sha256: str) -> bool:
        """Remove the photo ``sha256``, durably; False when it was not there."""
        path = self.path(sha256)
        try:
            path.unlink()
        except FileNotFoundError:
            return False
        _fsync_folder(path.parent)
        return True

    def digests(self) -> Iterator[str]:
        """SHA-256 of every photo kept here; files that are not ours by name and place are passed over."""
        for path in self.root.glob("??/??/*.png"):
            if DIGEST.fullmatch(path.stem) and path == self.path(path.stem):
                yield path.stem

    def drop_leftovers(self, *, dry_run: bool = False) -> int:
        """Delete unfinished files of writers that died within `put`, while none is inside it; returns their number."""
        parts = [path for path in self.root.glob("??/??/*.part") if DIGEST.fullmatch(path.name.split(".")[0])]
        if not dry_run:
            for part in parts:
                part.unlink(missing_ok=True)
        return len(parts)

    @staticmethod
    def _holds(path: Path, png: bytes) -> bool:
        try:
            return path.read_bytes() == png
        except FileNotFoundError:
            return False


def _fsync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
