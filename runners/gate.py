"""The isolation-forest gate: how unusual a photo is for the network, and what share of good photos is as unusual.

A forest on raw embeddings is worse than chance, because unknown photos sit in the dense middle of the embedding. Here
each feature is a score whose high side means "unknown", cut off at the median of held-out photos, so that only that
side can be isolated.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from runners.artifacts import GATE_FILE

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

FEATURES = ("energy", "entropy", "cosine", "exceedance")


def softmax(logits: Floats, temperature: float) -> Floats:
    """Calibrated probabilities softmax(logits / temperature), (n, classes) -> (n, classes)."""
    scaled = logits / temperature
    exp = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    return (exp / exp.sum(axis=1, keepdims=True)).astype(np.float32)


def energy(logits: Floats, temperature: float = 1.0) -> Floats:
    """Energy -T·logsumexp(logits / T) (Liu et al. 2020), (n, classes) -> (n,); higher is more unknown."""
    scaled = logits / temperature
    top = scaled.max(axis=1)
    return -temperature * (top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)))


def unknown_scores(
    logits: Floats, embedding: Floats, temperature: float, class_means: Floats, ceiling: Floats
) -> Floats:
    """The gate's raw scores, (n, len(FEATURES)); each is higher for a more unknown photo.

    Energy (Liu et al. 2020), entropy of the calibrated softmax, the cosine distance of the embedding to the nearest
    class mean, and the share of the embedding's units above ``ceiling`` (d,), which hardly any known photo reaches. The
    first three catch photos that excite the network too little; noise excites it too much, and only the last sees that.
    """
    p = softmax(logits, temperature)
    log_p = np.log(np.clip(p, 1e-12, None))
    unit = embedding / np.maximum(np.linalg.norm(embedding, axis=1, keepdims=True), 1e-12)
    means = class_means / np.maximum(np.linalg.norm(class_means, axis=1, keepdims=True), 1e-12)
    return np.stack(
        [
            energy(logits),
            -(p * log_p).sum(axis=1),
            1.0 - (unit @ means.T).max(axis=1),
            (embedding > ceiling).mean(axis=1),
        ],
        axis=1,
    ).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Forest:
    """A fitted isolation forest as flat arrays over the nodes of all trees.

    ``feature`` (nodes,), ``threshold`` (nodes,), ``left`` and ``right`` (nodes,): indices into the same arrays, a
    leaf points at itself. ``path_length`` (nodes,): at a leaf, depth + c(samples there), as in Liu, Ting and Zhou
    2008, equation 1. ``roots`` (trees,). ``normaliser``: trees · c(subsample size). ``depth``: the deepest leaf.
    """

    feature: NDArray[np.int32]
    threshold: Doubles
    left: NDArray[np.int32]
    right: NDArray[np.int32]
    path_length: Doubles
    roots: NDArray[np.int32]
    normaliser: float
    depth: int

    def score(self, features: Floats) -> Doubles:
        """Anomaly score 2^(-E[h(x)] / c) in (0, 1), (n, features) -> (n,); equals scikit-learn's ``-score_samples``."""
        rows = np.arange(len(features))[:, None]
        node = np.broadcast_to(self.roots, (len(features), len(self.roots)))
        for _ in range(self.depth):
            goes_left = features[rows, self.feature[node]] <= self.threshold[node]
            node = np.where(goes_left, self.left[node], self.right[node])
        return np.power(2.0, -self.path_length[node].sum(axis=1) / self.normaliser)


@dataclass(frozen=True, slots=True)
class Gate:
    """Forest, feature definition and conformal calibration.

    ``class_means`` (classes, d). ``ceiling`` (d,): 99.9 % quantile of each unit on held-out photos. ``centre`` and
    ``scale`` (len(FEATURES),): median and interquartile range of each score on them. ``calibration`` (m,): ascending
    scores of other held-out photos.
    """

    forest: Forest
    class_means: Floats
    ceiling: Floats
    centre: Floats
    scale: Floats
    temperature: float
    calibration: Doubles

    def features(self, logits: Floats, embedding: Floats) -> Floats:
        """One-sided, scaled scores, (n, len(FEATURES)), each 0 up to the held-out median.

        Raises:
            ValueError: NaN or infinity in the network's outputs.
        """
        if not (np.isfinite(logits).all() and np.isfinite(embedding).all()):
            raise ValueError("the gate got NaN or infinite network outputs")
        scores = unknown_scores(logits, embedding, self.temperature, self.class_means, self.ceiling)
        return np.maximum((scores - self.centre) / self.scale, 0.0)

    def score(self, logits: Floats, embedding: Floats) -> tuple[Floats, Floats]:
        """Anomaly score and conformal p-value, each (n,).

        The p-value is (1 + #{calibration >= score}) / (m + 1) (Vovk et al. 2005; Bates et al. 2023): refusing at p <= a
        refuses at most a share a of photos drawn like the calibration ones.
        """
        score = self.forest.score(self.features(logits, embedding))
        at_least = len(self.calibration) - np.searchsorted(self.calibration, score, side="left")
        return score.astype(np.float32), ((1 + at_least) / (len(self.calibration) + 1)).astype(np.float32)


def save_gate(folder: Path, gate: Gate) -> Path:
    """Write ``gate`` as plain arrays (no pickle) and return the file."""
    forest = {f"forest_{f.name}": getattr(gate.forest, f.name) for f in fields(Forest)}
    rest = {f.name: getattr(gate, f.name) for f in fields(Gate) if f.name != "forest"}
    np.savez_compressed(folder / GATE_FILE, allow_pickle=False, **forest, **rest)
    return folder / GATE_FILE


def load_gate(folder: Path) -> Gate:
    """Read what `save_gate` wrote; pickled objects are refused by numpy."""
    with np.load(folder / GATE_FILE, allow_pickle=False) as arrays:
        values = {name: array if array.ndim else array.item() for name, array in arrays.items()}
    forest = Forest(**{f.name: values.pop(f"forest_{f.name}") for f in fields(Forest)})
    return Gate(forest=forest, **values)
