"""Predictions that may still get feedback, with their photos, in memory only: nobody said yet that they may be kept."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from runners.prediction import Prediction


@dataclass(frozen=True, slots=True)
class Awaiting:
    """A prediction and the upload it answered."""

    prediction: Prediction
    data: bytes


LEAST, STRETCH = 64, 4
"""So many predictions stay while all together have no more than so many times the bytes: a class with phones, whose
photos have megabytes."""


class Pending:
    """The last predictions, bounded by age and by bytes, photos and predictions; the oldest go first. Safe to call from
    threads."""

    def __init__(self, seconds: float, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._max_bytes, self._clock = seconds, max_bytes, clock
        # id -> prediction, upload, when it expires. The prediction as JSON: an object takes three times the memory, and
        # the garbage collector's time.
        self._items: OrderedDict[str, tuple[bytes, bytes, float]] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, prediction: Prediction, data: bytes) -> None:
        text = prediction.model_dump_json().encode()
        with self._lock:
            self._items[prediction.prediction_id] = (text, data, self._clock() + self._seconds)
            self._bytes += len(text) + len(data)
            while self._items and (self._too_many() or self._oldest_expires() <= self._clock()):
                self._drop_oldest()

    def get(self, prediction_id: str) -> Awaiting | None:
        """The prediction, or None when it is unknown or too old. It stays, so that a person may change their mind."""
        with self._lock:
            item = self._items.get(prediction_id)
        if item is None or item[2] <= self._clock():
            return None
        return Awaiting(Prediction.model_validate_json(item[0]), item[1])

    def _too_many(self) -> bool:
        most = self._max_bytes * (STRETCH if len(self._items) <= LEAST else 1)
        return self._bytes > most

    def _oldest_expires(self) -> float:
        return next(iter(self._items.values()))[2]

    def _drop_oldest(self) -> None:
        _, (text, data, _) = self._items.popitem(last=False)
        self._bytes -= len(text) + len(data)
