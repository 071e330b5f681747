"""Which test photos the report shows: those the network is surest of, rightly and wrongly, and the hardest pairs."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from runners.pipeline import Scores

MOST_WRONG, MOST_PAIRS, MOST_PROBABILITIES = 24, 12, 5


class Example(BaseModel):
    """A test photo and its answer. ``row``: its place in the test split. ``probabilities``: the highest five."""

    model_config = ConfigDict(frozen=True)

    row: int
    truth: str
    answer: str
    probabilities: dict[str, float]
    accepted: bool


class HardPair(BaseModel):
    """Two classes that are taken for each other.

    ``mistakes``: photos of the first taken for the second, and the reverse. ``share``: both, of all photos of the two.
    ``examples``: the most confident mistake of each direction.
    """

    model_config = ConfigDict(frozen=True)

    classes: tuple[str, str]
    mistakes: tuple[int, int]
    share: float
    examples: list[Example]


def surest_right(
    scores: Scores, labels: NDArray[np.int64], accepted: NDArray[np.bool_], names: Sequence[str]
) -> list[Example]:
    """The right answer of the highest probability in each class, the highest first."""
    order = _by_confidence(scores, scores.best == labels)
    _, first = np.unique(labels[order], return_index=True)
    return [_example(scores, labels, accepted, names, row) for row in order[np.sort(first)]]


def surest_wrong(
    scores: Scores, labels: NDArray[np.int64], accepted: NDArray[np.bool_], names: Sequence[str]
) -> list[Example]:
    """The wrong answers of the highest probability, the highest first."""
    order = _by_confidence(scores, scores.best != labels)
    return [_example(scores, labels, accepted, names, row) for row in order[:MOST_WRONG]]


def hardest_pairs(
    scores: Scores, labels: NDArray[np.int64], accepted: NDArray[np.bool_], names: Sequence[str]
) -> list[HardPair]:
    """The pairs of classes with the most mistakes between them, the most first."""
    best = scores.best
    counts = np.bincount(labels * len(names) + best, minlength=len(names) ** 2).reshape(len(names), len(names))
    pairs = sorted(combinations(range(len(names)), 2), key=lambda pair: -(counts[pair] + counts[pair[::-1]]))
    return [
        HardPair(
            classes=(names[a], names[b]),
            mistakes=(int(counts[a, b]), int(counts[b, a])),
            share=float((counts[a, b] + counts[b, a]) / (counts[a].sum() + counts[b].sum())),
            examples=[
                _example(scores, labels, accepted, names, row)
                for truth, answer in ((a, b), (b, a))
                for row in _by_confidence(scores, (labels == truth) & (best == answer))[:1]
            ],
        )
        for a, b in pairs[:MOST_PAIRS]
        if counts[a, b] + counts[b, a]
    ]


def _by_confidence(scores: Scores, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
    """The ``chosen`` rows, the highest probability first."""
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(-scores.confidence[rows], kind="stable")]


def _example(
    scores: Scores, labels: NDArray[np.int64], accepted: NDArray[np.bool_], names: Sequence[str], row: int
) -> Example:
    probabilities = scores.probabilities[row]
    highest = np.argsort(-probabilities, kind="stable")[:MOST_PROBABILITIES]
    return Example(
        row=int(row),
        truth=names[labels[row]],
        answer=names[highest[0]],
        probabilities={names[i]: round(float(probabilities[i]), 6) for i in highest},
        accepted=bool(accepted[row]),
    )
