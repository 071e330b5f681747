"""When the network's answer speaks against a correction, and when the corrections to a class do so too often."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from monitoring.feedback_row import Feedback, clean_label

SURE = 0.95
"""Calibrated probability from which the network's disagreement with a correction is worth a second look."""
UNLIKELY = 0.01
"""Calibrated probability of the person's class below which a correction is worth a second look.

Together with `SURE` it marks 21 % of the corrections of photos that the network got wrong (25 % where photos are dim
and yellow), 89 % (86 %) of those that name a third class for one, and 98 % (94 %) of those that name a class at random
for a photo that it got right. `python -m bench.closed_loop` prints these.
"""
HONEST = 0.3
"""Share of the right corrections to a class that may be suspected: the 25 % above, and room for what classes differ."""
LEVEL = 0.01
"""Chance, over all classes together (Bonferroni), that corrections of which `HONEST` are suspected are doubted."""


@dataclass(frozen=True, slots=True)
class Doubt:
    """A class whose ``corrections`` are suspected too often; ``suspected``: their ids."""

    label: str
    corrections: int
    suspected: tuple[int, ...]


def suspected(row: Feedback) -> bool:
    """Whether the network's answer makes the class that ``row`` stands for unlikely."""
    if clean_label(row.best_guess) == row.truth:
        return False
    own = {clean_label(name): p for name, p in (row.probabilities or {}).items()}.get(row.truth)
    return (own is not None and own < UNLIKELY) or (row.in_distribution and row.probability >= SURE)


def doubts(corrections: Iterable[tuple[int, str, bool]]) -> list[Doubt]:
    """The classes in which more corrections are suspected than honest ones would be: someone may lie about them.

    ``corrections``: id, class, and whether it is suspected. One-sided binomial test of each class against `HONEST`.
    """
    by_class: dict[str, list[tuple[int, bool]]] = {}
    for number, label, doubtful in corrections:
        by_class.setdefault(label, []).append((number, doubtful))
    found = []
    for label, rows in sorted(by_class.items()):
        ids = tuple(number for number, doubtful in rows if doubtful)
        if _as_many(len(ids), len(rows)) < LEVEL / len(by_class):
            found.append(Doubt(label, len(rows), ids))
    return found


def _as_many(suspects: int, corrections: int) -> float:
    """The chance of as many suspects, or more, among honest corrections."""
    from scipy.stats import binom

    return float(binom.sf(suspects - 1, corrections, HONEST))
