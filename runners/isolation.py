"""An isolation forest (Liu, Ting and Zhou 2008) as arrays: scoring needs no scikit-learn and no pickle."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Doubles = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Forest:
    """A fitted isolation forest as flat arrays over the nodes of all trees.

    ``feature`` (nodes,), ``threshold`` (nodes,). ``children`` (2·nodes,): the right and the left child of each node,
    indices into the same arrays; a leaf is its own children. ``path_length`` (nodes,): at a leaf, depth + c(samples
    there), as in Liu, Ting and Zhou 2008, equation 1. ``roots`` (trees,). ``normaliser``: trees · c(subsample size).
    ``depth``: the deepest leaf.
    """

    feature: NDArray[np.intp]
    threshold: Doubles
    children: NDArray[np.intp]
    path_length: Doubles
    roots: NDArray[np.intp]
    normaliser: float
    depth: int

    def score(self, features: NDArray[np.float32], batch: int = 1024) -> Doubles:
        """Anomaly score 2^(-E[h(x)] / c) in (0, 1), (n, features) -> (n,); equals scikit-learn's ``-score_samples``."""
        parts = [self._score(features[start : start + batch]) for start in range(0, len(features), batch)]
        return np.concatenate(parts) if parts else np.empty(0)

    def _score(self, features: NDArray[np.float32]) -> Doubles:
        values = np.ascontiguousarray(features, np.float64).ravel()
        rows = (np.arange(len(features)) * features.shape[1])[:, None]
        node = np.broadcast_to(self.roots, (len(features), len(self.roots)))
        for _ in range(self.depth):  # take is several times faster than indexing by an array
            goes_left = values.take(self.feature.take(node) + rows) <= self.threshold.take(node)
            node = self.children.take(2 * node + goes_left)
        return np.power(2.0, -self.path_length.take(node).sum(axis=1) / self.normaliser)


def no_forest() -> Forest:
    """A forest of no tree, for what holds one and does not need it."""
    nothing = np.empty(0, np.intp)
    return Forest(nothing, np.empty(0), nothing, np.empty(0), nothing, 0.0, 0)
