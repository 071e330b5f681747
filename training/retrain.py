"""A challenger from the champion and the accepted corrections, and the decision which of the two is served."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from monitoring.feedback import Correction, FeedbackStore
from monitoring.feedback_row import clean_label
from monitoring.image_store import DamagedImageError
from runners.artifacts import KERAS_FILE
from runners.images import read_photo
from runners.pipeline import Pipeline
from training.config import TrainConfig
from training.dataset import Dataset
from training.fit import l2
from training.network import trained_form
from training.precision import resolved
from training.sources import Labelled

if TYPE_CHECKING:
    import keras

HELD_OUT_EVERY = 5
"""One accepted correction in so many is kept from training, by its digest, to judge the challenger on."""
MOST_REPEATS, MOST_SHARE = 20, 0.05
"""Corrections are repeated in an epoch up to this often, or until they make up this share of it."""


class RetrainError(Exception):
    """Nothing to retrain on; the message says what to do first."""


class Comparison(BaseModel):
    """Champion and challenger on the same photos: shares right, and the paired difference with its 95 % interval."""

    model_config = ConfigDict(frozen=True)

    name: str
    photos: int
    champion: float
    challenger: float
    difference: float
    interval: tuple[float, float]


class Verdict(BaseModel):
    """Whether the challenger is promoted, and why."""

    model_config = ConfigDict(frozen=True)

    promoted: bool
    reason: str
    corrections: int
    comparisons: list[Comparison]


def corrections(store: FeedbackStore, labels: tuple[str, ...]) -> tuple[Labelled, Labelled]:
    """Accepted corrections to classes that the network has, as the network reads them: those to train on, those held
    out.

    Raises:
        RetrainError: there is none to train on.
    """
    parts: dict[bool, list[tuple[NDArray[np.uint8], int]]] = {False: [], True: []}
    index = {clean_label(label): i for i, label in enumerate(labels)}
    for correction in store.accepted():
        if correction.label in index:
            held_out = int(correction.sha256, 16) % HELD_OUT_EVERY == 0
            parts[held_out].append((_pixels(store, correction), index[correction.label]))
    if not parts[False]:
        raise RetrainError(
            "no accepted corrections to known classes with a photo; see them with `python -m monitoring review`, and "
            "accept those that are right"
        )
    return _stack(parts[False]), _stack(parts[True])


def _pixels(store: FeedbackStore, correction: Correction) -> NDArray[np.uint8]:
    try:
        return read_photo(store.images.get(correction.sha256), max_bytes=10**9).pixels
    except (FileNotFoundError, DamagedImageError) as error:
        raise RetrainError(f"{error} Delete its feedback, or restore the file.") from error


def _stack(rows: list[tuple[NDArray[np.uint8], int]]) -> Labelled:
    if not rows:
        return np.empty((0, 32, 32, 3), np.uint8), np.empty(0, np.int64)
    return np.stack([pixels for pixels, _ in rows]), np.array([label for _, label in rows], np.int64)


def with_corrections(base: Labelled, extra: Labelled, base_images: int | None, seed: int) -> Labelled:
    """Training data of the challenger: ``base`` (or a sample of ``base_images`` of it) and the repeated corrections."""
    pixels, labels = base
    if base_images is not None and base_images < len(pixels):
        rows = np.random.default_rng(seed).choice(len(pixels), base_images, replace=False)
        pixels, labels = pixels[rows], labels[rows]
    repeats = int(np.clip(MOST_SHARE * len(pixels) / len(extra[0]), 1, MOST_REPEATS))
    return np.concatenate([pixels, *[extra[0]] * repeats]), np.concatenate([labels, *[extra[1]] * repeats])


def start_from(champion: Path, classes: int, config: TrainConfig) -> keras.Model:
    """The champion's network, to be fine-tuned: the same weights in the form in which ``config`` trains."""
    import keras

    model = keras.saving.load_model(champion / KERAS_FILE, compile=False)
    if model.outputs[0].shape[-1] != classes:
        raise RetrainError(f"the served network has {model.outputs[0].shape[-1]} classes, the dataset {classes}")
    return trained_form(model, weight_decay=l2(config), precision=resolved(config.precision))


def judge(champion: Pipeline, challenger: Pipeline, data: Dataset, trained: Labelled, held_out: Labelled) -> Verdict:
    """Promote only if no fixed set gets worse beyond its interval and the corrections get better, none of them worse.

    Fixed sets: the held-out splits and the test set. The decision only guards against harm: nothing is tuned on them.
    """
    fixed = [
        compare("held-out photos", champion, challenger, data.held_out()[0]),
        compare("test photos", champion, challenger, data["test"]),
    ]
    learned = [compare("corrections trained on", champion, challenger, trained)]
    if len(held_out[0]):
        learned.append(compare("corrections held out", champion, challenger, held_out))
    worse = [c.name for c in fixed if c.interval[1] < 0] + [c.name for c in learned if c.difference < 0]
    if worse:
        reason = f"not promoted: worse on {', '.join(worse)}"
    elif all(c.difference == 0 for c in learned):
        reason = "not promoted: the corrections did not get better"
    else:
        reason = "promoted: the corrections got better and no fixed set got worse beyond its interval"
    return Verdict(
        promoted=reason.startswith("promoted"),
        reason=reason,
        corrections=len(trained[0]) + len(held_out[0]),
        comparisons=[*fixed, *learned],
    )


def compare(name: str, champion: Pipeline, challenger: Pipeline, data: Labelled) -> Comparison:
    """Both on ``data``; the interval of the paired difference is normal, mean ± 1.96 standard errors."""
    pixels, labels = data
    old, new = (p.score(pixels, batch=250).best == labels for p in (champion, challenger))
    change = new.astype(float) - old.astype(float)
    margin = 1.96 * float(change.std()) / np.sqrt(len(change))
    middle = float(change.mean())
    return Comparison(
        name=name,
        photos=len(labels),
        champion=float(old.mean()),
        challenger=float(new.mean()),
        difference=middle,
        interval=(middle - margin, middle + margin),
    )
