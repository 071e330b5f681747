"""How unknown a photo looks: one formula per published score, computed from the network's outputs alone.

The gate's features and the lab's single scores are these same functions. Every score is higher for a more unknown
photo.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runners.isolation import Forest, no_forest

Floats = NDArray[np.float32]

NEIGHBOUR = 10
"""Which nearest photo of the bank counts. The bank has few photos per class, so it is small."""
GEN_POWER, GEN_CLASSES = 0.1, 10
"""Values of Liu, Lochman and Zach 2023, section 4, for ten and more classes."""


def _none() -> Floats:
    return np.empty(0, np.float32)


@dataclass(frozen=True, slots=True)
class Known:
    """What the scores know of the known photos; what no score in use needs may be empty.

    ``directions`` (classes, d): unit class means of the embedding. ``bank`` (m, d): unit embeddings of training photos.
    ``within`` and ``total`` (d, d): whitening matrices of the covariance inside classes and of all photos, ``means``
    (classes, d) the class means after ``within``, ``centre`` (d,) the mean of all. ``null`` (d, r): the directions in
    which training photos vary least, ``null_scale`` (1,) ViM's factor. ``ceiling`` (d,): 99.9 % quantile of each unit.
    ``isolation``: a forest on the probabilities of held-out photos.
    """

    temperature: float
    directions: Floats
    bank: Floats = field(default_factory=_none)
    within: Floats = field(default_factory=_none)
    means: Floats = field(default_factory=_none)
    total: Floats = field(default_factory=_none)
    centre: Floats = field(default_factory=_none)
    null: Floats = field(default_factory=_none)
    null_scale: Floats = field(default_factory=_none)
    ceiling: Floats = field(default_factory=_none)
    isolation: Forest = field(default_factory=no_forest)

    def only(self, names: Sequence[str]) -> Known:
        """The part of it that the scores ``names`` need."""
        kept = {"temperature", "directions", *(need for name in names for need in FORMULAS[name].needs)}
        kept_fields: dict[str, Any] = {f.name: getattr(self, f.name) for f in fields(self) if f.name in kept}
        return Known(**kept_fields)


def softmax(logits: Floats, temperature: float) -> Floats:
    """Calibrated probabilities softmax(logits / temperature), (n, classes) -> (n, classes)."""
    scaled = logits / temperature
    exp = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return (exp / exp.sum(axis=1, keepdims=True)).astype(np.float32)


def energy(logits: Floats, temperature: float = 1.0) -> Floats:
    """Energy -T·logsumexp(logits / T) (Liu et al. 2020, equation 4), (n, classes) -> (n,)."""
    scaled = logits / temperature
    top = scaled.max(axis=1)
    return -temperature * (top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)))


def _max_softmax(logits: Floats, _: Floats, known: Known) -> Floats:
    return -softmax(logits, known.temperature).max(axis=1)


def _max_logit(logits: Floats, _: Floats, __: Known) -> Floats:
    return -logits.max(axis=1)


def _energy(logits: Floats, _: Floats, __: Known) -> Floats:
    return energy(logits)


def _entropy(logits: Floats, _: Floats, known: Known) -> Floats:
    p = softmax(logits, known.temperature)
    return -(p * np.log(np.clip(p, 1e-12, None))).sum(axis=1)


def _generalised_entropy(logits: Floats, _: Floats, __: Known) -> Floats:
    p = softmax(logits, 1.0)
    if p.shape[1] > GEN_CLASSES:
        p = np.partition(p, -GEN_CLASSES, axis=1)[:, -GEN_CLASSES:]
    return ((p * (1.0 - p).clip(0.0)) ** GEN_POWER).sum(axis=1)


def _cosine(_: Floats, embedding: Floats, known: Known) -> Floats:
    return 1.0 - (_unit(embedding) @ known.directions.T).max(axis=1)


def _knn(_: Floats, embedding: Floats, known: Known) -> Floats:
    similar = _unit(embedding) @ known.bank.T
    k = min(NEIGHBOUR, similar.shape[1])
    nearest: Floats = np.partition(similar, -k, axis=1)[:, -k]
    return 1.0 - nearest


def _mahalanobis(_: Floats, embedding: Floats, known: Known) -> Floats:
    return class_distances(embedding, known).min(axis=1)


def _relative_mahalanobis(_: Floats, embedding: Floats, known: Known) -> Floats:
    background = (((embedding - known.centre) @ known.total) ** 2).sum(axis=1)
    return class_distances(embedding, known).min(axis=1) - background


def _residual(_: Floats, embedding: Floats, known: Known) -> Floats:
    return np.sqrt(((embedding @ known.null) ** 2).sum(axis=1))


def _vim(logits: Floats, embedding: Floats, known: Known) -> Floats:
    return _residual(logits, embedding, known) * known.null_scale + energy(logits)


def _exceedance(_: Floats, embedding: Floats, known: Known) -> Floats:
    return (embedding > known.ceiling).mean(axis=1, dtype=np.float32)


def _isolation(logits: Floats, _: Floats, known: Known) -> Floats:
    return known.isolation.score(softmax(logits, known.temperature)).astype(np.float32)


def class_distances(embedding: Floats, known: Known) -> Floats:
    """Squared Mahalanobis distance to each class mean, (n, d) -> (n, classes)."""
    x = embedding @ known.within
    return (x**2).sum(axis=1, keepdims=True) - 2.0 * x @ known.means.T + (known.means**2).sum(axis=1)


def _unit(rows: Floats) -> Floats:
    return rows / np.maximum(np.sqrt((rows**2).sum(axis=1, keepdims=True)), 1e-12)


class Formula(NamedTuple):
    """``score``: logits (n, classes), embedding (n, d) and `Known` -> (n,). ``needs``: fields of `Known` it reads."""

    score: Callable[[Floats, Floats, Known], Floats]
    needs: tuple[str, ...]
    title: str
    source: str


FORMULAS: Mapping[str, Formula] = {
    "msp": Formula(_max_softmax, (), "MSP", "Hendrycks and Gimpel 2017, section 2 (softmax at the fitted temperature)"),
    "max_logit": Formula(_max_logit, (), "MaxLogit", "Hendrycks et al. 2022, section 3"),
    "energy": Formula(_energy, (), "Energy", "Liu et al. 2020, equation 4"),
    "entropy": Formula(_entropy, (), "Entropy", "Shannon 1948, of the softmax at the fitted temperature"),
    "gen": Formula(_generalised_entropy, (), "GEN", "Liu, Lochman and Zach 2023, equation 3"),
    "cosine": Formula(_cosine, (), "Cosine to the class mean", "after Tack et al. 2020, section 2.2"),
    "knn": Formula(_knn, ("bank",), "KNN", "Sun et al. 2022, section 3; 10th neighbour of 50 photos per class"),
    "mahalanobis": Formula(_mahalanobis, ("within", "means"), "Mahalanobis", "Lee et al. 2018, equation 2"),
    "relative_mahalanobis": Formula(
        _relative_mahalanobis,
        ("within", "means", "total", "centre"),
        "Relative Mahalanobis",
        "Ren et al. 2021, equation 3",
    ),
    "residual": Formula(_residual, ("null",), "Residual", "Wang et al. 2022, equation 4"),
    "vim": Formula(_vim, ("null", "null_scale"), "ViM", "Wang et al. 2022, equation 6"),
    "exceedance": Formula(_exceedance, ("ceiling",), "Units never so high", "share of units above their ceiling"),
    "isolation": Formula(
        _isolation, ("isolation",), "Isolation of the softmax", "Liu, Ting and Zhou 2008, on held-out probabilities"
    ),
}


def raw_scores(names: Sequence[str], logits: Floats, embedding: Floats, known: Known) -> Floats:
    """The scores ``names`` of n photos as columns, (n, len(names))."""
    scores = np.empty((len(logits), len(names)), np.float32)
    for i, name in enumerate(names):
        scores[:, i] = FORMULAS[name].score(logits, embedding, known)
    return scores
