"""`python -m bench.score`: `python -m runners score` beside the bare engine, its memory, and Ray's second worker.

Photos of the network's own size in tar shards, so that decoding costs as little as it can and the command's own work
shows. What a run costs once (start, model) is the same for few and many photos: the rate is taken from the difference.
The bare engine is network and gate on pixels in memory, the faster of two ways: one call at a time on all cores, or one
call on each core. `--images` makes it shorter, `--no-ray` leaves Ray out.
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
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from settings import ROOT, Settings, configure_environment, read_settings

SHARD = 10_000
FEW, MANY = 10_000, 1_000_000
RAY_SHARD, RAY_FEW, RAY_MANY = 2_500, 10_000, 30_000
WANTED_SHARE, WANTED_GROWTH = 0.8, 1.1


@dataclass(frozen=True)
class Cost:
    """Of one run of the command: seconds and, at most, bytes in memory."""

    seconds: float
    memory: int


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.score", description=__doc__)
    parser.add_argument("--images", type=int, default=MANY, help=f"photos of the longer run, more than {FEW:,}")
    parser.add_argument("--no-ray", action="store_true", help="without Ray")
    arguments = parser.parse_args()
    many = max(2, arguments.images // SHARD) * SHARD
    settings = read_settings()
    configure_environment(settings)
    pixels = np.random.default_rng(0).integers(0, 256, (SHARD, 32, 32, 3), dtype=np.uint8)
    cores = os.cpu_count() or 1
    bare = {f"bare engine, {streams} at a time": bare_rate(settings, pixels, streams) for streams in {1, cores}}
    print(f"{many:,} photos of 32 x 32 in tar shards of {SHARD:,}, {cores} cores\n")
    print(f"{'':<28}{'images/s':>12}{'memory, MB':>14}")
    for name, engine_rate in bare.items():
        print(f"{name:<28}{engine_rate:>12,.0f}", flush=True)
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        few, long = (shards(place / f"{n}", n, pixels) for n in (FEW, many))
        short_cost, long_cost = run(few, place / "few"), run(long, place / "many")
        rate = (many - FEW) / (long_cost.seconds - short_cost.seconds)
        print(f"{f'score, {FEW:,}':<28}{'':>12}{short_cost.memory / 1e6:>14,.0f}")
        print(f"{f'score, {many:,}':<28}{rate:>12,.0f}{long_cost.memory / 1e6:>14,.0f}", flush=True)
        if not arguments.no_ray:
            photos = [shards(place / f"ray{n}", n, pixels[:RAY_SHARD]) for n in (RAY_FEW, RAY_MANY)]
            one, two = (ray_rate(photos, place, workers) for workers in (1, 2))
            print(f"{'Ray, 1 worker':<28}{one:>12,.0f}")
            print(f"{'Ray, 2 workers':<28}{two:>12,.0f}{f'{two / one:.2f} times':>14}")
    print()
    share, growth = rate / max(bare.values()), long_cost.memory / short_cost.memory
    verdict("score_rate", f"{share:.0%} of the bare engine", f">= {WANTED_SHARE:.0%}", share >= WANTED_SHARE)
    verdict(
        "score_memory", f"{growth:.2f} times from {FEW:,} to {many:,}", f"<= {WANTED_GROWTH}", growth <= WANTED_GROWTH
    )
    return 0


def bare_rate(settings: Settings, pixels: np.ndarray, calls: int) -> float:
    """Images/s of network and gate with ``calls`` at a time: one has all cores, several have one each."""
    from runners.store import load_pipeline

    pipeline = load_pipeline(settings, streams=calls if calls > 1 else 0)
    batches = [pixels[at : at + 256] for at in range(0, len(pixels), 256)]
    with ThreadPoolExecutor(calls) as threads:
        list(threads.map(pipeline.score, batches[:calls]))
        start = time.perf_counter()
        list(threads.map(pipeline.score, batches))
    return len(pixels) / (time.perf_counter() - start)


def ray_rate(photos: list[Path], place: Path, workers: int) -> float:
    """Images/s of ``workers`` on a cluster that each run starts."""
    options = ("--engine", "ray", "--workers", str(workers))
    short, long = (run(folder, place / f"{folder.name}-{workers}", *options) for folder in photos)
    return (RAY_MANY - RAY_FEW) / (long.seconds - short.seconds)


def verdict(name: str, measured: str, wanted: str, met: bool) -> None:
    print(f"target {name}: measured {measured}, wanted {wanted}, {'met' if met else 'missed'}")


def shards(folder: Path, count: int, pixels: np.ndarray) -> Path:
    """``count`` photos as tar files in ``folder``: one of ``pixels`` that is written, and links to it."""
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
    for number in range(1, count // len(pixels)):
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
