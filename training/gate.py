"""Fit the isolation forest of the gate on held-out photos, and set what share of good photos it refuses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from runners.gate import EXCESS, Gate
from runners.isolation import Doubles, no_forest
from runners.ood_scores import Floats, Known, Seen, raw_scores
from training.isolation import fit_forest
from training.ood_known import GateError, Outputs

MIRRORED = 4
"""Copies of each held-out photo that the forest is fitted on, each feature's sign drawn at random."""
LEAST_OF_GROUP = 20
"""Calibration photos that a group needs, so that 5 % of them can be refused."""
TIER = 4
"""Classes of which one has less than this many times the calibration photos of the other share a group."""
PRIOR = 10.0
"""Photos that a class's scale is shrunk by, towards that of all classes."""
_QUANTILES = np.array([*np.linspace(0.0, 0.98, 50), 0.99, 0.995, 0.998])
_FAR = 1000.0


def fit_gate(
    held_out: Outputs, known: Known, calibration: Outputs, names: Sequence[str], trees: int, seed: int
) -> Gate:
    """A gate on the scores ``names``: its forest comes from ``held_out``, its threshold from ``calibration``.

    Neither may have trained the network.

    Raises:
        GateError: an empty part, or outputs that are not finite.
    """
    if not len(held_out[0]) or not len(calibration[0]):
        raise GateError("the gate needs held-out photos and calibration photos: the dataset is too small")
    if not all(np.isfinite(part).all() for part in (*held_out, *calibration)):
        raise GateError("the gate got NaN or infinite network outputs")
    columns = (*names, EXCESS)
    knots, levels = scales(raw_scores(columns, Seen(*held_out), known))
    classes, nothing = known.directions.shape[0], np.empty(0)
    ones, groups = np.ones(classes), np.zeros(classes, np.intp)
    kept = known.only(columns)
    gate = Gate(no_forest(), kept, tuple(names), EXCESS, knots, levels, nothing, nothing, ones, groups, nothing)
    features = gate.features(*held_out)
    gate = replace(gate, forest=fit_forest(mirrored(features, seed), trees, seed))
    return calibrated(gate, gate.forest.score(features), held_out[0].argmax(axis=1), calibration)


def calibrated(gate: Gate, held_out: Doubles, held_guess: NDArray[np.intp], calibration: Outputs) -> Gate:
    """``gate`` with the scale of each predicted class, from the scores of ``held_out`` photos, and its calibration."""
    tail, levels = scales(held_out[:, None])
    classes = len(gate.groups)
    unusual = np.bincount(held_guess, np.interp(held_out, tail[0], levels), minlength=classes)
    scale = (unusual + PRIOR) / (np.bincount(held_guess, minlength=classes) + PRIOR)  # the mean of all is 1
    guess = calibration[0].argmax(axis=1)
    groups = calibration_groups(np.bincount(guess, minlength=classes))
    gate = replace(gate, tail=tail[0], tail_levels=levels, class_scale=scale, groups=groups)
    conformity = gate.conformity(gate.forest.score(gate.features(*calibration)), guess)
    return replace(gate, calibration=np.sort(groups[guess] + conformity))


def scales(raw: Floats | Doubles) -> tuple[Doubles, Doubles]:
    """Where each column of ``raw`` (n, f) reaches each level -log(1 - quantile): knots (f, k) and levels (k,).

    Each scale is exponentially distributed on photos like these: its mean is 1. The last knot lies far out, on the line
    through the two before it.
    """
    quantiles = _QUANTILES[max(1.0 - 1.0 / len(raw), 0.5) >= _QUANTILES]
    levels = -np.log1p(-quantiles)
    knots = np.quantile(raw.astype(np.float64), quantiles, axis=0).T
    spread = np.maximum(knots[:, -1] - knots[:, 0], 1e-6)
    step = np.maximum(knots[:, -1] - knots[:, -2], 1e-3 * spread)  # no cliff where the last two are equal
    far = knots[:, -1] + _FAR * step
    return np.c_[knots, far], np.append(levels, levels[-1] + _FAR * (levels[-1] - levels[-2]))


def mirrored(features: Floats, seed: int) -> Floats:
    """`MIRRORED` copies of ``features`` (n, f) with random signs, (MIRRORED · n, f).

    The most ordinary photos are at 0. Were that the edge of the data, they would be isolated early, as edges are; so it
    is made the middle, and the score rises with the distance from it.
    """
    copies = np.tile(features, (MIRRORED, 1))
    return copies * np.random.default_rng(seed).choice(np.array([-1, 1], np.float32), copies.shape)


def calibration_groups(counts: NDArray[np.int64]) -> NDArray[np.intp]:
    """The calibration group of each class, (classes,), from its number of calibration photos: classes of about the same
    size share one, and a group of fewer than `LEAST_OF_GROUP` photos joins the next larger one."""
    tiers = np.floor(np.log(np.maximum(counts, 1)) / np.log(TIER)).astype(int)
    groups, group, photos = np.zeros(len(counts), np.intp), 0, 0
    for tier in np.unique(tiers):
        if photos >= LEAST_OF_GROUP and counts[tiers >= tier].sum() >= LEAST_OF_GROUP:
            group, photos = group + 1, 0
        groups[tiers == tier] = group
        photos += int(counts[tiers == tier].sum())
    return groups
