"""`python -m bench.start`: size of the Bento, and seconds from `bentoml serve` in an empty folder to an answer.

Each server is told to leave right after its first answer, while it still imports what records that, and timed again.

`--image IMAGE` measures a container of it instead, locked as it is meant to be run, on a new volume and again on that.
`--engine` is the program that runs it, with its own options; `--options` are more for its `run`.
"""

from __future__ import annotations

import argparse
import io
import os
import secrets
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import httpx
from PIL import Image

from settings import ROOT, configure_environment, read_settings

ROUNDS = 3
WANTED = 10.0
"""Seconds to the first answer, and from SIGTERM to the end, at most."""
TOKEN = secrets.token_hex(16)
LOCKED = "--network host --read-only --tmpfs /tmp:size=1g,mode=1777 --cap-drop all --security-opt no-new-privileges"

Started = Callable[[str, int], subprocess.Popen[bytes]]
"""Starts the server over the folder or volume of that name, on that port."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__.split("\n")[0])
    parser.add_argument("--image", metavar="IMAGE", help="measure a container of it, not `bentoml serve`")
    parser.add_argument("--engine", default="docker", help="such as podman (%(default)s)")
    parser.add_argument("--options", default="", help="more for `run`, such as '--ulimit nofile=1024:1024'")
    parser.add_argument("--cold", action="store_true", help="empty the disk cache before each start; needs root")
    chosen = parser.parse_args()
    configure_environment(read_settings())
    if chosen.image:
        rounds = _rounds_of_image(chosen.image, chosen.engine.split(), shlex.split(chosen.options), chosen.cold)
    else:
        rounds = _rounds_of_bento(chosen.cold)
    print(f"{'seconds to':<30}" + "".join(f"{f'round {n + 1}':>10}" for n in range(len(rounds))))
    names = ("/readyz", "an answer", "the end after SIGTERM")
    rows = list(zip((*names, *(f"{name}, again" for name in names)), zip(*rounds, strict=True), strict=True))
    for name, times in rows:
        print(f"{name:<30}" + "".join(f"{seconds:>10.1f}" for seconds in times))
    print()
    for target, which in (("start", names[1]), ("leaving", names[2])):
        slowest = max(seconds for name, times in rows if name.startswith(which) for seconds in times)
        met = "met" if slowest < WANTED else "missed"
        print(f"target {target}: measured {slowest:.1f} s to {which}, wanted < {WANTED:.0f} s, {met}")
    return 0


def _rounds_of_bento(cold: bool) -> list[tuple[float, ...]]:
    for command in (["-m", "runners", "starters"], ["scripts/bento.py"]):
        built = subprocess.run([sys.executable, *command], cwd=ROOT, check=True, capture_output=True, text=True).stdout
    print(built)
    bentoml, tag = str(Path(sys.executable).parent / "bentoml"), built.split()[1]

    def start(folder: str, port: int) -> subprocess.Popen[bytes]:
        env = {name: value for name, value in os.environ.items() if name != "CIFAR_VAR"}
        env |= {"PWD": folder, "CIFAR_API_TOKENS": f'["{TOKEN}"]'}
        return _silent([bentoml, "serve", tag, "--port", str(port)], folder, env)

    rounds: list[tuple[float, ...]] = []
    for _ in range(ROUNDS):
        with tempfile.TemporaryDirectory() as folder:
            rounds.append(one_start(start, folder, cold) + one_start(start, folder, cold))
    return rounds


def _rounds_of_image(image: str, engine: list[str], options: list[str], cold: bool) -> list[tuple[float, ...]]:
    inspected = [*engine, "image", "inspect", "--format", "{{.Size}}", image]
    size = int(subprocess.run(inspected, check=True, capture_output=True, text=True).stdout)
    print(f"image: {image}\nsize: {size / 1e6:,.0f} MB\n")

    def start(volume: str, port: int) -> subprocess.Popen[bytes]:
        told = [
            "--env",
            f"PORT={port}",
            "--env",
            f'CIFAR_API_TOKENS=["{TOKEN}"]',
            "--volume",
            f"{volume}:/var/lib/cifar",
        ]
        return _silent([*engine, "run", "--rm", *LOCKED.split(), *options, *told, image], None, dict(os.environ))

    rounds: list[tuple[float, ...]] = []
    for _ in range(ROUNDS):
        volume = f"cifar-bench-{secrets.token_hex(4)}"
        try:
            rounds.append(one_start(start, volume, cold) + one_start(start, volume, cold))
        finally:
            subprocess.run([*engine, "volume", "rm", "--force", volume], check=False, capture_output=True)
    return rounds


def _silent(command: list[str], folder: str | None, env: dict[str, str]) -> subprocess.Popen[bytes]:
    return subprocess.Popen(command, cwd=folder, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def one_start(start: Started, place: str, cold: bool) -> tuple[float, float, float]:
    """Seconds until `/readyz` says so, to the first answer, and from SIGTERM to the end, of a server over ``place``."""
    photo = io.BytesIO()
    Image.new("RGB", (64, 48), (30, 90, 200)).save(photo, "PNG")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    if cold:
        os.sync()
        Path("/proc/sys/vm/drop_caches").write_text("3")
    since = time.perf_counter()
    server = start(place, port)
    try:
        headers = {"Authorization": f"Bearer {TOKEN}"}
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60, headers=headers) as client:
            while not is_ready(client):
                if server.poll() is not None:
                    raise SystemExit(f"error: the server ended with {server.returncode}: {shlex.join(server.args)}")  # type: ignore[arg-type]
                time.sleep(0.05)
            ready = time.perf_counter() - since
            client.post("/classify", files={"image": photo.getvalue()}).raise_for_status()
            answered = time.perf_counter() - since
    finally:
        told = time.perf_counter()
        server.send_signal(signal.SIGTERM)
        server.wait(30)
    return ready, answered, time.perf_counter() - told


def is_ready(client: httpx.Client) -> bool:
    try:
        return client.get("/readyz").is_success
    except httpx.TransportError:
        return False


if __name__ == "__main__":
    raise SystemExit(main())
