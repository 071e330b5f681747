"""Servers as processes: started, watched, ended."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

import psutil

from settings import ROOT

PATIENCE = 240.0
"""Seconds for a server to get ready."""
PEERS = ROOT / "bench" / "requirements-peers.txt"


class StartError(Exception):
    """A server that is not ready in time; the message has the end of its log."""


class Server:
    """A server's process and all that it starts; ready when `start` returns, after ``ready_seconds``."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], port: int, log: Path) -> None:
        self.name, self.url, self.ready_seconds = name, f"http://127.0.0.1:{port}", 0.0
        self._command, self._environment, self._log = command, environment, log
        self._process: psutil.Popen | None = None

    def start(self, ready_path: str = "/readyz") -> None:
        """Raises `StartError` when it ends, or is not ready in `PATIENCE` seconds."""
        begin = time.monotonic()
        with self._log.open("wb") as log:
            self._process = psutil.Popen(
                list(self._command), cwd=ROOT, env={**os.environ, **self._environment}, stdout=log, stderr=log
            )
        while not self._answers(ready_path):
            if self._process.poll() is not None or time.monotonic() - begin > PATIENCE:
                self.stop()
                raise StartError(f"{self.name} does not start:\n{self._log.read_text()[-2000:]}")
            time.sleep(0.02)
        self.ready_seconds = time.monotonic() - begin

    def stop(self) -> None:
        """Ask it to leave; what is left after 15 s is killed."""
        running = self._processes()
        if running:
            running[0].terminate()
        for process in psutil.wait_procs(running, timeout=15)[1]:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(running, timeout=15)

    def resident_megabytes(self) -> float:
        """Resident memory of all its processes; a page that two of them share counts twice."""
        total = 0
        for process in self._processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                total += process.memory_info().rss
        return total / 1e6

    def _processes(self) -> list[psutil.Process]:
        if self._process is None or not self._process.is_running():
            return []
        own = psutil.Process(self._process.pid)
        return [own, *own.children(recursive=True)]

    def _answers(self, path: str) -> bool:
        try:
            with urllib.request.urlopen(self.url + path, timeout=2) as answer:
                return answer.status == 200
        except OSError:  # nobody listens yet, or an error is answered
            return False


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def peers_python(folder: Path) -> Path:
    """The interpreter of an environment in ``folder`` with the peers in it, made when it is missing or out of date."""
    mark, digest = folder / ".ready", hashlib.sha256(PEERS.read_bytes()).hexdigest()
    python = folder / "bin" / "python"
    if not (mark.is_file() and mark.read_text() == digest):
        print(f"making an environment for the peers in {folder}", file=sys.stderr)
        shutil.rmtree(folder, ignore_errors=True)
        uv = Path(sys.executable).with_name("uv")
        subprocess.run([uv, "venv", "-q", "--python", sys.executable, folder], check=True)
        subprocess.run([uv, "pip", "install", "-q", "--python", python, "-r", PEERS], check=True)
        mark.write_text(digest)
    return python
