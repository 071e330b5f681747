"""The dataset in two dimensions: which photos are alike, in the network's eyes or by their pixels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

Embed = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""Pixels uint8 (n, 32, 32, 3) -> embedding (n, d) of the served network."""

NEIGHBOURS = 10
_LEAST_PHOTOS = NEIGHBOURS + 2
_BATCH = 256  # photos per call of the network: its activations, not its answers, fill memory
_COMPONENTS = 50
# On 2,000 CIFAR photos 14 times as fast as scikit-learn's angle 0.5 and 1,000 steps, and as trustworthy (0.92 each).
_ANGLE, _STEPS = 0.8, 500


class Point(NamedTuple):
    """A photo on the map; ``x`` and ``y`` in 0..1."""

    id: str
    label: str
    x: float
    y: float


class Mixed(NamedTuple):
    """Two classes, and the share, 0..1, of the nearest neighbours of each that belong to the other (the mean)."""

    a: str
    b: str
    share: float


class EmbeddingMap(BaseModel):
    """A t-SNE map of a sample and what its neighbourhoods say.

    ``space``: the served network's embedding, or pixels. ``same_class``: share, 0..1, of the `NEIGHBOURS` nearest
    neighbours of a photo, in that space before t-SNE, that have its class; ``chance``: that share for neighbours drawn
    by lot. ``mixed``: the pairs of classes that are hardest to tell apart there, worst first.
    """

    model_config = ConfigDict(frozen=True)

    space: Literal["network", "pixels"]
    method: str
    same_class: float
    chance: float
    mixed: list[Mixed]
    points: list[Point]


def embedding_map(
    ids: Sequence[str], labels: Sequence[str], pixels: NDArray[np.uint8], embed: Embed | None, seed: int
) -> EmbeddingMap | None:
    """The map of ``pixels`` uint8 (n, 32, 32, 3); `None` for fewer than 12 photos or when all are the same.

    L. van der Maaten, G. Hinton, "Visualizing Data using t-SNE" (2008), on at most 50 principal components.
    """
    if len(pixels) < _LEAST_PHOTOS:
        return None
    features = _features(pixels, embed)
    if not np.ptp(features, axis=0).any():
        return None

    from sklearn.decomposition import PCA
    from sklearn.manifold import TSNE
    from threadpoolctl import threadpool_limits

    components = min(_COMPONENTS, *features.shape)
    pca = PCA(components, svd_solver="randomized", random_state=seed)
    reduced = pca.fit_transform(features)
    kept = float(pca.explained_variance_ratio_.sum())
    perplexity = min(30.0, (len(pixels) - 1) / 3)
    tsne = TSNE(2, perplexity=perplexity, init="pca", random_state=seed, max_iter=_STEPS, angle=_ANGLE)
    with threadpool_limits(1):  # its threads wait for each other in a loop: on busy cores two are slower than one
        flat = tsne.fit_transform(reduced)
    low, high = flat.min(axis=0), flat.max(axis=0)
    flat = np.round((flat - low) / np.maximum(high - low, 1e-12), 4)
    same, mixed = _neighbourhoods(reduced, labels)
    counts = np.unique(np.asarray(labels), return_counts=True)[1]
    n = len(labels)
    return EmbeddingMap(
        space="network" if embed else "pixels",
        method=f"t-SNE (perplexity {perplexity:.0f}) of {components} principal components, {kept:.0%} of the variance",
        same_class=round(same, 4),
        chance=round(float((counts * (counts - 1)).sum() / (n * (n - 1))), 4),
        mixed=mixed,
        points=[Point(i, label, float(x), float(y)) for i, label, (x, y) in zip(ids, labels, flat, strict=True)],
    )


def _features(pixels: NDArray[np.uint8], embed: Embed | None) -> NDArray[np.float32]:
    if embed is None:
        return pixels.reshape(len(pixels), -1).astype(np.float32) / 255.0
    return np.concatenate([embed(pixels[start : start + _BATCH]) for start in range(0, len(pixels), _BATCH)])


def _neighbourhoods(features: NDArray[np.float32], labels: Sequence[str]) -> tuple[float, list[Mixed]]:
    from sklearn.neighbors import NearestNeighbors

    names, codes = np.unique(np.asarray(labels), return_inverse=True)
    nearest = NearestNeighbors(n_neighbors=NEIGHBOURS).fit(features).kneighbors(return_distance=False)
    shares = np.zeros((len(names), len(names)))
    np.add.at(shares, (np.repeat(codes, NEIGHBOURS), codes[nearest].ravel()), 1.0)
    same = float(np.trace(shares) / shares.sum())
    shares /= shares.sum(axis=1, keepdims=True)
    both = (shares + shares.T) / 2
    pairs = [
        Mixed(str(names[i]), str(names[j]), round(float(both[i, j]), 4))
        for i, j in zip(*np.triu_indices(len(names), 1), strict=True)
    ]
    return same, sorted(pairs, key=lambda pair: -pair.share)[:5]
