"""Fit an isolation forest with scikit-learn, and turn it into the arrays that are served."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runners.isolation import Forest

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

SUBSAMPLE = 256
"""Photos per tree, the value of Liu, Ting and Zhou 2008, section 5."""


def fit_forest(features: NDArray[np.float32], trees: int, seed: int) -> Forest:
    """scikit-learn's isolation forest on ``features`` (n, f), as arrays."""
    from sklearn.ensemble import IsolationForest

    model = IsolationForest(n_estimators=trees, max_samples=min(SUBSAMPLE, len(features)), random_state=seed)
    return to_arrays(model.fit(features))


def to_arrays(model: IsolationForest) -> Forest:
    """A fitted scikit-learn isolation forest as a `Forest` that gives the same scores (to 1e-6)."""
    columns: dict[str, list[NDArray[np.generic]]] = {name: [] for name in ("feature", "threshold", "children", "path")}
    roots, deepest, first = [], 0, 0
    for estimator, used in zip(model.estimators_, model.estimators_features_, strict=True):
        tree = estimator.tree_
        nodes = np.arange(tree.node_count)
        leaf = tree.children_left < 0
        depth = np.zeros(tree.node_count, int)
        for node in nodes[~leaf]:  # scikit-learn numbers parents before their children
            depth[[tree.children_left[node], tree.children_right[node]]] = depth[node] + 1
        columns["feature"].append(np.where(leaf, 0, used[np.maximum(tree.feature, 0)]))
        columns["threshold"].append(np.where(leaf, 0.0, tree.threshold))
        sides = [np.where(leaf, nodes, side) for side in (tree.children_right, tree.children_left)]
        columns["children"].append(first + np.stack(sides, axis=1).ravel())
        columns["path"].append(depth + average_path_length(tree.n_node_samples))
        roots.append(first)
        first += tree.node_count
        deepest = max(deepest, int(depth.max()))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Forest(
        feature=joined["feature"].astype(np.intp),
        threshold=joined["threshold"].astype(np.float64),
        children=joined["children"].astype(np.intp),
        path_length=joined["path"].astype(np.float64),
        roots=np.array(roots, np.intp),
        normaliser=float(len(roots) * average_path_length(np.array([model.max_samples_]))[0]),
        depth=deepest,
    )


def average_path_length(samples: NDArray[np.int64]) -> NDArray[np.float64]:
    """c(n): mean path length of an unsuccessful search among n samples (Liu, Ting and Zhou 2008, equation 1)."""
    n = np.maximum(samples.astype(np.float64), 2.0)
    length = 2.0 * (np.log(np.maximum(n - 1.0, 1.0)) + np.euler_gamma) - 2.0 * (n - 1.0) / n
    return np.where(samples > 2, length, np.where(samples == 2, 1.0, 0.0))
