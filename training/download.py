"""Fetch an archive into the data root: checked against its SHA-256, resumed where an earlier download stopped."""

from __future__ import annotations

import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from runners.progress import Progress
from training.readers import SourceError

CHUNK = 1 << 16
"""Bytes written at a time; of a connection that breaks, at most as many are lost."""
TIMEOUT = (10.0, 60.0)
"""Seconds to connect, and between two arrivals of data."""
PAUSE = 1.0
"""Seconds before a broken connection is opened again."""


class UnavailableError(SourceError):
    """Nothing came from the server; the message is the reason alone."""


@dataclass(frozen=True, slots=True)
class Archive:
    """A file with an address and a known content; ``sha256`` in hexadecimal."""

    name: str
    url: str
    sha256: str


def fetch(archive: Archive, root: Path, progress: Progress | None = None) -> Path:
    """``archive`` in ``root``, downloaded unless it is there, its SHA-256 checked either way.

    What has come of an interrupted download stays in `<name>.part`, from which the next call goes on.

    Raises:
        UnavailableError: nothing came from the server.
        SourceError: the file has a wrong checksum, the connection broke, or it cannot be written.
    """
    import pooch
    from requests import RequestException

    path = root / archive.name
    if path.exists():
        found = pooch.file_hash(str(path), alg="sha256")
        if found != archive.sha256:
            raise SourceError(
                f"{path}: wrong checksum (SHA-256 {found[:12]}…, {archive.sha256[:12]}… wanted); "
                "it is damaged or incomplete: delete it and run again"
            )
        return path
    download = _Resumed(path.with_name(f"{archive.name}.part"), progress)
    try:
        pooch.retrieve(archive.url, f"sha256:{archive.sha256}", archive.name, root, downloader=download)
    except RequestException as error:
        if not download.reached:
            raise UnavailableError(_reason(error)) from error
        raise SourceError(
            f"the download of {archive.name} stopped at {download.reached:,} of {download.total:,} bytes "
            f"({_reason(error)}); the same command goes on from there"
        ) from error
    except ValueError as error:
        raise SourceError(
            f"{archive.url}: what came has a wrong checksum and was thrown away; run again, or put {archive.name} "
            f"into {root}"
        ) from error
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        what = f"the disk is full; {download.total - download.reached:,} more bytes are needed" if full else str(error)
        raise SourceError(f"{root}: {archive.name} cannot be written ({what})") from error
    return path


def _reason(error: Exception) -> str:
    status = getattr(getattr(error, "response", None), "status_code", None)
    return f"HTTP {status}" if status else type(error).__name__


class _Resumed:
    """A downloader for pooch that appends to ``part`` what is missing there and hands it over when it is whole.

    ``reached`` and ``total`` are bytes, 0 until the server has answered.
    """

    def __init__(self, part: Path, progress: Progress | None) -> None:
        self.part = part
        self.progress = progress
        self.reached = self.total = 0

    def __call__(self, url: str, output_file: str, _pooch: Any) -> None:
        from requests import ConnectionError as BrokenConnectionError
        from requests import Timeout
        from requests.exceptions import ChunkedEncodingError

        furthest = self._size()
        while True:
            try:
                self._attempt(url)
                break
            except (BrokenConnectionError, ChunkedEncodingError, Timeout):
                if self._size() <= furthest:
                    raise
                furthest = self._size()
                time.sleep(PAUSE)
        os.replace(self.part, output_file)

    def _size(self) -> int:
        return self.part.stat().st_size if self.part.exists() else 0

    def _attempt(self, url: str) -> None:
        import requests

        have = self._size()
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT) as response:
            span = response.headers.get("Content-Range", "")
            if response.status_code == requests.codes.requested_range_not_satisfiable:
                if span == f"bytes */{have}":  # whole already
                    return
                self.part.unlink()
                raise requests.ConnectionError(f"{self.part} is no beginning of the file")
            response.raise_for_status()
            if not span.startswith(f"bytes {have}-"):  # the server sends all of it, asked for the rest or not
                have = 0
            self.reached, self.total = have, have + int(response.headers.get("Content-Length", 0))
            # Unbuffered: what `reached` counts is on its way to the disk, and a full disk is noticed here.
            with self.part.open("ab" if have else "wb", buffering=0) as file:
                for chunk in response.iter_content(CHUNK):
                    rest = memoryview(chunk)
                    while rest:
                        rest = rest[file.write(rest) :]
                    self.reached += len(chunk)
                    if self.progress:
                        total = max(self.total, self.reached)
                        self.progress(f"downloading {self.part.stem}", self.reached, total, unit="bytes")
        if self.reached < self.total:
            raise requests.ConnectionError("the connection closed early")
