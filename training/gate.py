"""Fit the isolation forest of the gate on held-out photos, and say how well it tells the unknown apart."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runners.gate import FEATURES, Floats, Forest, Gate, unknown_scores

if TYPE_CHECKING:
    from sklearn.ensemble import IsolationForest

Outputs = tuple[Floats, Floats]
"""Logits (n, classes) and embedding (n, d) of the same photos."""
CEILING = 0.999
"""Quantile of a unit's activation on held-out photos above which it counts as never seen."""
SUBSAMPLE = 256
"""Photos per tree, the value of Liu, Ting and Zhou 2008, section 5."""


def fit_gate(
    held_out: Outputs, class_means: Floats, calibration: Outputs, temperature: float, trees: int, seed: int
) -> Gate:
    """A gate whose features and forest come from ``held_out`` and whose threshold comes from ``calibration``.

    Neither may have trained the network. ``class_means`` (classes, d): see `mean_embeddings`.

    Raises:
        ValueError: an empty part, a single class, or outputs that are not finite.
    """
    logits, embedding = held_out
    if not len(logits) or not len(calibration[0]):
        raise ValueError("the gate needs held-out photos and calibration photos")
    if len(class_means) < 2:
        raise ValueError("the gate needs photos of at least two classes")
    if not (np.isfinite(logits).all() and np.isfinite(embedding).all() and np.isfinite(class_means).all()):
        raise ValueError("the gate got NaN or infinite network outputs")
    ceiling = np.quantile(embedding, CEILING, axis=0).astype(np.float32)
    scores = unknown_scores(logits, embedding, temperature, class_means, ceiling)
    low, centre, high = np.percentile(scores, [25, 50, 75], axis=0).astype(np.float32)
    scale = np.where(high > low, high - low, 1.0).astype(np.float32)
    forest = fit_forest(np.maximum((scores - centre) / scale, 0.0), trees, seed)
    gate = Gate(forest, class_means, ceiling, centre, scale, temperature, np.empty(0))
    return replace(gate, calibration=np.sort(forest.score(gate.features(*calibration))))


def mean_embeddings(embedding: Floats, labels: NDArray[np.int64], classes: int) -> Floats:
    """Mean embedding of each class, (classes, d), from training photos: (n, d) and their labels (n,).

    Raises:
        ValueError: a class has no photo.
    """
    counts = np.bincount(labels, minlength=classes)
    if (counts == 0).any():
        raise ValueError(f"class {int(np.argmin(counts))} has no training photo")
    return np.stack([embedding[labels == c].mean(axis=0) for c in range(classes)]).astype(np.float32)


def fit_forest(features: Floats, trees: int, seed: int) -> Forest:
    """scikit-learn's isolation forest on ``features`` (n, f), as arrays."""
    from sklearn.ensemble import IsolationForest

    model = IsolationForest(n_estimators=trees, max_samples=min(SUBSAMPLE, len(features)), random_state=seed)
    return to_arrays(model.fit(features))


def to_arrays(model: IsolationForest) -> Forest:
    """A fitted scikit-learn isolation forest as a `Forest` that gives the same scores (to 1e-6)."""
    columns: dict[str, list[NDArray[np.generic]]] = {
        name: [] for name in ("feature", "threshold", "left", "right", "path")
    }
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
        columns["left"].append(first + np.where(leaf, nodes, tree.children_left))
        columns["right"].append(first + np.where(leaf, nodes, tree.children_right))
        columns["path"].append(depth + average_path_length(tree.n_node_samples))
        roots.append(first)
        first += tree.node_count
        deepest = max(deepest, int(depth.max()))
    joined = {name: np.concatenate(parts) for name, parts in columns.items()}
    return Forest(
        feature=joined["feature"].astype(np.int32),
        threshold=joined["threshold"].astype(np.float64),
        left=joined["left"].astype(np.int32),
        right=joined["right"].astype(np.int32),
        path_length=joined["path"].astype(np.float64),
        roots=np.array(roots, np.int32),
        normaliser=float(len(roots) * average_path_length(np.array([model.max_samples_]))[0]),
        depth=deepest,
    )


def average_path_length(samples: NDArray[np.int64]) -> NDArray[np.float64]:
    """c(n): mean path length of an unsuccessful search among n samples (Liu, Ting and Zhou 2008, equation 1)."""
    n = np.maximum(samples.astype(np.float64), 2.0)
    length = 2.0 * (np.log(np.maximum(n - 1.0, 1.0)) + np.euler_gamma) - 2.0 * (n - 1.0) / n
    return np.where(samples > 2, length, np.where(samples == 2, 1.0, 0.0))


def auroc(known: NDArray[np.floating], unknown: NDArray[np.floating]) -> float:
    """Probability that an unknown photo scores higher than a known one, ties half (Mann and Whitney 1947), 0..1."""
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([unknown, known]))[: len(unknown)].sum()
    return float((ranks - len(unknown) * (len(unknown) + 1) / 2) / (len(unknown) * len(known)))


def fpr95(known: NDArray[np.floating], unknown: NDArray[np.floating]) -> float:
    """Share of known photos refused where 95 % of the unknown are, 0..1; lower is better."""
    return float((known >= np.quantile(unknown, 0.05)).mean())


def compare(known: Outputs, unknown: Outputs, gate: Gate) -> dict[str, dict[str, float]]:
    """AUROC and FPR95 of the gate and of each single score it is made of."""
    raw = [unknown_scores(*outputs, gate.temperature, gate.class_means, gate.ceiling) for outputs in (known, unknown)]
    columns = {name: (raw[0][:, i], raw[1][:, i]) for i, name in enumerate(FEATURES)}
    columns["isolation_forest"] = (gate.score(*known)[0], gate.score(*unknown)[0])
    return {name: {"auroc": auroc(*pair), "fpr95": fpr95(*pair)} for name, pair in columns.items()}
