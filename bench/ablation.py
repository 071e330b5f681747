"""`python -m bench.ablation`: what each part of the training recipe is worth, on held-out photos.

Each variant changes one thing of `training/quick.yaml` and is a run of its own, of eleven minutes on two cores; an
interrupted command goes on with it. The photos that judge are those of validation and calibration, which train none.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from settings import ROOT, configure_environment, read_settings

if TYPE_CHECKING:
    import keras

RECIPE = "the recipe"
VARIANTS: dict[str, dict[str, Any]] = {
    "SGD instead of Muon": {"optimizer": "sgd", "learning_rate": 0.2},
    "random first layer": {"initial": "first layer"},
    "whitening eps 5e-4, as published": {"whitening_eps": 5e-4},
    "random kernels instead of partly Dirac ones": {"initial": "kernels"},
    "the head at three times the rate": {"head_rate": 3.0},
    "the head at ten times the rate": {"head_rate": 10.0},
    "random flips instead of alternating ones": {"flips": "random"},
    "random kernels, random flips, no label smoothing": {
        "initial": "kernels",
        "flips": "random",
        "label_smoothing": 0.0,
    },
    "look-ahead": {"weights": "slow"},
    "no flips": {"flip": False},
    "no shift": {"translate": 0},
    "shift by up to 4 pixels": {"translate": 4},
    "no label smoothing": {"label_smoothing": 0.0},
    "label smoothing 0.1": {"label_smoothing": 0.1},
    "cutout of 12 pixels": {"cutout": 12},
    "noise of up to 12 levels": {"noise": 12.0},
    "photos of 32 pixels from the start": {"first_side": 32},
    "served without the mirror image": {"mirror": False},
}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.ablation", description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", nargs="+", choices=VARIANTS, default=list(VARIANTS), metavar="VARIANT")
    arguments = parser.parse_args()
    settings = read_settings()
    configure_environment(settings)
    from runners.network import from_keras
    from runners.progress import progress_bar
    from training import dataset
    from training.config import read_config
    from training.export import outputs
    from training.fit import fit
    from training.network import served_form
    from training.runs import open_run

    data = dataset.load(settings.var / "dataset")
    base = read_config(ROOT / "training" / "quick.yaml")
    (pixels, labels), _ = data.held_out()
    print(f"| seeds: {arguments.seeds} | held-out photos | against the recipe |")
    print("|---|---:|---:|")
    recipe = np.zeros(arguments.seeds)
    for name in (RECIPE, *arguments.only):
        options = dict(VARIANTS.get(name, {}))
        initial, flips, weights = (options.pop(part, "") for part in ("initial", "flips", "weights"))
        accuracy = np.zeros(arguments.seeds)
        for seed in range(arguments.seeds):
            config = base.model_copy(update={**options, "seed": seed})
            trained = config.model_copy(update={"mirror": True})  # it decides what is served, not what is trained
            folder = open_run(settings.var / "bench", trained, data.digest + initial + flips + weights).fit
            start = _start(config, data["train"][0], len(data.labels), initial) if initial else None
            with (
                progress_bar() as progress,
                mock.patch("training.fit.mirrored", _flips(flips)),
                mock.patch("training.fit._muon", _muon(weights)),
            ):
                model = fit(config, data["train"], data["validation"], len(data.labels), folder, progress, start)
            served = from_keras(served_form(model, mirror=config.mirror))
            accuracy[seed] = (outputs(served, pixels, 500)[0].argmax(axis=1) == labels).mean()
        recipe = accuracy if name == RECIPE else recipe
        difference = "" if name == RECIPE else f"{spread(100 * (accuracy - recipe), '+')} points"
        print(f"| {name} | {spread(100 * accuracy)} % | {difference} |", flush=True)
    return 0


def _start(config: Any, pixels: NDArray[np.uint8], classes: int, initial: str) -> keras.Model:
    """The network of ``config`` with a part of it drawn at random, uniform in ±1/sqrt(inputs)."""
    from training.fit import fresh
    from training.network import WHITEN

    model = fresh(config, pixels, classes)
    rng = np.random.default_rng(config.seed)
    for layer in model.layers:
        if layer.name == WHITEN if initial == "first layer" else layer.name.startswith("conv"):
            kernel, *bias = layer.get_weights()
            bound = 1 / np.sqrt(np.prod(kernel.shape[:-1]))
            layer.set_weights([rng.uniform(-bound, bound, kernel.shape), *bias])
    return model


def _flips(kind: str) -> Callable[[int, int, int], NDArray[np.bool_]]:
    from training.augment import mirrored

    if kind == "random":
        return lambda count, epoch, seed: np.random.default_rng((seed, 3, epoch)).random(count) < 0.5
    return mirrored


def _muon(weights: str) -> Callable[[Any, int], keras.optimizers.Optimizer]:
    from bench.look_ahead import LookingAhead
    from training.fit import _muon

    def looking_ahead(config: Any, steps: int) -> keras.optimizers.Optimizer:
        options = _muon(config, steps).get_config()
        return LookingAhead.from_config({**options, "steps": steps})

    return looking_ahead if weights == "slow" else _muon


def spread(values: NDArray[np.float64], sign: str = "") -> str:
    """Mean and standard deviation over the seeds; of one seed there is none."""
    return f"{values.mean():{sign}.2f}" + (f" ± {values.std(ddof=1):.2f}" if len(values) > 1 else "")


if __name__ == "__main__":
    sys.exit(main())
