"""A real PostgreSQL server from Debian's packages, in a temporary folder, run by an unprivileged user."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.live import wait_until

PATIENCE = 120
"""Seconds for the server to take connections, also after a crash."""


@dataclass
class Postgres:
    """A server over ``folder``, which also holds its socket; ``port`` of this machine too, where one is given."""

    binaries: Path
    folder: Path
    user: str
    port: int | None = None
    process: subprocess.Popen[bytes] | None = None

    def empty_database(self) -> str:
        """The URL of the one database that tests use, emptied: another one for each would be 300 files each."""
        self._sql("DROP SCHEMA IF EXISTS public CASCADE; CREATE SCHEMA public")
        return f"postgresql+psycopg://{self.user}@/postgres?host={self.folder}&connect_timeout=5"

    def start(self) -> None:
        options = ["-D", str(self.folder / "data"), "-k", str(self.folder), "-c", "listen_addresses="]
        if self.port:
            options[-1:] = ["listen_addresses=127.0.0.1", "-c", f"port={self.port}"]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [self.binaries / "postgres", *options], stdout=log, stderr=log, cwd=self.folder, **_as(self.user)
            )
        end = time.monotonic() + PATIENCE
        while self._command("pg_isready", "-q", "-h", str(self.folder)).returncode:
            assert self.process.poll() is None, (self.folder / "log").read_text()[-2000:]
            assert time.monotonic() < end, (self.folder / "log").read_text()[-2000:]
            time.sleep(0.05)

    def kill(self) -> None:
        """As a power cut: the server's processes die without a word."""
        assert self.process is not None
        self.process.send_signal(signal.SIGSTOP)
        os.waitpid(self.process.pid, os.WUNTRACED)  # from now on it starts no other one
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        for pid in (self.process.pid, *map(int, children)):
            with suppress(ProcessLookupError):  # its connection was closed just now
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        self.process = None
        # With one of them left the next server would not start.
        wait_until(lambda: not any(map(_runs, children)), "its processes end")

    def stop(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGQUIT)  # at once: what it would still write goes with its folder
            self.process.wait(60)
            self.process = None

    def init(self) -> None:
        words = (
            "-A",
            "trust",
            "-E",
            "UTF8",
            "--no-locale",
            "--no-sync",
        )  # its first files need not outlive a power cut
        done = self._command("initdb", "-D", str(self.folder / "data"), *words)
        assert done.returncode == 0, done.stderr

    def _sql(self, statement: str) -> None:
        done = self._command("psql", "-h", str(self.folder), "-q", "-c", statement, "postgres")
        assert done.returncode == 0, done.stderr

    def _command(self, name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [str(self.binaries / name), *arguments]
        env = {**os.environ, "PGPORT": str(self.port or 5432)}
        return subprocess.run(command, capture_output=True, text=True, cwd=self.folder, env=env, **_as(self.user))


@contextmanager
def server(port: int | None = None) -> Iterator[Postgres]:
    """A running server, on a ``port`` of 127.0.0.1 where one is given.

    Without the packages the test is skipped, but fails where nothing may be skipped.
    """
    binaries = _binaries()
    if binaries is None:
        if os.environ.get("CI") == "true":
            pytest.fail("PostgreSQL is not installed, and with CI=true nothing may be skipped")
        pytest.skip("install PostgreSQL (Debian: postgresql) to run this")
    folder = Path(tempfile.mkdtemp(prefix="cifar-postgres-"))
    user = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
    shutil.chown(folder, user)
    postgres = Postgres(binaries, folder, user, port)
    try:
        postgres.init()
        postgres.start()
        yield postgres
    finally:
        postgres.stop()
        shutil.rmtree(folder)


def _runs(pid: str) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def _as(user: str) -> dict[str, Any]:
    """Popen's words for becoming ``user``, which PostgreSQL wants not to be root."""
    if os.geteuid() != 0:
        return {}
    entry = pwd.getpwnam(user)
    return {"user": entry.pw_uid, "group": entry.pw_gid, "extra_groups": []}


def _binaries() -> Path | None:
    if found := shutil.which("initdb"):
        return Path(found).resolve().parent
    installed = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[4]))
    return installed[-1].parent if installed else None
