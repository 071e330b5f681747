"""Kept photos beyond this machine's folders: the same names by content, on any file system that fsspec can address."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from monitoring.image_store import DIGEST, DamagedImageError, check_digest


class RemoteImageStore:
    """Content-addressed PNG files ``<url>/ab/cd/abcd….png``; every failure of the other side is an OSError.

    Object stores (S3, Google Cloud, Azure) make an object visible whole or not at all, and keep it when they say so.
    On others a writer that dies may leave a cut file: no row has it, and the next `put` of that photo writes it anew.
    """

    def __init__(self, url: str) -> None:
        """Nothing is opened yet. Raises ValueError for a URL that fsspec or its packages here cannot address."""
        import fsspec

        try:
            self._files, self._root = fsspec.core.url_to_fs(url, use_listings_cache=False)
        except (ValueError, ImportError, TypeError) as error:
            raise ValueError(f"The image store {url.partition('://')[0]}://… is not usable: {error}") from None
        self._root = self._root.rstrip("/")

    def prepare(self) -> None:
        """Nothing: a bucket is its owner's to make."""

    def has_room(self) -> bool:
        """Whether the other side answers."""
        return self.exists("0" * 64) in (True, False)

    def put(self, png: bytes) -> str:
        """Keep ``png`` and return its SHA-256; written whenever it is put, which mends a damaged copy."""
        sha256 = hashlib.sha256(png).hexdigest()
        path = self._path(sha256)
        self._call("makedirs", path.rpartition("/")[0], exist_ok=True)
        self._call("pipe_file", path, png)
        return sha256

    def get(self, sha256: str) -> bytes:
        """The PNG bytes of ``sha256``, verified; raises FileNotFoundError or `DamagedImageError`."""
        try:
            png: bytes = self._call("cat_file", self._path(sha256))
        except FileNotFoundError:
            raise FileNotFoundError(f"The photo {sha256} is not in the image store.") from None
        if hashlib.sha256(png).hexdigest() != sha256:
            raise DamagedImageError(f"The photo {self.place(sha256)} is damaged: it has another digest than its name.")
        return png

    def place(self, sha256: str) -> str:
        """The URL of the photo ``sha256``, without the credentials that the store's own may carry."""
        return str(self._files.unstrip_protocol(self._path(sha256)))

    def exists(self, sha256: str) -> bool:
        try:
            self._call("info", self._path(sha256))
        except FileNotFoundError:
            return False
        return True

    def delete(self, sha256: str) -> bool:
        """Remove the photo ``sha256``; False when it was not there. Object stores delete what is not there, too."""
        there = self.exists(sha256)
        if there:
            self._call("rm_file", self._path(sha256))
        return there

    def digests(self) -> Iterator[str]:
        """SHA-256 of every photo kept here; what is not ours by name and place is passed over."""
        for path in self._call("find", self._root):
            name = str(path).rpartition("/")[2]
            if name.endswith(".png") and DIGEST.fullmatch(name[:-4]) and str(path).endswith(self._path(name[:-4])):
                yield name[:-4]

    def drop_leftovers(self, *, dry_run: bool = False) -> int:  # noqa: ARG002
        """None: nothing is written beside its final name."""
        return 0

    def _path(self, sha256: str) -> str:
        check_digest(sha256)
        return f"{self._root}/{sha256[:2]}/{sha256[2:4]}/{sha256}.png"

    def _call(self, name: str, *arguments: Any, **options: Any) -> Any:
        """A method of the file system; whatever its driver raises becomes an OSError that tells no credentials."""
        try:
            return getattr(self._files, name)(*arguments, **options)
        except OSError:
            raise
        except Exception as error:
            raise OSError(f"the image store failed: {type(error).__name__}") from error
