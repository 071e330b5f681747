"""Downloads from a real server on this machine: whole, resumed, cut short, wrong, onto a full disk."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from training import download
from training.download import Archive, SourceError, UnavailableError, fetch

CONTENT = np.random.default_rng(0).bytes(3_000_000)


class Server(ThreadingHTTPServer):
    """Serves ``content``; breaks each connection after ``stop`` bytes; ``ranges`` off ignores Range."""

    daemon_threads = True
    content = CONTENT
    stop: int | None = None
    ranges = True
    status = 200

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.asked: list[str | None] = []


class Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server, asked = self.server, self.headers["Range"]
        server.asked.append(asked)
        start = int(re.fullmatch(r"bytes=(\d+)-", asked)[1]) if asked and server.ranges else 0
        size = len(server.content)
        if start >= size:
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{size}")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else server.status)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{size - 1}/{size}")
        self.send_header("Content-Length", str(size - start))
        self.end_headers()
        self.wfile.write(server.content[start:][: server.stop])
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(download, "PAUSE", 0.0)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    with Server() as made:
        thread = threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield made
        made.shutdown()
        thread.join()


def archive(server: Server, content: bytes = CONTENT) -> Archive:
    return Archive(
        "set.tar.gz", f"http://127.0.0.1:{server.server_port}/set.tar.gz", hashlib.sha256(content).hexdigest()
    )


def left(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir())


def test_a_whole_download_is_checked_and_shown(server: Server, tmp_path: Path) -> None:
    shown: list[tuple[str, int, int, str]] = []

    def progress(what: str, done: int, total: int, note: str = "", unit: str = "images") -> None:
        shown.append((what, done, total, unit))

    path = fetch(archive(server), tmp_path / "new" / "root", progress)
    assert path.read_bytes() == CONTENT
    assert left(path.parent) == ["set.tar.gz"]
    assert shown[-1] == ("downloading set.tar.gz", len(CONTENT), len(CONTENT), "bytes")
    fetch(archive(server), path.parent)
    assert server.asked == [None]


def test_a_broken_connection_is_resumed_where_it_broke(server: Server, tmp_path: Path) -> None:
    server.stop = 1_000_000
    assert fetch(archive(server), tmp_path).read_bytes() == CONTENT
    first, *others = server.asked
    assert first is None
    starts = [int(str(asked).removeprefix("bytes=").removesuffix("-")) for asked in others]
    assert starts == sorted(set(starts))
    assert len(starts) in (2, 3)  # the last chunk before a break may be lost
    assert 1_000_000 - download.CHUNK <= starts[0] <= 1_000_000


def test_an_earlier_run_is_resumed(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz.part").write_bytes(CONTENT[:2_500_000])
    assert fetch(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == ["bytes=2500000-"]
    assert left(tmp_path) == ["set.tar.gz"]


def test_a_download_that_had_all_its_bytes_is_not_fetched_again(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz.part").write_bytes(CONTENT)
    assert fetch(archive(server), tmp_path).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


def test_a_server_without_ranges_starts_anew(server: Server, tmp_path: Path) -> None:
    server.ranges = False
    (tmp_path / "set.tar.gz.part").write_bytes(b"something else entirely")
    assert fetch(archive(server), tmp_path).read_bytes() == CONTENT


def test_an_interrupted_download_is_not_taken_for_whole_and_goes_on_later(server: Server, tmp_path: Path) -> None:
    server.ranges, server.stop = False, 1_000_000
    with pytest.raises(SourceError, match=r"stopped at 9\d\d,\d{3} of 3,000,000 bytes .*the same command goes on"):
        fetch(archive(server), tmp_path)
    assert left(tmp_path) == ["set.tar.gz.part"]
    assert len(server.asked) == 2  # a second try that comes no further is the last
    server.ranges, server.stop = True, None
    assert fetch(archive(server), tmp_path).read_bytes() == CONTENT
    assert str(server.asked[-1]).startswith("bytes=9")


def test_wrong_content_is_thrown_away(server: Server, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="wrong checksum and was thrown away"):
        fetch(archive(server, b"what was published"), tmp_path)
    assert left(tmp_path) == []


def test_a_beginning_of_something_else_costs_one_run_only(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz.part").write_bytes(b"\0" * 1000)
    with pytest.raises(SourceError, match="wrong checksum"):
        fetch(archive(server), tmp_path)
    assert fetch(archive(server), tmp_path).read_bytes() == CONTENT


def test_a_beginning_longer_than_the_file_is_dropped(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz.part").write_bytes(b"\0" * (len(CONTENT) + 1))
    with pytest.raises(UnavailableError):
        fetch(archive(server), tmp_path)
    assert fetch(archive(server), tmp_path).read_bytes() == CONTENT


def test_an_archive_with_a_wrong_checksum_is_refused_and_kept(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz").write_bytes(CONTENT[:-1])
    with pytest.raises(SourceError, match=r"set\.tar\.gz: wrong checksum .*delete it and run again"):
        fetch(archive(server), tmp_path)
    assert (tmp_path / "set.tar.gz").read_bytes() == CONTENT[:-1]
    assert server.asked == []


def test_a_full_disk_is_said_so(server: Server, tmp_path: Path) -> None:
    (tmp_path / "set.tar.gz.part").symlink_to("/dev/full")
    with pytest.raises(SourceError, match=r"the disk is full; 3,000,000 more bytes are needed"):
        fetch(archive(server), tmp_path)
    assert left(tmp_path) == ["set.tar.gz.part"]


def test_a_root_that_is_no_folder_is_said_so(server: Server, tmp_path: Path) -> None:
    (tmp_path / "root").write_text("a file")
    with pytest.raises(SourceError, match="cannot be written"):
        fetch(archive(server), tmp_path / "root")


def test_a_server_that_refuses_or_is_not_there_is_unavailable(server: Server, tmp_path: Path) -> None:
    server.status = 503
    with pytest.raises(UnavailableError, match="HTTP 503"):
        fetch(archive(server), tmp_path)
    closed = Archive("set.tar.gz", "http://127.0.0.1:9/set.tar.gz", "0" * 64)
    with pytest.raises(UnavailableError, match="ConnectionError"):
        fetch(closed, tmp_path)
    assert left(tmp_path) == []
