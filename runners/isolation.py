"""An isolation forest (Liu, Ting and Zhou 2008) as arrays: scoring needs no scikit-learn and no pickle."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


BLOCK = 64
"""Photos that walk through the trees together: what they carry then stays in a core's cache."""
STEP = 4
"""Levels of a tree that a photo which comes alone takes at once: fifteen comparisons and a spare bit are a number."""
CHILDREN = 2**STEP
DEEPEST = 12
"""Levels of a tree at most: one of n photos has log2(n), and here each level doubles what a forest takes."""


@dataclass(frozen=True, slots=True)
class Forest:
    """A fitted isolation forest as flat arrays over the nodes of all trees.

    ``feature`` (nodes,), ``threshold`` (nodes,). ``children`` (2·nodes,): the right and the left child of each node,
    indices into the same arrays; a leaf is its own children. ``path_length`` (nodes,): at a leaf, depth + c(samples
    there), as in Liu, Ting and Zhou 2008, equation 1. ``roots`` (trees,). ``normaliser``: trees · c(subsample size).
    ``depth``: the deepest leaf. ``levels`` and ``steps``: the same nodes as they are visited; in no file.

    Raises:
        IndexError: a child or a root that is no node.
        ValueError: deeper than `DEEPEST`.
    """

    feature: NDArray[np.intp]
    threshold: Doubles
    children: NDArray[np.intp]
    path_length: Doubles
    roots: NDArray[np.intp]
    normaliser: float
    depth: int
    levels: Levels = field(init=False, repr=False, compare=False)
    steps: Levels = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "levels", _by_level(self))
        object.__setattr__(self, "steps", _by_step(self.levels))

    def score(self, features: NDArray[np.float32]) -> Doubles:
        """Anomaly score 2^(-E[h(x)] / c) in (0, 1), (n, features) -> (n,); equals scikit-learn's ``-score_samples``."""
        values = np.ascontiguousarray(features, np.float32)
        if len(values) == 1:
            return self._score(self._alone(values[0]))
        starts = range(0, len(values), BLOCK)
        parts = [self._score(self._together(values[start : start + BLOCK])) for start in starts]
        return np.concatenate(parts) if parts else np.empty(0)

    def _score(self, lengths: Doubles) -> Doubles:
        """From the path lengths in each tree, (n, trees)."""
        return np.power(2.0, -np.add.reduce(lengths, axis=1) / self.normaliser)

    def _together(self, values: NDArray[np.float32]) -> Doubles:
        """Path lengths (n, trees) of photos (n, features): a level at a time, as few comparisons as there can be."""
        photos, width = values.shape
        flat, rows = values.ravel(), np.arange(0, photos * width, width).reshape(-1, 1)
        node = np.zeros_like(rows) + np.arange(len(self.roots))
        for feature, threshold in self.levels.visits:  # take is several times faster than indexing by an array
            goes_right = flat.take(feature.take(node) + rows) > threshold.take(node)
            node += node
            node += goes_right
        return self.levels.path_length.take(node)

    def _alone(self, values: NDArray[np.float32]) -> Doubles:
        """Path lengths (1, trees) of one photo (features,): `STEP` levels at a time, as few calls as there can be.

        What a call of NumPy does to some hundred numbers takes no longer than the call itself.
        """
        node = np.arange(len(self.roots))
        for feature, threshold in self.steps.visits:
            if len(feature) > len(node):  # else all of them are visited: the roots
                feature, threshold = feature.take(node, axis=0), threshold.take(node, axis=0)
            goes_right = np.packbits(values.take(feature) > threshold).view(np.uint16)
            node = CHILDREN * node + CHILD.take(goes_right)
        return self.steps.path_length.take(node)[None]


@dataclass(frozen=True, slots=True)
class Levels:
    """Complete trees, all of them together: below a leaf come nodes that send every photo to the left.

    ``visits``: feature and threshold of each node of a level, (trees · 2^level,); the children of node i are 2i and
    2i + 1 of the next. Or of each `STEP` levels, (trees · 16^step, 16): the fifteen nodes of a small tree, level by
    level, and one that counts for nothing. ``path_length``: at the bottom. Thresholds are rounded down to float32,
    which changes no comparison with a float32.
    """

    visits: tuple[tuple[NDArray[np.intp], NDArray[np.float32]], ...]
    path_length: Doubles


def _by_level(forest: Forest) -> Levels:
    if forest.depth > DEEPEST:
        raise ValueError(f"a forest of {forest.depth} levels, {DEEPEST} at most")
    right, left = forest.children[::2], forest.children[1::2]
    rounded = forest.threshold.astype(np.float32)
    rounded = np.where(rounded > forest.threshold, np.nextafter(rounded, np.float32(-np.inf)), rounded)
    nodes, visits = forest.roots, []
    for _ in range(forest.depth):
        leaf = right[nodes] == nodes
        visits.append((np.where(leaf, 0, forest.feature[nodes]), np.where(leaf, np.float32(np.inf), rounded[nodes])))
        nodes = np.stack([left[nodes], right[nodes]], axis=1).ravel()
    return Levels(tuple(visits), forest.path_length[nodes])


def _by_step(levels: Levels) -> Levels:
    visits, path_length = list(levels.visits), levels.path_length
    while len(visits) % STEP:
        visits.append((np.zeros(len(path_length), np.intp), np.full(len(path_length), np.inf, np.float32)))
        path_length = np.repeat(path_length, 2)
    steps = []
    for first in range(0, len(visits), STEP):
        trees = len(visits[first][0])
        nothing = (np.zeros(trees, np.intp), np.full(trees, np.inf, np.float32))
        feature, threshold = (
            np.concatenate([part.reshape(trees, -1) for part in parts], axis=1)
            for parts in zip(*visits[first : first + STEP], nothing, strict=True)
        )
        steps.append((feature, threshold))
    return Levels(tuple(steps), path_length)


def _child() -> NDArray[np.uint8]:
    """Where a photo leaves a small tree, 0 to 15, by its comparisons as `numpy.packbits` makes a number of them."""
    goes_right = np.unpackbits(np.arange(2**16, dtype=np.uint16).view(np.uint8)).reshape(-1, CHILDREN)
    node, rows = np.zeros(len(goes_right), np.intp), np.arange(len(goes_right))
    for _ in range(STEP):
        node = 2 * node + 1 + goes_right[rows, node]
    return (node - (CHILDREN - 1)).astype(np.uint8)


CHILD = _child()


def no_forest() -> Forest:
    """A forest of no tree, for what holds one and does not need it."""
    nothing = np.empty(0, np.intp)
    return Forest(nothing, np.empty(0), nothing, np.empty(0), nothing, 0.0, 0)
