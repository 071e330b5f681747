"""`python -m bench.seeds`: what a configuration reaches, as mean and standard deviation over several seeds.

Each seed is a run as `training train` makes it: an interrupted command goes on with it, a finished one is only read.
The exported network answers, with its mirror image and its temperature.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from bench.ablation import spread
from settings import ROOT, configure_environment, read_settings

if TYPE_CHECKING:
    from runners.network import Network
    from training.dataset import Dataset

SOURCES = {"cifar10": "CIFAR-10 among its ten", "cifar100": "CIFAR-100 among its own", "folder": "captured"}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.seeds", description=__doc__)
    parser.add_argument("--config", type=Path, default=ROOT / "training" / "quick.yaml")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    arguments = parser.parse_args()
    settings = read_settings()
    configure_environment(settings)
    from runners.artifacts import read_network_card
    from runners.network import load_network
    from runners.progress import progress_bar
    from training import steps
    from training.config import read_config

    base = read_config(arguments.config)
    rows: list[list[float]] = []
    for seed in arguments.seeds:
        config = base.model_copy(update={"seed": seed})
        run, data = steps.run_of(settings, config)
        begun, made_before = perf_counter(), run.cnn.is_dir()
        with progress_bar() as progress:
            steps.train(settings, config, progress)
        minutes = "made before" if made_before else f"{(perf_counter() - begun) / 60:.1f}"
        card = read_network_card(run.cnn)
        found = measured(load_network(run.cnn), card.temperature, data)
        if not rows:
            print(f"| {base.name}, seed | {' | '.join(found)} | minutes |\n|---|{'---:|' * (len(found) + 1)}")
        rows.append(list(found.values()))
        print(f"| {seed} | {' | '.join(f'{100 * value:.2f} %' for value in rows[-1])} | {minutes} |", flush=True)
    if len(rows) > 1:
        print(f"| mean ± sd | {' | '.join(f'{spread(values)} %' for values in 100 * np.array(rows).T)} | |")
    return 0


def measured(network: Network, temperature: float, data: Dataset) -> dict[str, float]:
    """Shares of right answers, and the calibration error, each 0..1, by the name of what they are of."""
    from runners.gate import softmax
    from training.calibrate import ece
    from training.evaluate import right_within
    from training.export import outputs

    (held_out, truth), _ = data.held_out()
    pixels, labels = data["test"]
    logits, _ = outputs(network, pixels)
    found = {
        "held-out photos": float((outputs(network, held_out)[0].argmax(axis=1) == truth).mean()),
        "test photos": float((logits.argmax(axis=1) == labels).mean()),
    }
    for source, title in SOURCES.items():
        rows = data.sources["test"] == source
        if rows.any():
            theirs, truth = logits[rows], labels[rows]
            right = theirs.argmax(axis=1) == truth if source == "folder" else right_within(theirs, truth)
            found[title] = float(right.mean())
    return {**found, "ECE": ece(softmax(logits, temperature), labels)}


if __name__ == "__main__":
    sys.exit(main())
