"""Since when has the traffic been different? The most likely change point among the windows of a span."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from monitoring.profiles import Categorical, Numeric, Profile
from monitoring.rows import COLUMNS


class Timeline:
    """What of each window is needed to date a change: a few numbers per column, not its profile."""

    def __init__(self, reference: Profile) -> None:
        known, columns = reference.columns, [column for column in COLUMNS if column.kind != "context"]
        self._reference: dict[str, Numeric | Categorical] = {
            c.name: reference.categorical(c.name) if c.categorical else reference.numeric(c.name)
            for c in columns
            if c.name in known
        }
        self._starts: list[str] = []
        self._rows: list[int] = []
        self._shifts: dict[str, list[NDArray[np.float64]]] = {}

    def watch(self, windows: Iterable[Profile]) -> Iterator[Profile]:
        """Pass ``windows`` (in the order of time) on, one by one, and remember each."""
        for window in windows:
            columns = window.columns
            self._starts.append(window.metadata.get("start", ""))
            self._rows.append(window.rows)
            for name, known in self._reference.items():
                if name in columns:
                    self._shifts.setdefault(name, []).append(_shift(known, window, name))
            yield window

    def since(self, columns: Iterable[str]) -> str | None:
        """Start of the window from which on ``columns`` differ from the reference most; None without windows.

        The likelihood ratio of a change from the reference's mean to any other one (Siegmund and Venkatraman, Ann.
        Stat. 23, 1995), summed over the columns. The first window's start means: then, or before.
        """
        known = [name for name in columns if len(self._shifts.get(name, ())) == len(self._starts)]
        if not known:
            return None
        rows = np.array(self._rows, np.float64)
        after = np.maximum(rows[::-1].cumsum()[::-1], 1.0)
        ratio = np.zeros(len(rows))
        for name in known:
            weighted = np.stack(self._shifts[name]) * rows[:, None]
            ratio += (weighted[::-1].cumsum(axis=0)[::-1] ** 2).sum(axis=1) / after
        return self._starts[int(ratio.argmax())] or None


def _shift(known: Numeric | Categorical, window: Profile, name: str) -> NDArray[np.float64]:
    """Mean difference of a row from the reference's ``known``, in units of its standard deviation there."""
    if isinstance(known, Categorical):
        new = window.categorical(name)
        shares, total = new.shares, max(known.count, 1)
        values = sorted(known.counts)
        expected = np.array([known.counts[v] / total for v in values])
        observed = np.array([shares.get(v, 0.0) for v in values])
        unseen = 1.0 - observed.sum() if new.count else 0.0  # all classes that the reference never saw, as one rare one
        return np.append((observed - expected) / np.sqrt(expected), unseen * np.sqrt(total))
    column = window.numeric(name)
    if not column.count or not known.deviation > 0:
        return np.zeros(2)
    spread = column.deviation / known.deviation - 1 if column.count > 1 else 0.0
    return np.array([(column.mean - known.mean) / known.deviation, np.sqrt(2) * spread])
