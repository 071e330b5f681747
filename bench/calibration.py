"""`python -m bench.calibration`: ECE, Brier and NLL of the served network by the way its probabilities are calibrated.

Each way is fitted on nine tenths of the held-out photos (validation and calibration) and applied to the last tenth, ten
times; the scores are those of all tenths together. No test photo is read.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from scipy.optimize import minimize

from runners.gate import softmax
from runners.network import load_network
from runners.store import served
from settings import configure_environment, read_settings
from training import dataset
from training.calibrate import Floats, Ints, brier, ece, nll, temperature
from training.export import outputs

FOLDS = 10
PENALTY = 3e-4
"""Of the squares of the class biases."""

Calibrated = Callable[[Floats], Floats]
"""Logits to probabilities, both (n, classes)."""


def main() -> int:
    settings = read_settings()
    configure_environment(settings)
    pair = served(settings)
    (pixels, labels), _ = dataset.load(settings.var / "dataset").held_out()
    logits, _ = outputs(load_network(pair.cnn_path), pixels)
    print(f"{pair.cnn_tag}, {len(labels)} held-out photos, {FOLDS} folds\n")
    print("| calibrated by | ECE | Brier | NLL, nats |\n|---|---:|---:|---:|")
    for name, fit in WAYS.items():
        probabilities = out_of_fold(fit, logits, labels)
        scores = ece(probabilities, labels), brier(probabilities, labels), nll(probabilities, labels)
        print(f"| {name} | {scores[0]:.2%} | {scores[1]:.4f} | {scores[2]:.4f} |", flush=True)
    return 0


def out_of_fold(fit: Callable[[Floats, Ints], Calibrated], logits: Floats, labels: Ints) -> Floats:
    """Probabilities (n, classes) of each photo by what ``fit`` made of the folds that it is not in."""
    fold = np.random.default_rng(0).permutation(len(labels)) % FOLDS
    probabilities = np.empty_like(logits)
    for k in range(FOLDS):
        probabilities[fold == k] = fit(logits[fold != k], labels[fold != k])(logits[fold == k])
    return probabilities


def by_temperature(score: Callable[[Floats, Ints], float]) -> Callable[[Floats, Ints], Calibrated]:
    def fit(logits: Floats, labels: Ints) -> Calibrated:
        t = temperature(logits, labels, score)
        return lambda new: softmax(new, t)

    return fit


def by_class_biases(logits: Floats, labels: Ints) -> Calibrated:
    """Temperature and a bias for each class (vector scaling without its scales), by NLL."""
    truth = np.eye(logits.shape[1])[labels]

    def loss(parameters: Floats) -> tuple[float, Floats]:
        scale, biases = np.exp(parameters[0]), parameters[1:]
        p = softmax(logits * scale + biases, 1.0)
        slope = (p - truth) / len(labels)
        gradient = np.concatenate([[(slope * logits).sum() * scale], slope.sum(axis=0) + 2 * PENALTY * biases])
        return nll(p, labels) + PENALTY * float((biases**2).sum()), gradient

    best = minimize(loss, np.zeros(1 + logits.shape[1]), jac=True, method="L-BFGS-B").x
    return lambda new: softmax((new * np.exp(best[0]) + best[1:]).astype(np.float32), 1.0)


WAYS: dict[str, Callable[[Floats, Ints], Calibrated]] = {
    "nothing": lambda _logits, _labels: lambda new: softmax(new, 1.0),
    "temperature, by NLL": by_temperature(nll),
    "temperature and class biases, by NLL": by_class_biases,
    "temperature, by Brier score (as training does)": by_temperature(brier),
}


if __name__ == "__main__":
    raise SystemExit(main())
