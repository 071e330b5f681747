"""Keeps the photos that the owner chose, with what was predicted of them, off the request path."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections import deque
from collections.abc import Sequence
from datetime import UTC, datetime

from sqlalchemy import select

from monitoring.feedback import FeedbackStore
from monitoring.feedback_row import KeptPhoto, facts
from runners.images import archive_png
from runners.prediction import ApiError, Prediction
from settings import Settings

log = logging.getLogger("cifar")

QUEUE_BYTES = 64_000_000
"""Uploads that wait to be kept; more are lost, and counted. Prepared photos are small beside them."""
_BATCH = 64


def wanted(prediction: Prediction, settings: Settings) -> bool:
    """Whether the owner keeps the photo of ``prediction`` although nobody gave feedback on it."""
    level = settings.keep_images
    if level in ("none", "feedback"):
        return False
    refused = not prediction.in_distribution
    unsure = prediction.probability < settings.uncertain_below
    return level == "all" or refused or (level == "uncertain" and unsure)


def keep(store: FeedbackStore, photos: Sequence[tuple[Prediction, bytes]], at: datetime | None = None) -> None:
    """Store each prediction with its photo, as `archive_png` made it, durably: all or none; a known one stays.

    Raises:
        ApiError: 503 ``feedback_unavailable``.
    """
    by_id = {prediction.prediction_id: (prediction, png) for prediction, png in photos}
    pngs: dict[str, bytes] = {}
    with store.writing_with(pngs) as session:
        chosen = KeptPhoto.prediction_id.in_(by_id)
        known = set(session.scalars(select(KeptPhoto.prediction_id).where(chosen)))
        for name, (prediction, png) in by_id.items():
            if name not in known:
                sha256 = hashlib.sha256(png).hexdigest()
                pngs[sha256] = png
                session.add(KeptPhoto(created_at=at or datetime.now(UTC), image_sha256=sha256, **facts(prediction)))


class Keeper:
    """Stores what `offer` was given, on a thread of its own between `start` and `close`.

    ``kept`` photos are stored, ``lost`` ones came while too many waited, or could not be stored at the end. While the
    store is away the photos wait for it.
    """

    def __init__(
        self, settings: Settings, store: FeedbackStore, *, queue_bytes: int = QUEUE_BYTES, retry_s: float = 5.0
    ) -> None:
        self._settings, self._store, self._queue_bytes, self._retry_s = settings, store, queue_bytes, retry_s
        self._queue: deque[tuple[Prediction, bytes]] = deque()
        self._bytes = 0
        self._changed = threading.Condition()
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="keeper", daemon=True)
        self.kept = self.lost = 0

    def start(self) -> None:
        self._thread.start()

    def offer(self, prediction: Prediction, data: bytes) -> None:
        """Keep the upload ``data`` if it is `wanted`; returns at once."""
        if not wanted(prediction, self._settings):
            return
        with self._changed:
            if self._closing.is_set() or self._bytes + len(data) > self._queue_bytes:
                self.lost += 1
                return
            self._queue.append((prediction, data))
            self._bytes += len(data)
            self._changed.notify()

    def close(self, timeout: float = 2.0) -> None:
        """Store what waits, as far as ``timeout`` seconds allow."""
        self._closing.set()
        with self._changed:
            self._changed.notify()
        if self._thread.ident is not None:
            self._thread.join(timeout)

    def _run(self) -> None:
        while batch := self._take():
            photos = []
            for prediction, data in batch:
                try:
                    photos.append((prediction, archive_png(data)))
                except Exception as error:  # it was decoded before, so whatever this is, the others need not suffer
                    log.warning("a photo cannot be kept: %s", type(error).__name__)
                    self.lost += 1
            try:
                self._store_all(photos)
            except Exception as error:  # a thread that dies would lose all that follow
                log.error("photos cannot be kept: %s: %s", type(error).__name__, error)
                self.lost += len(photos)

    def _take(self) -> list[tuple[Prediction, bytes]]:
        """The next photos, at most `_BATCH`; none at the end."""
        with self._changed:
            self._changed.wait_for(lambda: self._queue or self._closing.is_set())
            batch = [self._queue.popleft() for _ in range(min(_BATCH, len(self._queue)))]
            self._bytes -= sum(len(data) for _, data in batch)
            return batch

    def _store_all(self, photos: list[tuple[Prediction, bytes]]) -> None:
        while True:
            try:
                keep(self._store, photos)
            except ApiError:
                if self._closing.wait(self._retry_s):
                    self.lost += len(photos)
                    return
            else:
                self.kept += len(photos)
                return
