"""`python -m bench.gate_training`: what choices in training do for the gate, and the accuracy that they cost.

A narrow network of the ten CIFAR-10 classes is trained with each choice, for the same few epochs. Accuracy is that of
held-out photos; AUROC is of the half of the unknown photos that is for choosing, against them.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
from numpy.typing import NDArray

from bench.fractals import fractals, pixmix, shuffled_tiles
from settings import ROOT, Settings, configure_environment, read_settings

if TYPE_CHECKING:
    import keras

    from runners.network import Network
    from training.config import TrainConfig
    from training.ood_lab import Choice

TEN = ROOT / "bench" / "cifar10.yaml"
SCORES = ("MSP", "Energy", "KNN")
WIDTHS = (24, 96, 96)
EXPOSED = 16
"""One picture of a batch in so many is an outlier."""
LOGIT_NORM = 0.04
"""The temperature of LogitNorm's paper for CIFAR-10."""
PICTURES = 4_000
HELD_OUT = 1_000
"""Held-out photos that are damaged, in every kind and strength."""


@dataclass(frozen=True, slots=True)
class Measured:
    accuracy: float
    damaged: float
    choice: Choice


def variants() -> dict[str, tuple[dict[str, Any], Callable[[], AbstractContextManager[object]]]]:
    """Name -> what it changes in the configuration, and what it changes while it trains."""
    return {
        "shift and mirror": ({}, nullcontext),
        "cutout of 12 pixels": ({"cutout": 12}, nullcontext),
        "PixMix with fractals": ({"cutout": 1}, _pixmix),
        "outlier exposure, generated": ({}, _exposure),
        "PixMix and outlier exposure": ({"cutout": 1}, _both),
        "whitening eps 5e-4": ({"whitening_eps": 5e-4}, nullcontext),
        "no label smoothing": ({"label_smoothing": 0.0}, nullcontext),
        "LogitNorm": ({"label_smoothing": 0.0}, _logit_norm),
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.gate_training", description=__doc__)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--only", nargs="*", help="names of choices")
    arguments = parser.parse_args()
    settings = read_settings()
    configure_environment(settings)
    print(f"| choice ({arguments.epochs} epochs) | right | right when damaged | score | near | far | generated |")
    print("|---|---:|---:|---|---:|---:|---:|")
    for name, (changes, changed) in variants().items():
        if arguments.only and name not in arguments.only:
            continue
        measured = measure(settings, {"widths": WIDTHS, "epochs": arguments.epochs, **changes}, changed, name)
        first = f"| {name} | {measured.accuracy:.1%} | {measured.damaged:.1%} |"
        table = measured.choice.table
        gate = max((title for title in table if title.startswith("Gate")), key=lambda t: sum(table[t].values()))
        for title in (*SCORES, gate):
            means = table[title]
            print(f"{first} {title} | " + " | ".join(f"{means[g]:.1%}" for g in ("near", "far", "generated")) + " |")
            first = "| | | |"
        sys.stdout.flush()
    return 0


def measure(
    settings: Settings, changes: dict[str, Any], changed: Callable[[], AbstractContextManager[object]], name: str
) -> Measured:
    """Train with ``changes``, ``changed`` being in force, and judge the network on what it was not trained on."""
    from runners.network import from_keras
    from runners.progress import progress_bar
    from training import dataset, ood_lab
    from training.calibrate import temperature
    from training.config import read_config
    from training.export import outputs
    from training.fit import fit
    from training.network import served_form
    from training.ood_known import known_photos
    from training.prepare import prepare
    from training.runs import open_run
    from training.unknowns import read_unknowns

    folder = settings.var / "bench" / "cifar10"
    with progress_bar() as progress:
        prepare(TEN, settings.data_root, folder, progress)
        data = dataset.load(folder)
        config: TrainConfig = read_config(ROOT / "training" / "quick.yaml").model_copy(
            update={"label_smoothing": 0.1, "first_side": 32, **changes}
        )
        run = open_run(settings.var / "bench", config, data.digest + name)
        with changed():
            model: keras.Model = fit(config, data["train"], data["validation"], len(data.labels), run.fit, progress)
    network = from_keras(served_form(model, mirror=True))
    (pixels, labels), _ = data.held_out()
    accuracy = float((outputs(network, pixels, 500)[0].argmax(axis=1) == labels).mean())
    scale = temperature(outputs(network, data["validation"][0], 500)[0], data["validation"][1])
    photos = known_photos(network, data, scale)
    unknown = ood_lab.measure(network, (s for s in read_unknowns(settings.data_root, folder) if s.half == "choosing"))
    choice = ood_lab.choose(photos, unknown, config.gate_trees, config.seed)
    return Measured(accuracy, damaged_accuracy(network, pixels[:HELD_OUT], labels[:HELD_OUT]), choice)


