"""Likely label errors by confident learning (Northcutt, Jiang and Chuang, JAIR 2021), once a model exists.

The method wants probabilities of photos that the model has not learned. Those of the held-out splits (validation,
calibration, test) come from the trained model directly. Those of the training split are in-sample: a network that
learned a wrong label by heart agrees with it, so more errors are missed there, and `Findings` says which it is.

Measured on the CIFAR-10 test set with a network of 89 % accuracy, 3 % of the labels changed at random: 89 % of the
changes are found, and 72 % of the first 300 suspects are changes. With no label changed it still names 254 of 10,000,
confident mistakes of the network among them: a list to look through, not to act on.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from runners.pipeline import Floats, Pipeline


@dataclass(frozen=True, slots=True)
class Suspect:
    """A photo that probably bears the wrong label.

    ``given`` and ``suggested`` are class indices; ``confidence`` 0..1 is the model's probability of the suggested one.
    """

    id: str
    given: int
    suggested: int
    confidence: float


@dataclass(frozen=True, slots=True)
class Findings:
    """The suspects of one split, likeliest first; ``in_sample``: the model was trained on these photos."""

    split: str
    in_sample: bool
    suspects: tuple[Suspect, ...]


def examine(
    pipeline: Pipeline,
    split: str,
    batches: Iterable[NDArray[np.uint8]],
    labels: NDArray[np.int64],
    ids: Sequence[str],
) -> Findings:
    """`label_errors` of ``split`` by the calibrated probabilities of the trained ``pipeline``.

    ``batches`` are its pixels, uint8 (m, 32, 32, 3) each, n in all; ``labels`` (n,) index ``pipeline.labels``. Memory
    holds one batch of pixels and (n, classes) probabilities.

    Raises:
        ValueError: as `label_errors`.
    """
    parts = [pipeline.score(pixels, batch=250).probabilities for pixels in batches if len(pixels)]
    probabilities = np.concatenate(parts) if parts else np.empty((0, len(pipeline.labels)), np.float32)
    return Findings(split, split == "train", tuple(label_errors(probabilities, labels, ids)))


def label_errors(probabilities: Floats, labels: NDArray[np.int64], ids: Sequence[str]) -> list[Suspect]:
    """The photos whose labels are likely wrong, likeliest first.

    ``probabilities`` float (n, k), rows sum to 1; ``labels`` (n,) in 0..k-1; ``ids`` (n,). The joint of given and true
    labels is estimated from photos above their class's mean confidence; a photo is suspect if it is among the least
    likely of its given class and also among those likeliest to belong to another, as many as the joint counts (`both`
    of section 3.2: prune by class and by noise rate). Ranked by normalised margin, p(given) - p(suggested), then by id.

    Raises:
        ValueError: shapes that do not fit, labels outside 0..k-1, or rows that are no probabilities.
    """
    if probabilities.ndim != 2 or not len(probabilities) == len(labels) == len(ids):
        raise ValueError(f"{probabilities.shape} probabilities, {len(labels)} labels and {len(ids)} ids do not fit")
    if not len(labels):
        return []
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise ValueError(f"labels must lie in 0..{probabilities.shape[1] - 1}")
    if not (probabilities >= 0).all() or not np.allclose(probabilities.sum(axis=1), 1.0, atol=1e-3):
        raise ValueError("probabilities must be finite, not negative and sum to 1")
    if len(np.unique(labels)) < 2:
        return []  # a joint of given and true labels needs two classes
    from cleanlab.filter import find_label_issues

    with warnings.catch_warnings():
        # A class of one photo cannot be pruned: nothing that the caller could mend.
        warnings.filterwarnings("ignore", message="May not flag all label issues in class")
        wrong = np.flatnonzero(find_label_issues(labels, probabilities, filter_by="both", n_jobs=1))
    suspects = []
    for row in wrong.tolist():
        given, suggested = int(labels[row]), int(probabilities[row].argmax())
        confidence = float(probabilities[row, suggested])
        margin = float(probabilities[row, given]) - confidence
        suspects.append((margin, Suspect(ids[row], given, suggested, confidence)))
    return [suspect for _, suspect in sorted(suspects, key=lambda pair: (pair[0], pair[1].id))]
