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
    """A prediction and the upload it answered; ``expires`` in seconds of the clock."""

    prediction: Prediction
    data: bytes
    expires: float


class Pending:
    """The last predictions, bounded by age and by bytes of photos; the oldest go first. Safe to call from threads."""

    def __init__(self, seconds: float, max_bytes: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._max_bytes, self._clock = seconds, max_bytes, clock
        self._items: OrderedDict[str, Awaiting] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def add(self, prediction: Prediction, data: bytes) -> None:
        with self._lock:
            self._items[prediction.prediction_id] = Awaiting(prediction, data, self._clock() + self._seconds)
            self._bytes += len(data)
            while self._items and (self._bytes > self._max_bytes or self._oldest().expires <= self._clock()):
                self._drop_oldest()

    def get(self, prediction_id: str) -> Awaiting | None:
        """The prediction, or None when it is unknown or too old. It stays, so that a person may change their mind."""
        with self._lock:
            item = self._items.get(prediction_id)
            return item if item and item.expires > self._clock() else None

    def _oldest(self) -> Awaiting:
        return next(iter(self._items.values()))

    def _drop_oldest(self) -> None:
        _, item = self._items.popitem(last=False)
        self._bytes -= len(item.data)
