"""`python -m bench.score`: `python -m runners score` beside the bare engine, and its memory.

Photos of the network's own size in tar shards, so that decoding costs as little as it can and the command's own work
shows. What a run costs once (start, model) is the same for few and many photos: the rate is taken from the difference.
`--images` makes it shorter.
"""

from __future__ import annotations

import argparse
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from settings import ROOT, configure_environment, read_settings

SHARD = 10_000
FEW, MANY = 10_000, 1_000_000
WANTED_SHARE, WANTED_GROWTH = 0.8, 1.1


@dataclass(frozen=True)
class Cost:
    """Of one run of the command: seconds and, at most, bytes in memory."""

    seconds: float
    memory: int


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.score", description=__doc__)
    parser.add_argument("--images", type=int, default=MANY, help=f"photos of the longer run, more than {FEW:,}")
    many = max(2, parser.parse_args().images // SHARD) * SHARD
    settings = read_settings()
    configure_environment(settings)
    from runners.store import load_pipeline

    pixels = np.random.default_rng(0).integers(0, 256, (SHARD, 32, 32, 3), dtype=np.uint8)
    pipeline = load_pipeline(settings)
    pipeline.score(pixels[:256])
    start = time.perf_counter()
    for at in range(0, SHARD, 256):
        pipeline.score(pixels[at : at + 256])
    bare = SHARD / (time.perf_counter() - start)
    del pipeline
    print(f"{many:,} photos of 32 x 32 in tar shards of {SHARD:,}, {os.cpu_count()} cores\n")
    print(f"{'':<28}{'images/s':>12}{'memory, MB':>14}")
    print(f"{'bare engine':<28}{bare:>12,.0f}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        few, long = (shards(place / f"{n}", n, pixels) for n in (FEW, many))
        short_cost, long_cost = run(few, place / "few"), run(long, place / "many")
        rate = (many - FEW) / (long_cost.seconds - short_cost.seconds)
        print(f"{f'score, {FEW:,}':<28}{'':>12}{short_cost.memory / 1e6:>14,.0f}")
        print(f"{f'score, {many:,}':<28}{rate:>12,.0f}{long_cost.memory / 1e6:>14,.0f}", flush=True)
    print()
    share, growth = rate / bare, long_cost.memory / short_cost.memory
    verdict("score_rate", f"{share:.0%} of the bare engine", f">= {WANTED_SHARE:.0%}", share >= WANTED_SHARE)
    verdict(
        "score_memory", f"{growth:.2f} times from {FEW:,} to {many:,}", f"<= {WANTED_GROWTH}", growth <= WANTED_GROWTH
    )
    return 0


def verdict(name: str, measured: str, wanted: str, met: bool) -> None:
    print(f"target {name}: measured {measured}, wanted {wanted}, {'met' if met else 'missed'}")


def shards(folder: Path, count: int, pixels: np.ndarray) -> Path:
    """``count`` photos as tar files in ``folder``: one that is written, and links to it."""
    folder.mkdir()
    first = folder / "0000.tar"
    with tarfile.open(first, "w") as tar:
        for number, photo in enumerate(pixels):
            buffer = io.BytesIO()
            Image.fromarray(photo).save(buffer, "PNG", compress_level=1)
            about = tarfile.TarInfo(f"{number:06}.png")
            about.size = buffer.tell()
            buffer.seek(0)
            tar.addfile(about, buffer)
    for number in range(1, count // SHARD):
        os.link(first, folder / f"{number:04}.tar")
    return folder


def run(photos: Path, out: Path, *options: str) -> Cost:
    """The command as anyone gives it, timed from outside."""
    command = [sys.executable, "-m", "runners", "score", str(photos), "--out", str(out), *options]
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"error: {' '.join(command)} ended with {process.returncode}")
    return Cost(time.perf_counter() - start, usage.ru_maxrss * 1024)


if __name__ == "__main__":
    raise SystemExit(main())
