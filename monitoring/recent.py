"""The latest predictions as the owner's page counts them: in memory, of this process, without photos."""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from typing import Any

from runners.prediction import Prediction

KEPT, SECONDS = 2_000, 3_600.0
"""Most predictions that are remembered, and for how long."""
BINS = 10


class Recent:
    """Time, label, confidence and verdict of the last predictions. Safe to call from threads."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._lock = clock, threading.Lock()
        self._seen: deque[tuple[float, str, float, bool]] = deque(maxlen=KEPT)

    def add(self, predictions: Iterable[Prediction]) -> None:
        now = self._clock()
        with self._lock:
            self._seen.extend((now, p.label, p.probability, p.in_distribution) for p in predictions)

    def summary(self) -> dict[str, Any]:
        """Of the last hour, at most `KEPT`: ``photos``; ``minute``, those of the last minute; ``refusal_share``,
        ``confidence`` (mean of the best guess) and ``estimated_accuracy`` (mean where the gate accepts), None for no
        photo; ``labels``, name to share, the most frequent first; ``histogram``, shares of confidence in ten bins.
        """
        now = self._clock()
        with self._lock:
            while self._seen and self._seen[0][0] < now - SECONDS:
                self._seen.popleft()
            rows = list(self._seen)
        confidences = [confidence for _, _, confidence, _ in rows]
        accepted = [confidence for _, _, confidence, known in rows if known]
        bins = Counter(min(int(confidence * BINS), BINS - 1) for confidence in confidences)
        return {
            "photos": len(rows),
            "minute": sum(at >= now - 60 for at, *_ in rows),
            "refusal_share": 1 - len(accepted) / len(rows) if rows else None,
            "confidence": sum(confidences) / len(rows) if rows else None,
            "estimated_accuracy": sum(accepted) / len(accepted) if accepted else None,
            "labels": {label: n / len(rows) for label, n in Counter(label for _, label, *_ in rows).most_common()},
            "histogram": [bins[i] / len(rows) if rows else 0.0 for i in range(BINS)],
        }
