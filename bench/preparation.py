"""`python -m bench.preparation`: time and peak memory of the preparation at 70,000 and at 700,000 made-up photos."""

from __future__ import annotations

import argparse
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from training.samples import Sample

LABELS = tuple(f"class{i}" for i in range(10))


def pictures(count: int) -> Iterator[Sample]:
    """Blurred noise, each picture another."""
    rng = np.random.default_rng(0)
    for number in range(count):
        coarse = rng.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        data = coarse.repeat(4, axis=0).repeat(4, axis=1).tobytes()
        name, label = f"made/{number:07d}.png", LABELS[number % len(LABELS)]
        yield Sample(name, "folder", label, label, "train", name, data, encoded=False)


def measure(count: int, answer: multiprocessing.Queue[tuple[float, float]]) -> None:
    from training.prepare import build

    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        build(pictures(count), LABELS, Path(folder), lambda *_, **__: None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    answer.put((time.monotonic() - start, peak))


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.preparation", description=__doc__)
    parser.add_argument("counts", type=int, nargs="*", default=[70_000, 700_000])
    print("| photos | seconds | peak memory, MB |\n|---|---|---|")
    for count in parser.parse_args().counts:
        context = multiprocessing.get_context("spawn")  # a process of its own: its peak is the run's
        answer = context.Queue()
        process = context.Process(target=measure, args=(count, answer))
        process.start()
        seconds, peak = answer.get()
        process.join()
        print(f"| {count:,} | {seconds:.0f} | {peak:,.0f} |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
