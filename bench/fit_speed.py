"""`python -m bench.fit_speed`: training images/s of a configuration, with the memory kept and as the allocator has it.

Each way is a process of its own, in turn, on made-up photos; the median over the steps after the first two.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from itertools import pairwise
from pathlib import Path

import numpy as np

from settings import ROOT
from training.config import TrainConfig, read_config
from training.speed import machine

CLASSES, PHOTOS, EPOCHS, ROUNDS = 27, 4_000, 2, 2
WAYS = ("kept", "given back")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fit_speed", description="training images/s")
    parser.add_argument("--config", type=Path, default=ROOT / "training" / "standard.yaml")
    parser.add_argument("--way", choices=WAYS, help="measure this one alone, in this process")
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    if arguments.way:
        print(images_per_second(config, keep=arguments.way == "kept"))
        return 0
    print(f"{machine()}; configuration {config.name}, widths {config.widths}, batches of {config.batch_size}")
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(ROUNDS):
        for way in WAYS:
            command = [sys.executable, "-m", "bench.fit_speed", "--config", str(arguments.config), "--way", way]
            done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
            rates[way].append(float(done.stdout.split()[-1]))
            print(f"freed memory {way}: {rates[way][-1]:.0f} images/s", flush=True)
    print(f"ratio of the medians: {np.median(rates['kept']) / np.median(rates['given back']):.2f}")
    return 0


def images_per_second(config: TrainConfig, *, keep: bool) -> float:
    """Of the steps of two short epochs; without ``keep`` the fit leaves the allocator as it is."""
    from training import fit as fitting

    if not keep:
        fitting.keep_freed_memory = lambda: None  # type: ignore[attr-defined]
    config = config.model_copy(update={"epochs": EPOCHS, "least_images": 1})
    rng = np.random.default_rng(0)
    data = rng.integers(0, 256, (PHOTOS, 32, 32, 3), dtype=np.uint8), rng.integers(0, CLASSES, PHOTOS)
    times: list[tuple[int, float]] = []

    def progress(what: str, done: int, total: int, note: str = "", unit: str = "") -> None:  # noqa: ARG001
        times.append((done, time.monotonic()))

    with tempfile.TemporaryDirectory() as folder:
        held_out = data[0][:500], data[1][:500]
        fitting.fit(config, data, held_out, CLASSES, Path(folder), progress)
    steps = [(b[0] - a[0]) / (b[1] - a[1]) for a, b in pairwise(times[1:])]
    return float(np.median(steps))


if __name__ == "__main__":
    sys.exit(main())
