"""Temperature scaling, and how far probabilities are from what they claim."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from runners.gate import softmax

Floats = NDArray[np.float32]
Ints = NDArray[np.int64]


def nll(probabilities: Floats, labels: Ints) -> float:
    """Mean negative log-likelihood in nats."""
    return float(-np.log(np.clip(probabilities[np.arange(len(labels)), labels], 1e-12, None)).mean())


def brier(probabilities: Floats, labels: Ints) -> float:
    """Multi-class Brier score, 0..2 (Brier 1950)."""
    return float(np.square(probabilities - np.eye(probabilities.shape[1])[labels]).sum(axis=1).mean())


def temperature(logits: Floats, labels: Ints, score: Callable[[Floats, Ints], float] = brier) -> float:
    """The T in 0.05..20 at which softmax(logits / T) has the best ``score``, by default `brier`.

    ``logits`` (n, classes) of held-out photos, ``labels`` (n,). Guo et al. 2017, section 4.2, minimise the NLL, where a
    few photos that are confidently wrong, of which some are labelled wrongly, count for more than all those of medium
    confidence. The Brier score is proper too, and no photo counts for more than 2 in it; `bench.calibration`
    compares them.

    Raises:
        ValueError: no photos, or logits that are not finite.
    """
    from scipy.optimize import minimize_scalar

    if not len(logits) or not np.isfinite(logits).all():
        raise ValueError("calibration needs at least one photo and finite logits")
    best = minimize_scalar(
        lambda log_t: score(softmax(logits, float(np.exp(log_t))), labels),
        bounds=(np.log(0.05), np.log(20.0)),
        method="bounded",
    )
    return float(np.exp(best.x))


def reliability(probabilities: Floats, labels: Ints, bins: int = 15) -> list[tuple[float, float, int]]:
    """Mean confidence, accuracy and count in each of ``bins`` bins of equal mass, by confidence."""
    confidence, right = probabilities.max(axis=1), probabilities.argmax(axis=1) == labels
    parts = np.array_split(np.argsort(confidence, kind="stable"), bins)
    return [(float(confidence[p].mean()), float(right[p].mean()), len(p)) for p in parts if len(p)]


def ece(probabilities: Floats, labels: Ints, bins: int = 15) -> float:
    """Expected calibration error over equal-mass bins, 0..1 (Nguyen and O'Connor 2015; Naeini et al. 2015)."""
    return sum(n * abs(c - a) for c, a, n in reliability(probabilities, labels, bins)) / len(labels)
