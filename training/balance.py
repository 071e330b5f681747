"""Classes of 40 photos beside classes of 5,000: which rows an epoch shows, and what each weighs."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Balance = Literal["plain", "oversample", "weight", "augment"]
"""``plain``: every photo once. ``oversample``: small classes repeated up to the floor. ``weight``: their loss weighs as
much as if they were. ``augment``: repeated, and changed more strongly each time (`training.augment.vary`)."""


def epoch_rows(
    labels: NDArray[np.int64], balance: Balance, floor: float, least: int, rng: np.random.Generator
) -> NDArray[np.int64]:
    """The rows of one epoch in random order, int64 (m,); m does not depend on ``rng``.

    With ``oversample`` and ``augment`` each class has at least ``floor`` (0..1) times the rows of the largest: all of
    its photos equally often, and a random part of them once more. An epoch has at least ``least`` rows: a small dataset
    is shown as often as that takes, so that the rate schedule has steps to run over.
    """
    rows = [np.arange(len(labels))]
    if balance in ("oversample", "augment"):
        counts = np.bincount(labels)
        wanted = int(np.ceil(floor * counts.max()))
        for label in np.flatnonzero((counts > 0) & (counts < wanted)):
            members = np.flatnonzero(labels == label)
            times, rest = divmod(wanted - len(members), len(members))
            rows += [np.tile(members, times), rng.permutation(members)[:rest]]
    once = np.concatenate(rows)
    return rng.permutation(np.tile(once, -(-least // len(once)) if len(once) < least else 1))


def sample_weights(labels: NDArray[np.int64], balance: Balance, floor: float) -> NDArray[np.float32]:
    """What each photo's loss weighs, float32 (n,), mean 1; all equal unless ``balance`` is ``weight``."""
    counts = np.bincount(labels)
    wanted = np.maximum(counts, floor * counts.max()) if balance == "weight" else counts
    weights = (wanted / np.maximum(counts, 1))[labels]
    return (weights / weights.mean()).astype(np.float32)


def is_small(labels: NDArray[np.int64], floor: float) -> NDArray[np.bool_]:
    """Which photos belong to classes below the floor, (n,)."""
    counts = np.bincount(labels)
    return counts[labels] < floor * counts.max()
