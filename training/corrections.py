"""The accepted corrections as training data: which train, which are kept out to judge, which make a new class."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from monitoring.feedback import Correction, FeedbackStore
from monitoring.feedback_row import clean_label
from monitoring.image_store import DamagedImageError
from monitoring.suspicion import Doubt, doubts
from runners.class_names import SOMETHING_ELSE, name_fault
from runners.images import SIDE, read_photo
from training.dataset import Dataset, digest_of
from training.sources import Labelled

HELD_OUT_EVERY = 5
"""One accepted correction in so many is kept from training, by its digest, to judge the challenger on."""
SHOWN = 10
"""Ids in a message; more are counted."""
FEEDBACK = "feedback"
"""The source of photos that came as corrections."""


class RetrainError(Exception):
    """Nothing to retrain on, or nothing to start from; the message says what to do first."""


@dataclass(frozen=True, slots=True)
class Corrections:
    """``labels``: the classes of the challenger, those of the dataset first, then the new ones. ``trained`` and
    ``held_out``: photos and their class number. ``waiting``: proposed classes and how many photos each has so far."""

    labels: tuple[str, ...]
    new_classes: tuple[str, ...]
    trained: Labelled
    held_out: Labelled
    waiting: dict[str, int]


def collect(
    store: FeedbackStore, labels: tuple[str, ...], least_photos: int, trusted: Collection[str] = ()
) -> Corrections:
    """The accepted corrections in ``store``, as the network reads them.

    A label that is none of the dataset's ``labels`` is a new class once ``least_photos`` accepted photos show it. The
    photos of a class that an earlier challenger learned so are still there, so it stays while they do.

    Raises:
        RetrainError: there is none to train on, a photo is gone, or the network doubts those to a known class that is
            not ``trusted`` (`monitoring.suspicion.doubts`).
    """
    accepted = store.accepted()
    known = {clean_label(label) for label in labels}
    believed = {clean_label(label) for label in trusted}
    if strange := sorted(believed - known):
        raise RetrainError(f"no class is called {strange[0]}; --trust takes {', '.join(sorted(known))}")
    for doubt in doubts((c.id, c.label, c.suspected) for c in accepted if c.label in known):
        if doubt.label not in believed:
            raise RetrainError(_doubtful(doubt))
    proposed = Counter(c.label for c in accepted if c.label not in known and c.label != SOMETHING_ELSE)
    new = tuple(sorted(n for n, count in proposed.items() if count >= least_photos and name_fault(n) is None))
    index = {clean_label(label): number for number, label in enumerate((*labels, *new))}
    parts: dict[bool, list[tuple[NDArray[np.uint8], int]]] = {False: [], True: []}
    for correction in accepted:
        if correction.label in index:
            held_out = int(correction.sha256, 16) % HELD_OUT_EVERY == 0
            parts[held_out].append((_pixels(store, correction), index[correction.label]))
    if not parts[False]:
        raise RetrainError(
            "no accepted corrections with a photo to known classes, nor enough to a new one; see them with "
            "`python -m monitoring review`, and accept those that are right"
        )
    waiting = {name: count for name, count in sorted(proposed.items()) if name not in new}
    return Corrections((*labels, *new), new, _stack(parts[False]), _stack(parts[True]), waiting)


def with_new_classes(data: Dataset, found: Corrections) -> Dataset:
    """``data`` with the new classes: the gate needs training photos of each. The held-out splits stay as they are."""
    if not found.new_classes:
        return data
    chosen = found.trained[1] >= len(data.labels)
    extra = (found.trained[0][chosen], found.trained[1][chosen])
    pixels, labels = data["train"]
    missing = set(range(len(data.labels), len(found.labels))) - set(extra[1].tolist())
    if missing:  # by the draw of the digests; thirty photos make it all but impossible
        raise RetrainError(f"no photo of the new class {found.labels[min(missing)]} is left to train on; accept more")
    train = (np.concatenate([pixels, extra[0]]), np.concatenate([labels, extra[1]]))
    sources = np.concatenate([data.sources["train"], np.full(len(extra[1]), FEEDBACK)])
    return replace(
        data,
        splits={**data.splits, "train": train},
        sources={**data.sources, "train": sources},
        labels=found.labels,
        digest=f"{data.digest}+{digest_of(extra)}",
    )


def _doubtful(doubt: Doubt) -> str:
    ids = " ".join(map(str, doubt.suspected[:SHOWN])) + " ..." * (len(doubt.suspected) > SHOWN)
    return (
        f"{len(doubt.suspected)} of {doubt.corrections} accepted corrections to {doubt.label} contradict the network, "
        "of honest ones about a quarter does: somebody may be lying about this class. Look at them again and take out "
        f"what is wrong (`python -m monitoring review --reject {ids}`), or pass --trust {doubt.label}"
    )


def _pixels(store: FeedbackStore, correction: Correction) -> NDArray[np.uint8]:
    try:
        return read_photo(store.images.get(correction.sha256), max_bytes=10**9).pixels
    except (FileNotFoundError, DamagedImageError) as error:
        raise RetrainError(f"{error} Delete its feedback, or restore the file.") from error


def _stack(rows: list[tuple[NDArray[np.uint8], int]]) -> Labelled:
    if not rows:
        return np.empty((0, SIDE, SIDE, 3), np.uint8), np.empty(0, np.int64)
    return np.stack([pixels for pixels, _ in rows]), np.array([label for _, label in rows], np.int64)
