"""What the scores need to know of the known photos: class means, covariances, a bank of neighbours."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runners.network import Network
from runners.ood_scores import Floats, Known, softmax
from training.dataset import Dataset
from training.export import outputs
from training.isolation import fit_forest
from training.runs import RunError

Outputs = tuple[Floats, Floats]
"""Logits (n, classes) and embedding (n, d) of the same photos."""
Labels = NDArray[np.int64]

MEAN_PHOTOS = 300
"""Training photos of each class that means and covariances are taken over, at most."""
BANK_PHOTOS = 50
"""Training photos of each class among the neighbours of `knn`, at most: the search must cost nearly nothing."""
CEILING = 0.999
"""Quantile of a unit's activation on held-out photos above which it counts as never seen."""
TREES = 200
"""Of the forest on the probabilities."""
SHRINKAGE = 1e-3
"""Share of the mean variance added to each variance, so that a covariance of few photos can be inverted."""


class GateError(RunError):
    """Photos, or outputs of a network, that no gate can be fitted on; the message says why."""


@dataclass(frozen=True, slots=True)
class Fitting:
    """The photos that scores are fitted on, as the network sees them.

    ``train`` and ``labels``: photos that the network was trained on, for what the papers take from them. ``held_out``:
    photos that it never saw, for every forest and every scale.
    """

    train: Outputs
    labels: Labels
    held_out: Outputs
    temperature: float
    known: Known


@dataclass(frozen=True, slots=True)
class KnownPhotos:
    """A dataset as its network sees it: what is fitted on, and the photos that set the gate's threshold."""

    fitting: Fitting
    calibration: Outputs


def known_photos(network: Network, data: Dataset, temperature: float) -> KnownPhotos:
    """Run ``network`` over the training, validation and calibration photos of ``data``."""
    rows = first_of_each(data["train"][1], MEAN_PHOTOS)
    train, labels = outputs(network, data["train"][0][rows]), data["train"][1][rows]
    held_out = _outputs(network, data["validation"][0], len(data.labels))
    known = fit_known(train, labels, held_out, temperature, len(data.labels))
    calibration = _outputs(network, data["calibration"][0], len(data.labels))
    return KnownPhotos(Fitting(train, labels, held_out, temperature, known), calibration)


def first_of_each(labels: Labels, most: int) -> Labels:
    """The first ``most`` rows of each class, ascending."""
    order = np.argsort(labels, kind="stable")
    starts = np.searchsorted(labels[order], np.arange(labels.max(initial=0) + 1))
    return np.sort(order[np.arange(len(labels)) - starts[labels[order]] < most])


def fit_known(train: Outputs, labels: Labels, held_out: Outputs, temperature: float, classes: int) -> Known:
    """`Known` of training photos and their ``labels`` (n,); ``held_out``: photos never trained on.

    Covariances are those of Lee et al. 2018, section 2.1 (one inside all classes) and Ren et al. 2021 (one of all
    photos), the null space is that of Wang et al. 2022, section 4.1, half the dimensions wide.

    Raises:
        GateError: fewer than two classes, a class without a photo, no held-out photo, or values that are not finite.
    """
    logits, embedding = train[0], train[1].astype(np.float64)
    if classes < 2:
        raise GateError("the gate needs photos of at least two classes")
    counts = np.bincount(labels, minlength=classes)
    if (counts == 0).any():
        raise GateError(f"class {int(np.argmin(counts))} has no training photo")
    if not len(held_out[0]):
        raise GateError("the gate needs held-out photos, and the dataset is too small to hold any out")
    if not all(np.isfinite(part).all() for part in (logits, embedding, *held_out)):
        raise GateError("the gate got NaN or infinite network outputs")
    means = np.stack([embedding[labels == c].mean(axis=0) for c in range(classes)])
    centre = embedding.mean(axis=0)
    within, total = _whitening(embedding - means[labels]), _whitening(embedding - centre)
    dimensions = embedding.shape[1]
    _, directions = np.linalg.eigh(embedding.T @ embedding)  # ascending; the origin is the head's, which has no bias
    null = directions[:, : dimensions - dimensions // 2]
    left = float(np.linalg.norm(embedding @ null, axis=1).mean())
    return Known(
        temperature=temperature,
        directions=_unit(means),
        bank=_unit(embedding[first_of_each(labels, BANK_PHOTOS)]),
        within=within.astype(np.float32),
        means=(means @ within).astype(np.float32),
        total=total.astype(np.float32),
        centre=centre.astype(np.float32),
        null=null.astype(np.float32),
        null_scale=np.array([logits.max(axis=1).mean() / max(left, 1e-12)], np.float32),
        ceiling=np.quantile(held_out[1], CEILING, axis=0).astype(np.float32),
        isolation=fit_forest(softmax(held_out[0], temperature), TREES, 0),
    )


def _outputs(network: Network, pixels: NDArray[np.uint8], classes: int) -> Outputs:
    if len(pixels):
        return outputs(network, pixels)
    return np.empty((0, classes), np.float32), np.empty((0, 0), np.float32)


def _whitening(centred: NDArray[np.float64]) -> NDArray[np.float64]:
    """W with cov(centred @ W) = 1, (d, d)."""
    covariance = centred.T @ centred / len(centred)
    variance = max(float(np.trace(covariance)) / len(covariance), 1e-12)
    return np.linalg.inv(np.linalg.cholesky(covariance + SHRINKAGE * variance * np.eye(len(covariance)))).T


def _unit(rows: NDArray[np.float64]) -> Floats:
    return (rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)).astype(np.float32)
