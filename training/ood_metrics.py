"""How well a score tells unknown photos from known ones, with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]
Values = NDArray[np.floating]

METRICS = ("auroc", "aupr_unknown", "aupr_known", "fpr95")
DRAWS, BINS = 200, 400
"""Bootstrap samples, and the bins of equal mass in which they are drawn; the stated values themselves are exact."""


def auroc(known: Values, unknown: Values) -> float:
    """Probability that an unknown photo scores higher than a known one, ties half (Mann and Whitney 1947), 0..1."""
    return float(metrics(known, unknown)["auroc"])


def fpr95(known: Values, unknown: Values) -> float:
    """Share of known photos refused where at least 95 % of the unknown are, 0..1; lower is better."""
    return float(metrics(known, unknown)["fpr95"])


def metrics(known: Values, unknown: Values) -> dict[str, float]:
    """`METRICS` of the scores of known (n,) and unknown (m,) photos, each 0..1.

    ``aupr_unknown`` is average precision with the unknown photos as positives, ``aupr_known`` with the known ones (low
    scores first); both depend on how many there are of each. ``fpr95``: see `fpr95`.
    """
    values, place = np.unique(np.concatenate([known, unknown]), return_inverse=True)
    bins = len(values)
    counts = [np.bincount(part, minlength=bins)[None] for part in (place[: len(known)], place[len(known) :])]
    return {name: float(value[0]) for name, value in _of_counts(*counts).items()}


def compare(known: Values, unknown: Mapping[str, Values], seed: int = 0) -> dict[str, dict[str, Any]]:
    """`metrics` of each set, with ``<metric>_interval`` at 95 %, and ``samples``: each metric in every draw.

    Photos are drawn anew, known ones the same for every set; the classes that they are of stay.
    """
    rng = np.random.default_rng(seed)
    edges = np.unique(np.quantile(np.concatenate([known, *unknown.values()]), np.linspace(0, 1, BINS + 1)[1:-1]))
    draws = {"": _draw(known, edges, rng)} | {name: _draw(values, edges, rng) for name, values in unknown.items()}
    result: dict[str, dict[str, Any]] = {}
    for name, values in unknown.items():
        sampled = _of_counts(draws[""], draws[name])
        row: dict[str, Any] = dict(metrics(known, values))
        row |= {f"{metric}_interval": interval(sampled[metric]) for metric in METRICS}
        result[name] = row | {"samples": {metric: sampled[metric] for metric in METRICS}}
    return result


def interval(samples: Doubles) -> tuple[float, float]:
    """The middle 95 % of ``samples``."""
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)


def _draw(values: Values, edges: Values, rng: np.random.Generator) -> NDArray[np.int64]:
    counts = np.bincount(np.searchsorted(edges, values, side="right"), minlength=len(edges) + 1)
    return rng.multinomial(len(values), counts / len(values), size=DRAWS)


def _of_counts(known: NDArray[np.int64], unknown: NDArray[np.int64]) -> dict[str, Doubles]:
    """`METRICS` from the number of photos at each of k ascending values, both (draws, k)."""
    k, u = known.astype(np.float64), unknown.astype(np.float64)
    n, m = k.sum(axis=1), u.sum(axis=1)
    below = np.cumsum(k, axis=1) - k
    known_from, unknown_from = n[:, None] - below, m[:, None] - (np.cumsum(u, axis=1) - u)
    caught = unknown_from >= 0.95 * m[:, None] - 1e-9
    last = caught.shape[1] - 1 - np.argmax(caught[:, ::-1], axis=1)
    return {
        "auroc": (u * (below + 0.5 * k)).sum(axis=1) / (n * m),
        "aupr_unknown": (u / m[:, None] * unknown_from / np.maximum(known_from + unknown_from, 1)).sum(axis=1),
        "aupr_known": _average_precision(k, u),
        "fpr95": np.take_along_axis(known_from, last[:, None], axis=1)[:, 0] / n,
    }


def _average_precision(positive: Doubles, negative: Doubles) -> Doubles:
    """Average precision of ``positive`` counts at k values, the lowest first, (draws, k) -> (draws,)."""
    hits, others = np.cumsum(positive, axis=1), np.cumsum(negative, axis=1)
    return (positive / positive.sum(axis=1, keepdims=True) * hits / np.maximum(hits + others, 1)).sum(axis=1)
