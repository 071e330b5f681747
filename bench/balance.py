"""`python -m bench.balance`: what balancing does to large and to small classes, on held-out photos.

A narrow network for five epochs: cheap enough to compare, and the differences are large.
"""

from __future__ import annotations

import argparse
import sys

import numpy as np

from settings import ROOT, configure_environment, read_settings

VARIANTS = (
    ("plain", 0.1),
    ("oversample", 0.1),
    ("weight", 0.1),
    ("augment", 0.1),
    ("oversample", 0.3),
    ("augment", 0.3),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.balance", description=__doc__)
    parser.add_argument("--epochs", type=int, default=5)
    arguments = parser.parse_args()
    settings = read_settings()
    configure_environment(settings)
    from monitoring.intervals import wilson
    from runners.network import from_keras
    from runners.progress import progress_bar
    from training import dataset
    from training.config import read_config
    from training.export import outputs
    from training.fit import fit
    from training.runs import open_run

    data = dataset.load(settings.var / "dataset")
    base = read_config(ROOT / "training" / "quick.yaml")
    (pixels, labels), sources = data.held_out()
    kinds = sorted(set(sources.tolist()))
    print(
        "| balance | floor | all | "
        + " | ".join(f"{k} ({(sources == k).sum():,})" for k in kinds)
        + " | mean of classes |"
    )
    print("|---" * (4 + len(kinds)) + "|")
    for balance, floor in VARIANTS:
        changes = {"balance": balance, "balance_floor": floor, "epochs": arguments.epochs, "widths": (16, 64, 64)}
        config = base.model_copy(update={"first_side": 32, **changes})
        folder = open_run(settings.var / "bench", config, data.digest).fit
        with progress_bar() as progress:
            model = fit(config, data["train"], data["validation"], len(data.labels), folder, progress)
        right = outputs(from_keras(model), pixels, 500)[0].argmax(axis=1) == labels
        cells = [f"{right.mean():.1%}"]
        for kind in kinds:
            low, high = wilson(int(right[sources == kind].sum()), int((sources == kind).sum()))
            cells.append(f"{right[sources == kind].mean():.1%} ({low:.0%} to {high:.0%})")
        cells.append(f"{np.mean([right[labels == label].mean() for label in np.unique(labels)]):.1%}")
        print(f"| {balance} | {floor} | " + " | ".join(cells) + " |", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
