"""What is kept: photos per class of the prepared dataset, captured bursts, accepted corrections; and deletion."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path
from typing import Any

from monitoring.feedback import FeedbackStore
from runners.class_names import name_fault
from runners.prediction import ApiError
from settings import Settings


def holdings(settings: Settings, store: FeedbackStore) -> dict[str, Any]:
    """Counts as JSON types.

    ``classes``: name -> ``dataset`` (photos of the prepared dataset, all splits), ``captured``, ``corrections``
    (accepted, with a photo). ``bursts``: ``folder`` relative to the data root, ``label``, ``photos``; the latest first.
    ``feedback``: answers by kind (`FeedbackStore.counts`).
    """
    prepared = {label: sum(splits.values()) for label, splits in _manifest(settings.var / "dataset").items()}
    bursts = _bursts(settings.data_root)
    captured: Counter[str] = Counter()
    for burst in bursts:
        captured[burst["label"]] += burst["photos"]
    corrections = Counter(correction.label for correction in store.accepted())
    return {
        "classes": {
            label: {
                "dataset": prepared.get(label, 0),
                "captured": captured[label],
                "corrections": corrections[label],
            }
            for label in [*prepared, *sorted((set(captured) | set(corrections)) - set(prepared))]
        },
        "bursts": bursts,
        "feedback": store.counts(),
    }


def delete_burst(settings: Settings, folder: str) -> int:
    """Delete the burst ``folder`` as `holdings` names it, and its class's folder when it was the last; photos deleted.

    Raises:
        ApiError: 404 where there is no such burst.
        OSError: it cannot be deleted.
    """
    known = [burst for burst in _bursts(settings.data_root) if burst["folder"] == folder]
    if not known:  # also whatever points elsewhere
        raise ApiError(404, "unknown_burst", "There is no such burst; it may be deleted already.")
    place = settings.data_root / folder
    shutil.rmtree(place)
    if not any(place.parent.iterdir()):
        place.parent.rmdir()
    return int(known[0]["photos"])


def _bursts(data_root: Path) -> list[dict[str, Any]]:
    found = []
    for folder in sorted((data_root / "captured").glob("*/*"), key=lambda path: path.name, reverse=True):
        if not folder.is_symlink() and folder.is_dir() and name_fault(folder.parent.name) is None:
            photos = sum(path.suffix == ".png" for path in folder.iterdir())
            name = folder.relative_to(data_root).as_posix()
            found.append({"folder": name, "label": folder.parent.name, "photos": photos})
    return found


def _manifest(folder: Path) -> dict[str, dict[str, int]]:
    try:
        classes = json.loads((folder / "manifest.json").read_text())["classes"]
        return {str(label): {str(k): int(v) for k, v in splits.items()} for label, splits in classes.items()}
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}  # nothing is prepared on this machine
