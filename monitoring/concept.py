"""Concept drift: are the answers still right? Feedback against the held-out photos of the reference, class by class.

Answers are grouped by what the service *said*: the accuracy of class "cat" is the share of answers "cat" that people
found right. Each group, and all together, is compared by Fisher's exact test, one-sided (fewer right than in the
reference), with Holm's correction. Who gives feedback chooses to: if people mostly report faults, the accuracy seen
here is below the true one, and the promise on false alarms holds only as far as right and wrong answers get feedback
alike.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from pydantic import BaseModel, ConfigDict

from monitoring.intervals import wilson

ALL = "all answers"
Counts = Mapping[str, tuple[int, int]]
"""Class answered -> (answers found right, answers)."""


class ClassAccuracy(BaseModel):
    """Share right among the ``answers`` of one class, with its 95 % Wilson interval, beside the reference's share."""

    model_config = ConfigDict(frozen=True)

    name: str
    answers: int
    accuracy: float
    interval: tuple[float, float]
    reference: float | None
    adjusted_p_value: float | None = None
    drifted: bool = False


def reference_counts(metadata: Mapping[str, str]) -> dict[str, tuple[int, int]]:
    """The counts that training put into a reference's ``metadata``; empty for a reference that has none."""
    return {name: (int(right), int(total)) for name, (right, total) in json.loads(metadata.get("right", "{}")).items()}


def compare(reference: Counts, feedback: Counts, alpha: float, min_rows: int) -> tuple[ClassAccuracy, ...]:
    """Accuracy of each class with feedback, all answers first, then the classes by their p-value.

    A group is tested where both sides have at least ``min_rows`` answers; Holm bounds the chance of any false alarm
    by ``alpha``.
    """
    from scipy.stats import fisher_exact

    both = [{**side, ALL: _sum(side)} for side in (reference, feedback)]
    raw = {}
    for name, (right, total) in both[1].items():
        known_right, known = both[0].get(name, (0, 0))
        if min(total, known) >= min_rows:
            table = [[right, total - right], [known_right, known - known_right]]
            raw[name] = float(fisher_exact(table, alternative="less").pvalue)
    adjusted = holm(raw)
    found = []
    for name, (right, total) in both[1].items():
        if not total:
            continue
        known_right, known = both[0].get(name, (0, 0))
        found.append(
            ClassAccuracy(
                name=name,
                answers=total,
                accuracy=right / total,
                interval=wilson(right, total),
                reference=known_right / known if known else None,
                adjusted_p_value=adjusted.get(name),
                drifted=adjusted.get(name, 1.0) <= alpha,
            )
        )
    return tuple(sorted(found, key=lambda c: (c.name != ALL, adjusted.get(c.name, 2.0), c.name)))


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Adjusted p-values: Holm, "A simple sequentially rejective multiple test procedure", 1979."""
    adjusted, highest = {}, 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        highest = max(highest, min(1.0, p * (len(p_values) - rank)))
        adjusted[name] = highest
    return adjusted


def _sum(counts: Counts) -> tuple[int, int]:
    return sum(right for right, _ in counts.values()), sum(total for _, total in counts.values())