def damaged_accuracy(network: Network, pixels: NDArray[np.uint8], labels: NDArray[np.int64]) -> float:
    """Mean accuracy over the kinds and severities of `training.robustness`."""
    from training.export import outputs
    from training.robustness import CORRUPTIONS, SEVERITIES

    right = [
        (
            outputs(network, corrupt(pixels, severity, np.random.default_rng(severity)), 500)[0].argmax(1) == labels
        ).mean()
        for corrupt in CORRUPTIONS.values()
        for severity in SEVERITIES
    ]
    return float(np.mean(right))


def _pixmix() -> AbstractContextManager[object]:
    """Each image of a batch is mixed with fractals where it would have been cut out of."""
    pictures = fractals(PICTURES, np.random.default_rng(1))

    def mixed(pixels: NDArray[np.uint8], side: int, rng: np.random.Generator) -> NDArray[np.uint8]:  # noqa: ARG001
        return pixmix(pixels, pictures, rng)

    return mock.patch("training.fit.cutout", mixed)


def _exposure() -> AbstractContextManager[object]:
    """A sixteenth of each batch shows none of the classes, and every class is as likely (Hendrycks et al. 2019)."""
    return mock.patch("training.fit._batches", _exposed(fractals(PICTURES, np.random.default_rng(2))))


def _logit_norm() -> AbstractContextManager[object]:
    """The loss of logits of one length: a network cannot grow sure by making them longer (Wei et al. 2022, eq. 5).

    The length is softened by 0.1, since the head begins as zeros, which have no direction; the loss is scaled so that
    its gradients stay about as large as without.
    """
    import keras

    class LogitNorm(keras.losses.CategoricalCrossentropy):
        def call(self, y_true: Any, y_pred: Any) -> Any:
            length = keras.ops.sqrt(0.01 + keras.ops.sum(keras.ops.square(y_pred), axis=-1, keepdims=True))
            return LOGIT_NORM * super().call(y_true, y_pred / (LOGIT_NORM * length))

    return mock.patch(
        "keras.losses.CategoricalCrossentropy", keras.saving.register_keras_serializable("bench")(LogitNorm)
    )


def _both() -> AbstractContextManager[object]:
    stack = ExitStack()
    stack.enter_context(_pixmix())
    stack.enter_context(_exposure())
    return stack


def _exposed(pictures: NDArray[np.uint8]) -> Callable[..., Iterator[tuple[NDArray[Any], ...]]]:
    from training import fit

    plain = fit._batches  # what is changed is inside the fit

    def batches(config: TrainConfig, *arguments: Any) -> Iterator[tuple[NDArray[Any], ...]]:
        rng = np.random.default_rng((config.seed, 4))
        for images, targets, weights in plain(config, *arguments):
            count = len(images) // EXPOSED
            nothing = pictures[rng.integers(0, len(pictures), count)]
            nothing[::2] = shuffled_tiles(images[:count][::2], rng)
            images[:count], targets[:count] = nothing, 1 / targets.shape[1]
            yield images, targets, weights

    return batches


if __name__ == "__main__":
    sys.exit(main())
