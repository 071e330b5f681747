"""The real server, started by `bentoml serve`, and the commands: each in processes of its own, as a user has them."""

from __future__ import annotations

import io
import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import cache
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from settings import ROOT

PATIENCE = 240
"""Seconds for a server to get ready: it imports the page and MLflow, on whatever the machine has left."""
SHORT_WINDOWS = {"CIFAR_WINDOW_ROWS": "100", "CIFAR_WINDOW_SECONDS": "3"}
"""For a server whose windows a test waits for."""
NOT_INHERITED = ("BENTOML_HOME", "CIFAR_API_TOKENS", "CIFAR_ALLOW_ANONYMOUS")


def environment(var: Path, **extra: str) -> dict[str, str]:
    """As a user's shell has it: nothing but the folder is told, so BentoML's store must be found through it."""
    rest = {name: value for name, value in os.environ.items() if name not in NOT_INHERITED}
    return {**rest, "CIFAR_VAR": str(var), **extra}


def command(var: Path, *arguments: str, timeout: float = 1200) -> subprocess.CompletedProcess[str]:
    """`python -m` with ``arguments``, ended; some train for minutes."""
    return subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=ROOT,
        env=environment(var),
        capture_output=True,
        text=True,
        timeout=timeout,
    )


@cache
def _made_by(*arguments: str) -> tempfile.TemporaryDirectory[str]:
    """A store with what the command puts into it, once: that takes seconds, a copy of it none."""
    folder = tempfile.TemporaryDirectory(prefix="store-")
    done = command(Path(folder.name), *arguments)
    assert done.returncode == 0, done.stderr
    return folder


def import_starters(var: Path) -> Path:
    """``var``, with the shipped pair in the store below it."""
    shutil.copytree(_made_by("runners", "starters").name, var, dirs_exist_ok=True)
    return var


def import_small(var: Path) -> Path:
    """``var``, with the pair of `tests.small_pair` in the store below it."""
    shutil.copytree(_made_by("tests.small_pair").name, var, dirs_exist_ok=True)
    return var


def metric(client: httpx.Client, name: str) -> float:
    """The value on `/metrics` of ``name``, with its labels where it has some."""
    [line] = [line for line in client.get("/metrics").text.splitlines() if line.startswith(f"{name} ")]
    return float(line.rpartition(" ")[2])


def serve_command(port: int, *arguments: str, target: str = "service:Cifar") -> list[str]:
    return [str(Path(sys.executable).parent / "bentoml"), "serve", target, "--port", str(port), *arguments]


def _own_ports() -> Iterator[int]:
    """Below those that the system gives to whoever asks for any, and others in each process of a test run: a port that
    is free now is free still when the server that it is for has started."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    ports = range(20_000 + worker % 8, 32_768, 8)
    start = os.getpid() % len(ports)
    yield from itertools.cycle((*ports[start:], *ports[:start]))


_PORTS = _own_ports()


def free_port() -> int:
    for port in itertools.islice(_PORTS, 1000):
        with socket.socket() as s, suppress(OSError):
            s.bind(("127.0.0.1", port))
            return port
    pytest.fail("no port is free")


def descendants(pid: int) -> list[int]:
    """All processes that ``pid`` started, and those that they did."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):  # it has ended since its parent was asked
        return []
    return children + [below for child in children for below in descendants(child)]


def kill(pid: int) -> None:
    """As the kernel does without memory: ``pid`` and all that it started, at once and without a word."""
    for one in (pid, *descendants(pid)):
        with suppress(ProcessLookupError):  # it left because of another one's end
            os.kill(one, signal.SIGKILL)


def wait_until(told: Callable[[], bool], what: str) -> None:
    end = time.monotonic() + PATIENCE
    while not told():
        assert time.monotonic() < end, f"in vain: {what}"
        time.sleep(0.05)


@contextmanager
def server(
    var: Path, *arguments: str, target: str = "service:Cifar", cwd: Path = ROOT, **extra: str
) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes], Path]]:
    """A server over folder ``var`` that is ready: a client of it, its process and its log. ``extra``: environment."""
    port, log = free_port(), var / f"server-{time.monotonic_ns()}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            serve_command(port, *arguments, target=target),
            cwd=cwd,
            env=environment(var, **extra),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until_answered(client, "/readyz", process, log)
            yield client, process, log
    finally:
        if process.poll() is None:
            workers = descendants(process.pid)
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                for pid in (process.pid, *workers):
                    with suppress(ProcessLookupError):  # that one has left by now
                        os.kill(pid, signal.SIGKILL)
                process.wait()


def wait_until_answered(client: httpx.Client, path: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until ``path`` is answered with 200; fails with the end of ``log`` when ``process`` ends or never does."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if client.get(path).status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(log.read_text()[-3000:])


def png(pixels: np.ndarray) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def send(client: httpx.Client, pixels: np.ndarray) -> list[dict[str, object]]:
    """The answers for ``pixels`` (n, 32, 32, 3), asked for a hundred at a time."""
    answers = []
    for start in range(0, len(pixels), 100):
        files = [("images", ("p.png", png(p))) for p in pixels[start : start + 100]]
        answers += client.post("/classify_batch", files=files).json()
    return answers


def send_what_waits(var: Path) -> None:
    """What a server had no time to send when it left waits on disk for the next one: start that, until all is sent."""
    spool = var / "spool"

    def waiting() -> list[Path]:
        return [file for file in spool.glob("*") if file.suffix in (".rows", ".part", ".bin")]

    if not waiting():
        return
    with server(var, CIFAR_PAGE="false"):
        wait_until(lambda: not waiting(), "the windows are sent")


def wait_for_windows(var: Path, rows: int) -> None:
    """Until MLflow holds at least ``rows`` rows of the served model, whose server has left."""
    send_what_waits(var)
    code = (
        "from settings import *; s=Settings(); configure_environment(s)\n"
        "from runners.store import served; from monitoring import tracking, profiles\n"
        "w=tracking.windows(s, served(s).cnn_tag)\n"
        "print(sum(profiles.from_bytes(b).rows for b in tracking.read_windows(s, w)))"
    )
    for _ in range(20):
        done = subprocess.run(
            [sys.executable, "-c", code], cwd=ROOT, env=environment(var), capture_output=True, text=True
        )
        if done.returncode == 0 and int(done.stdout.split()[-1]) >= rows:
            return
        time.sleep(1)
    pytest.fail(f"{rows} rows did not reach MLflow: {done.stdout} {done.stderr[-1500:]}")
