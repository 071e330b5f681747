"""Photos that occur more than once: which copy is kept, in which split, and why the others are dropped.

A picture that is in two splits makes the held-out one dishonest, so it survives only in the one of highest priority:
test, then calibration, then validation, then train. The answer depends on the photos alone, not on their order.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from training.near_duplicates import Hashes, Pairs, Pixels, Rows, clusters, near_duplicates

PRIORITY = ("test", "calibration", "validation", "train")
"""Splits; of two that hold the same picture, the one named first keeps it."""

Mark = Literal["duplicate", "near-duplicate", "label conflict"]


@dataclass(frozen=True, slots=True)
class Conflict:
    """Copies of one picture with different labels: ``ids``, sorted, and the label of each; ``exact``: equal pixels."""

    ids: tuple[str, ...]
    labels: tuple[str, ...]
    exact: bool


@dataclass(frozen=True, slots=True)
class Resolution:
    """What becomes of n photos.

    ``kept`` bool (n,). ``reasons``: id -> why it was dropped, for each that is not kept. ``marks``: id -> the marks of
    a kept photo, where it has any: it has an exact copy, a near-duplicate, or a copy of either kind with another label.
    ``near``: near-duplicates among the photos left after exact copies, as rows. ``conflicts``: sorted by their ids.
    ``counts``: exact copies that were found `within` the split of the kept one and `across` splits, pairs of
    near-duplicates likewise, and conflicts.
    """

    kept: NDArray[np.bool_]
    reasons: dict[str, str]
    marks: dict[str, tuple[Mark, ...]]
    near: Pairs
    conflicts: tuple[Conflict, ...]
    counts: dict[str, int]


def resolve(
    ids: Sequence[str],
    splits: Sequence[str],
    labels: Sequence[str],
    sha256: Sequence[str] | NDArray[np.bytes_],
    hashes: Hashes,
    pixels: Pixels,
) -> Resolution:
    """Decide for each of n photos whether it stays in its split; none is moved to another.

    Exact copies (equal ``sha256``, hex, of the pixels): the first by id in the split of highest priority stays; where
    their labels differ, none stays outside the test split. Near-duplicates: the one in the lower split is dropped, if
    the other is kept; in one split they are only marked. ``ids`` are unique, ``hashes`` uint64 (n,) are
    `difference_hash` of the pixels, and ``pixels`` fetches those by row.

    Raises:
        ValueError: a split that is not in `PRIORITY`.
    """
    unknown = sorted(set(splits) - set(PRIORITY))
    if unknown:
        raise ValueError(f"unknown split {unknown[0]!r}; the splits are {', '.join(PRIORITY)}")
    decisions = _Decisions(ids, splits, labels)
    decisions.exact(np.asarray(sha256, dtype="S64"))
    rows = np.flatnonzero(decisions.kept)
    found = near_duplicates(hashes[rows], lambda some: pixels(rows[some]))
    near = Pairs(rows[found.first], rows[found.second], found.distance, found.correlation)
    decisions.near(near)
    return decisions.resolution(near)


class _Decisions:
    """Verdicts so far; exact copies come before near-duplicates."""

    def __init__(self, ids: Sequence[str], splits: Sequence[str], labels: Sequence[str]) -> None:
        self.ids, self.splits, self.labels = ids, splits, labels
        self.rank = np.array([PRIORITY.index(split) for split in splits], np.int64)
        # Where an id stands among all of them: what replaces the order of the input in every choice.
        self.place = np.argsort(np.argsort(np.asarray(ids, dtype=np.str_)))
        self.kept = np.zeros(len(ids), np.bool_)
        self.reasons: dict[str, str] = {}
        self.marks: dict[Mark, set[str]] = {"duplicate": set(), "near-duplicate": set(), "label conflict": set()}
        self.conflicts: list[Conflict] = []
        self.counts = dict.fromkeys(("exact within", "exact across", "near within", "near across"), 0)

    def exact(self, sha256: NDArray[np.bytes_]) -> None:
        _, picture = np.unique(sha256, return_inverse=True)
        order = np.lexsort((self.place, self.rank, picture))
        starts = np.flatnonzero(np.diff(picture[order], prepend=-1))
        self.kept[order[starts]] = True
        sizes = np.diff(starts, append=len(order))
        for start, size in zip(starts[sizes > 1], sizes[sizes > 1], strict=True):
            self._copies(order[start : start + size])

    def _copies(self, rows: Rows) -> None:
        """Settle copies of one picture, the one with the best claim first."""
        first, *others = rows.tolist()
        for row in others:
            self.counts["exact within" if self.rank[row] == self.rank[first] else "exact across"] += 1
        if self._conflict(rows, exact=True) and self.splits[first] != "test":
            names = " and ".join(sorted({self.labels[row] for row in rows.tolist()}))
            self.kept[first] = False
            self.reasons |= {self.ids[row]: f"conflicting labels: {names}" for row in rows.tolist()}
            return
        self.marks["duplicate"].add(self.ids[first])
        self.reasons |= {self.ids[row]: f"duplicate of {self._where(first)}" for row in others}

    def near(self, pairs: Pairs) -> None:
        swap = self.rank[pairs.first] > self.rank[pairs.second]
        upper, lower = np.where(swap, (pairs.second, pairs.first), (pairs.first, pairs.second))
        across = np.flatnonzero(self.rank[upper] < self.rank[lower])
        self.counts["near across"], self.counts["near within"] = len(across), len(pairs) - len(across)
        upper, lower = upper[across], lower[across]
        # By the split that may lose: whether a photo of a higher split is kept is settled before it is asked.
        for i in np.lexsort((self.place[upper], self.rank[upper], self.rank[lower])).tolist():
            winner, loser = int(upper[i]), int(lower[i])
            if self.kept[winner] and self.kept[loser]:
                self.kept[loser] = False
                self.reasons[self.ids[loser]] = f"near-duplicate of {self._where(winner)}"
        self.marks["near-duplicate"] |= {self.ids[row] for row in (*pairs.first.tolist(), *pairs.second.tolist())}
        for cluster in clusters(pairs):
            self._conflict(cluster, exact=False)

    def _conflict(self, rows: Rows, exact: bool) -> bool:
        members = sorted((self.ids[row], self.labels[row]) for row in rows.tolist())
        ids, labels = zip(*members, strict=True)
        if len(set(labels)) == 1:
            return False
        self.conflicts.append(Conflict(ids, labels, exact))
        self.marks["label conflict"] |= set(ids)
        return True

    def _where(self, row: int) -> str:
        return f"{self.ids[row]} in {self.splits[row]}"

    def resolution(self, near: Pairs) -> Resolution:
        marked = set().union(*self.marks.values()) - self.reasons.keys()
        return Resolution(
            kept=self.kept,
            reasons=dict(sorted(self.reasons.items())),
            marks={i: tuple(mark for mark, ids in self.marks.items() if i in ids) for i in sorted(marked)},
            near=near,
            conflicts=tuple(sorted(self.conflicts, key=lambda conflict: conflict.ids)),
            counts={**self.counts, "label conflicts": len(self.conflicts)},
        )
