"""The corrections that await review, filtered, with marks and thumbnails: what the page's reviewer sees."""

from __future__ import annotations

import io
from dataclasses import asdict, dataclass
from typing import Any

from PIL import Image

from monitoring.feedback import Feedback, FeedbackStore, clean_label
from monitoring.image_store import DamagedImageError
from monitoring.review_marks import mark

UNSURE = 0.6
"""Calibrated probability of the best guess below which a prediction counts as one of low confidence."""
THUMBNAIL = 192
"""Longest side of a thumbnail, pixels."""
_ALL = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Filter:
    """Which corrections are wanted: all that meet every part that is set.

    ``label``: the person says this class. ``model``: this network answered. ``refused``: the gate refused. ``unsure``:
    the best guess had less than `UNSURE`. ``disagree``: the network's best guess is another class than the person's.
    """

    label: str | None = None
    model: str | None = None
    refused: bool = False
    unsure: bool = False
    disagree: bool = False

    def takes(self, row: Feedback) -> bool:
        return (
            (self.label is None or row.label == clean_label(self.label))
            and (self.model is None or row.cnn_tag == self.model)
            and not (self.refused and row.in_distribution)
            and not (self.unsure and row.probability >= UNSURE)
            and not (self.disagree and clean_label(row.best_guess) == row.label)
        )


def queue(store: FeedbackStore, chosen: Filter, limit: int = 24) -> dict[str, Any]:
    """The oldest ``limit`` pending corrections that ``chosen`` takes, as JSON types.

    ``pending``: all that wait; ``matching``: of these, how many the filter takes; ``labels`` and ``models`` that occur
    among all; ``items``: what was said and predicted, ``marks`` (names of `Marks`) with their ids, and ``thumbnail``, a
    PNG as bytes, None where no photo is kept or it cannot be read.
    """
    rows = store.pending(limit=_ALL)
    taken = [row for row in rows if chosen.takes(row)]
    shown = taken[:limit]
    marks = mark(store, shown)
    return {
        "pending": len(rows),
        "matching": len(taken),
        "labels": sorted({str(row.label) for row in rows}),
        "models": sorted({row.cnn_tag for row in rows}),
        "items": [
            {
                "id": row.id,
                "label": row.label,
                "note": row.note,
                "best_guess": row.best_guess,
                "probability": row.probability,
                "in_distribution": row.in_distribution,
                "model": row.cnn_tag,
                "given": row.updated_at.isoformat(timespec="minutes"),
                "marks": marks[row.id].names,
                **asdict(marks[row.id]),
                "thumbnail": _thumbnail(store, row.image_sha256),
            }
            for row in shown
        ],
    }


def _thumbnail(store: FeedbackStore, sha256: str | None) -> bytes | None:
    if sha256 is None:
        return None
    try:
        with Image.open(io.BytesIO(store.images.get(sha256)), formats=("PNG",)) as image:
            image.thumbnail((THUMBNAIL, THUMBNAIL))
            buffer = io.BytesIO()
            image.save(buffer, "PNG")
    except (OSError, DamagedImageError):
        return None
    return buffer.getvalue()
