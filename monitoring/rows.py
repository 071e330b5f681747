"""The table that is profiled: one row per scored photo, made by the same function in serving and in training."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runners.images import photo_statistics
from runners.pipeline import Scores

UNKNOWN = "unknown"
PROJECTIONS = 4
_PROJECTION_SEED = 20_261_101

Kind = Literal["input", "prediction", "context"]
Table = dict[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class Column:
    """A column of the table; ``kind`` says which drift it is evidence of, ``context`` columns never raise an alarm."""

    name: str
    kind: Kind
    categorical: bool
    description: str


COLUMNS: tuple[Column, ...] = (
    Column("brightness", "input", False, "mean luma of the 32x32 photo, 0..1"),
    Column("contrast", "input", False, "standard deviation of the luma, 0..1"),
    Column("saturation", "input", False, "mean HSV saturation, 0..1"),
    Column("sharpness", "input", False, "mean absolute Laplacian of the luma"),
    *(
        Column(f"projection_{i}", "input", False, "embedding along a fixed random direction, divided by sqrt(d)")
        for i in range(PROJECTIONS)
    ),
    Column("label", "prediction", True, 'the class answered, "unknown" when the gate refuses'),
    Column("confidence", "prediction", False, "calibrated probability of the best guess, 0..1"),
    Column("entropy", "prediction", False, "Shannon entropy of the probabilities, nats"),
    Column("energy", "prediction", False, "-T logsumexp(logits / T); higher is more unknown"),
    Column("ood_score", "prediction", False, "anomaly score of the isolation forest; higher is more unknown"),
    Column("refused", "prediction", True, 'the gate\'s verdict, "yes" or "no"'),
    Column("accepted_confidence", "context", False, "confidence of what the gate accepts; its mean estimates accuracy"),
    Column("width", "context", False, "pixels across the upright original"),
    Column("height", "context", False, "pixels down the upright original"),
)
"""``context`` columns are reported, not tested. The originals' size says nothing about the 32x32 photo that the network
reads, and the sets it is trained on have one size only: any real photo would alarm for ever."""


def rows(
    pixels: NDArray[np.uint8],
    sizes: NDArray[np.integer[Any]],
    scores: Scores,
    labels: Sequence[str],
    refuse_share: float,
) -> Table:
    """One row per photo, as arrays of length n by column name (`COLUMNS`, in that order).

    ``pixels`` uint8 (n, 32, 32, 3); ``sizes`` int (n, 2), width and height of the originals; ``scores`` of the same n
    photos; ``labels`` the class names in the order of the probabilities; ``refuse_share`` the gate's level in (0, 1).
    Numeric columns are float64 (``accepted_confidence`` is NaN where refused), categorical ones str.

    Raises:
        ValueError: when the arrays do not all have n rows.
    """
    n = len(pixels)
    if len(sizes) != n or len(scores.probabilities) != n:
        raise ValueError(f"{n} photos, {len(sizes)} sizes and {len(scores.probabilities)} scores do not match.")
    refused = scores.ood_p_value <= refuse_share
    confidence = np.asarray(scores.confidence, np.float64)
    names = np.asarray(labels, dtype=np.str_)
    projected = scores.embedding @ _projection(scores.embedding.shape[1])
    table: Table = {
        **photo_statistics(pixels),
        **{f"projection_{i}": projected[:, i] for i in range(PROJECTIONS)},
        "label": np.where(refused, UNKNOWN, names[scores.best]),
        "confidence": confidence,
        "entropy": scores.entropy,
        "energy": scores.energy,
        "ood_score": scores.ood_score,
        "refused": np.where(refused, "yes", "no"),
        "accepted_confidence": np.where(refused, np.nan, confidence),
        "width": sizes[:, 0],
        "height": sizes[:, 1],
    }
    return {c.name: table[c.name] if c.categorical else table[c.name].astype(np.float64) for c in COLUMNS}


@lru_cache(maxsize=4)
def _projection(size: int) -> NDArray[np.float32]:
    # RandomState, not default_rng: NumPy froze its stream (NEP 19), and a reference profile must outlive upgrades.
    matrix = np.random.RandomState(_PROJECTION_SEED).standard_normal((size, PROJECTIONS)) / np.sqrt(size)
    return matrix.astype(np.float32)
