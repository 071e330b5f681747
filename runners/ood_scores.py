"""How unknown a photo looks: one formula per published score, computed from the network's outputs alone.

The gate's features and the lab's single scores are these same functions. Every score is higher for a more unknown
photo. What is done for each photo that is served reduces by `ufunc.reduce`: an array's own `sum` and `max` take longer
for a few numbers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
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
    exp = np.exp(scaled - np.maximum.reduce(scaled, axis=1, keepdims=True))
    return (exp / np.add.reduce(exp, axis=1, keepdims=True)).astype(np.float32)


def energy(logits: Floats) -> Floats:
    """Energy -logsumexp(logits) (Liu et al. 2020, equation 4, at temperature 1), (n, classes) -> (n,)."""
    return Seen(logits, _none()).energy


class Seen:
    """n photos as the network sees them, ``logits`` (n, classes) and ``embedding`` (n, d); what several scores need of
    them is worked out once."""

    def __init__(self, logits: Floats, embedding: Floats) -> None:
        self.logits, self.embedding = logits, embedding

    @cached_property
    def top(self) -> Floats:
        """Largest logit, (n, 1)."""
        top: Floats = np.maximum.reduce(self.logits, axis=1, keepdims=True)
        return top

    @cached_property
    def odds(self) -> Floats:
        """Of each class against the most probable one, (n, classes)."""
        return np.exp(self.logits - self.top)

    @cached_property
    def total(self) -> Floats:
        """Sum of the odds, (n, 1)."""
        total: Floats = np.add.reduce(self.odds, axis=1, keepdims=True)
        return total

    @cached_property
    def energy(self) -> Floats:
        """`energy` of the logits, (n,)."""
        return -(self.top + np.log(self.total))[:, 0]

    @cached_property
    def unit(self) -> Floats:
        """The embedding's direction, (n, d)."""
        squares = np.add.reduce(self.embedding**2, axis=1, keepdims=True)
        return (self.embedding / np.maximum(np.sqrt(squares), 1e-12)).astype(np.float32, copy=False)


def _max_softmax(seen: Seen, known: Known) -> Floats:
    return -softmax(seen.logits, known.temperature).max(axis=1)


def _max_logit(seen: Seen, _: Known) -> Floats:
    return -seen.top[:, 0]


def _energy(seen: Seen, _: Known) -> Floats:
    return seen.energy


def _entropy(seen: Seen, known: Known) -> Floats:
    p = softmax(seen.logits, known.temperature)
    return -(p * np.log(np.clip(p, 1e-12, None))).sum(axis=1)


def _generalised_entropy(seen: Seen, _: Known) -> Floats:
    p = seen.odds / seen.total
    if p.shape[1] > GEN_CLASSES:
        p.partition(-GEN_CLASSES, axis=1)
        p = p[:, -GEN_CLASSES:]
    return np.add.reduce(np.maximum(p * (1.0 - p), 0.0) ** GEN_POWER, axis=1)


def _cosine(seen: Seen, known: Known) -> Floats:
    return 1.0 - np.maximum.reduce(seen.unit @ known.directions.T, axis=1)


def _knn(seen: Seen, known: Known) -> Floats:
    similar = seen.unit @ known.bank.T
    k = min(NEIGHBOUR, similar.shape[1])
    nearest: Floats = np.partition(similar, -k, axis=1)[:, -k]
    return 1.0 - nearest


def _mahalanobis(seen: Seen, known: Known) -> Floats:
    return class_distances(seen.embedding, known).min(axis=1)


def _relative_mahalanobis(seen: Seen, known: Known) -> Floats:
    background = (((seen.embedding - known.centre) @ known.total) ** 2).sum(axis=1)
    return class_distances(seen.embedding, known).min(axis=1) - background


def _residual(seen: Seen, known: Known) -> Floats:
    return np.sqrt(np.add.reduce((seen.embedding @ known.null) ** 2, axis=1))


def _vim(seen: Seen, known: Known) -> Floats:
    return _residual(seen, known) * known.null_scale + seen.energy


def _exceedance(seen: Seen, known: Known) -> Floats:
    return (seen.embedding > known.ceiling).mean(axis=1, dtype=np.float32)


def _isolation(seen: Seen, known: Known) -> Floats:
    return known.isolation.score(softmax(seen.logits, known.temperature)).astype(np.float32)


def class_distances(embedding: Floats, known: Known) -> Floats:
    """Squared Mahalanobis distance to each class mean, (n, d) -> (n, classes)."""
    x = embedding @ known.within
    return (x**2).sum(axis=1, keepdims=True) - 2.0 * x @ known.means.T + (known.means**2).sum(axis=1)


class Formula(NamedTuple):
    """``score``: n photos and what is known -> (n,). ``needs``: fields of `Known` it reads."""

    score: Callable[[Seen, Known], Floats]
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


def raw_scores(names: Sequence[str], seen: Seen, known: Known) -> Floats:
    """The scores ``names`` of n photos as columns, (n, len(names))."""
    scores = np.empty((len(seen.logits), len(names)), np.float32)
    for i, name in enumerate(names):
        scores[:, i] = FORMULAS[name].score(seen, known)
    return scores
