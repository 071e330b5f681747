"""`python -m bench.fit_speed`: training images/s: as it is, without what makes it fast, and on small photos.

Each way is a process of its own, in turn, on made-up photos of full size unless it says otherwise; the median over
the steps after the first two.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import numpy as np

from settings import ROOT, configure_environment, read_settings
from training.config import TrainConfig, read_config
from training.speed import machine

CLASSES, PHOTOS, EPOCHS, ROUNDS = 27, 4_000, 2, 2


@dataclass(frozen=True)
class Way:
    """``side``: of the photos, pixels. ``keep``: the memory that a step frees. ``environment``: what is set for it."""

    side: int = 32
    keep: bool = True
    environment: dict[str, str] = field(default_factory=dict)


WAYS = {
    "as it is": Way(),
    "without oneDNN": Way(environment={"TF_ENABLE_ONEDNN_OPTS": "0"}),
    "freed memory given back": Way(keep=False),
    **{f"photos of {side} pixels": Way(side=side) for side in (28, 24, 20)},
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.fit_speed", description="training images/s")
    parser.add_argument("--config", type=Path, default=ROOT / "training" / "standard.yaml")
    parser.add_argument("--way", choices=WAYS, help="measure this one alone, in this process")
    arguments = parser.parse_args()
    config = read_config(arguments.config)
    if arguments.way:
        os.environ.update(WAYS[arguments.way].environment)
        configure_environment(read_settings())
        print(images_per_second(config, WAYS[arguments.way]))
        return 0
    print(f"{machine()}; configuration {config.name}, widths {config.widths}, batches of {config.batch_size}")
    rates: dict[str, list[float]] = {name: [] for name in WAYS}
    for _ in range(ROUNDS):
        for name in WAYS:
            command = [sys.executable, "-m", "bench.fit_speed", "--config", str(arguments.config), "--way", name]
            done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
            rates[name].append(float(done.stdout.split()[-1]))
    usual = np.median(rates["as it is"])
    print("| way | images/s | ratio |\n|---|---:|---:|")
    for name, found in rates.items():
        print(f"| {name} | {', '.join(f'{rate:.0f}' for rate in found)} | {np.median(found) / usual:.2f} |")
    return 0


def images_per_second(config: TrainConfig, way: Way) -> float:
    """Of the steps of two short epochs of ``config``."""
    from training import fit as fitting

    if not way.keep:
        fitting.keep_freed_memory = lambda: None  # type: ignore[attr-defined]
    fitting.side = lambda _config, _epoch: way.side  # type: ignore[assignment]
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
