"""An isolation forest (Liu, Ting and Zhou 2008) as arrays: scoring needs no scikit-learn and no pickle."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


BLOCK = 64
"""Photos that walk through the trees together: what they carry then stays in a core's cache."""


@dataclass(frozen=True, slots=True)
class Forest:
    """A fitted isolation forest as flat arrays over the nodes of all trees.

    ``feature`` (nodes,), ``threshold`` (nodes,). ``children`` (2·nodes,): the right and the left child of each node,
    indices into the same arrays; a leaf is its own children. ``path_length`` (nodes,): at a leaf, depth + c(samples
    there), as in Liu, Ting and Zhou 2008, equation 1. ``roots`` (trees,). ``normaliser``: trees · c(subsample size).
    ``depth``: the deepest leaf. ``levels``: the same nodes in the order in which they are visited; in no file.

    Raises:
        IndexError: a child or a root that is no node.
    """

    feature: NDArray[np.intp]
    threshold: Doubles
    children: NDArray[np.intp]
    path_length: Doubles
    roots: NDArray[np.intp]
    normaliser: float
    depth: int
    levels: Levels = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", _by_level(self))

    def score(self, features: NDArray[np.float32]) -> Doubles:
        """Anomaly score 2^(-E[h(x)] / c) in (0, 1), (n, features) -> (n,); equals scikit-learn's ``-score_samples``."""
        parts = [self._score(features[start : start + BLOCK]) for start in range(0, len(features), BLOCK)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _score(self, features: NDArray[np.float32]) -> Doubles:
        levels, (photos, width) = self.levels, features.shape
        values = np.ascontiguousarray(features, np.float32).ravel()
        rows = np.arange(0, photos * width, width).reshape(-1, 1)
        node = np.zeros_like(rows) + np.arange(len(self.roots))
        for _ in range(self.depth):  # take is several times faster than indexing by an array
            place = levels.feature.take(node)
            if photos > 1:
                place += rows
            goes_right = values.take(place) > levels.threshold.take(node)
            node = levels.left.take(node)
            node += goes_right
        return np.power(2.0, -levels.path_length.take(node).sum(axis=1) / self.normaliser)


@dataclass(frozen=True, slots=True)
class Levels:
    """The nodes of all trees level by level, roots first, so that the many visits near the roots fall close together.

    ``left`` (nodes,): the left child; the right one comes after it. A leaf is its own left child and its ``threshold``
    (nodes,) infinite. Thresholds are rounded down to float32, which changes no comparison with a float32.
    """

    feature: NDArray[np.intp]
    threshold: NDArray[np.float32]
    left: NDArray[np.intp]
    path_length: Doubles


def _by_level(forest: Forest) -> Levels:
    right, left = forest.children[::2], forest.children[1::2]
    levels = [forest.roots]
    for _ in range(forest.depth):
        inner = levels[-1][right[levels[-1]] != levels[-1]]
        levels.append(np.stack([left[inner], right[inner]], axis=1).ravel())
    nodes = np.concatenate(levels)
    ends = right[nodes] == nodes
    ends[len(nodes) - len(levels[-1]) :] = True
    first_child = np.arange(len(nodes))
    first_child[~ends] = len(forest.roots) + 2 * np.arange(np.count_nonzero(~ends))
    exact = forest.threshold[nodes]
    rounded = exact.astype(np.float32)
    rounded = np.where(rounded > exact, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    return Levels(
        feature=np.where(ends, 0, forest.feature[nodes]),
        threshold=np.where(ends, np.float32(np.inf), rounded),
        left=first_child,
        path_length=forest.path_length[nodes],
    )


def no_forest() -> Forest:
    """A forest of no tree, for what holds one and does not need it."""
    nothing = np.empty(0, np.intp)
    return Forest(nothing, np.empty(0), nothing, np.empty(0), nothing, 0.0, 0)
