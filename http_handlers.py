"""What the service answers with: plain methods that the HTTP routes and the page share."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from http_guard import is_owner
from http_metrics import Metrics, Recorded
from http_photos import TOGETHER, Decoder
from http_trace import step
from monitoring.bursts import class_folder, classes_line, save_burst
from monitoring.feedback import FeedbackStore, NewFeedback
from monitoring.feedback_row import facts
from monitoring.keeper import Keeper
from monitoring.pending import Pending
from monitoring.recent import Recent
from runners.batching import MicroBatcher
from runners.images import Photo, archive_png, png
from runners.occlusion import heat, occluded
from runners.pipeline import Scores
from runners.prediction import ApiError, ModelTags, Prediction, Timings
from settings import Settings

log = logging.getLogger("cifar")

MAX_SAVING = 64
"""Answers being stored at once: each holds a thread, for 15 s and more when the database does not answer. They are
threads of their own, because those of asyncio are few and everybody's."""


class Recorder(Recorded, Protocol):
    """Where each result goes to be profiled; must not block."""

    def start(self) -> None: ...
    def record(self, pixels: NDArray[np.uint8], sizes: NDArray[np.int64], scores: Scores) -> None: ...

    def close(self, timeout: float = ...) -> None: ...


@dataclass(eq=False, slots=True)
class Serving:
    """The pair that answers, and what is its alone. ``calls`` of it are in flight."""

    tags: ModelTags
    labels: tuple[str, ...]
    batcher: MicroBatcher
    recorder: Recorder | None
    calls: int = 0


class Handlers:
    """The calls of the API over a pair and a feedback store; for one event loop.

    ``serving`` may be replaced between two calls. A call goes through one pair from its first photo to its last.
    """

    def __init__(
        self,
        settings: Settings,
        serving: Serving,
        feedback: FeedbackStore,
        metrics: Metrics | None = None,
        keeper: Keeper | None = None,
    ) -> None:
        self.settings, self.serving = settings, serving
        self._feedback = feedback
        self._metrics, self._keeper = metrics or Metrics(), keeper
        self._decoder = Decoder(settings)
        self._pending = Pending(settings.feedback_minutes * 60, settings.pending_bytes)
        self._saving = 0
        self._savers = ThreadPoolExecutor(MAX_SAVING, thread_name_prefix="feedback")
        self.recent = Recent()

    async def classify_many(self, uploads: list[bytes], live: bool = False) -> list[Prediction | ApiError]:
        """One answer or one error per upload, in order; a bad photo fails alone.

        Frames of a ``live`` camera are answered and forgotten: neither counted nor profiled nor kept for feedback.

        Raises:
            ApiError: 503 when the server is at capacity or the network unavailable.
        """
        pair = self.serving
        pair.calls += 1
        try:
            decoded, rows, timings = await self._read_and_predict(pair, uploads)
            photos = [(data, photo) for data, photo in zip(uploads, decoded, strict=True) if isinstance(photo, Photo)]
            answers = [self._answer(pair, row, timings) for row in rows]
            if answers and not live:
                self._note(pair, photos, rows, answers)
        finally:
            pair.calls -= 1
        for item in decoded:
            if isinstance(item, ApiError):
                self._metrics.refused(item)
        rest = iter(answers)
        return [next(rest) if isinstance(item, Photo) else item for item in decoded]

    async def _read_and_predict(
        self, pair: Serving, uploads: list[bytes]
    ) -> tuple[list[Photo | ApiError], list[Scores], Timings]:
        """The photos, and what ``pair`` says of them: the network has the first ones while the next are decoded."""
        loop = asyncio.get_running_loop()
        start, end = time.perf_counter(), self._decoder.deadline()  # the loop's clock may count whole milliseconds
        decoded: list[Photo | ApiError] = []
        asked: list[asyncio.Task[list[Scores]]] = []
        pixels: list[NDArray[np.uint8]] = []
        waited = 0.0
        try:
            with step("decode", len(uploads)):
                for first in range(0, len(uploads), TOGETHER):
                    if asked and asked[0].done():
                        asked[0].result()  # raises: it found no room, so the rest need not be decoded
                    before = loop.time()
                    await self._decoder.turn()
                    waited = loop.time() - before
                    part = await self._decoder.read_all(uploads[first : first + TOGETHER], end)
                    decoded += part
                    pixels = [item.pixels for item in part if isinstance(item, Photo)]
                    if pixels and len(uploads) > TOGETHER:
                        coming = len(uploads) - len(decoded)
                        call = pair.batcher.submit(pixels, waited, coming=coming, let_in=bool(asked))
                        asked.append(loop.create_task(call))
            middle = time.perf_counter()
            with step("predict", sum(isinstance(item, Photo) for item in decoded)):
                if pixels and not asked:  # the only part needs no task
                    rows = await pair.batcher.submit(pixels, waited, alone=pair.calls == 1)
                else:
                    rows = [row for part_rows in await asyncio.gather(*asked) for row in part_rows]
        finally:
            for task in asked:
                task.cancel()
                task.add_done_callback(_seen)
        timings = Timings(decode_ms=(middle - start) * 1000, predict_ms=(time.perf_counter() - middle) * 1000)
        return decoded, rows, timings

    def _note(
        self, pair: Serving, photos: list[tuple[bytes, Photo]], rows: list[Scores], answers: list[Prediction]
    ) -> None:
        """Count, profile and keep for feedback what was answered."""
        self._metrics.predicted(answers)
        self.recent.add(answers)
        for (data, _), answer in zip(photos, answers, strict=True):
            self._pending.add(answer, data)
            if self._keeper:
                self._keeper.offer(answer, data)
        if pair.recorder:
            pixels = np.stack([photo.pixels for _, photo in photos])
            sizes = np.array([(photo.width, photo.height) for _, photo in photos], np.int64)
            pair.recorder.record(pixels, sizes, rows[0] if len(rows) == 1 else Scores.concatenate(rows))

    async def predict(self, image: bytes, live: bool = False) -> Prediction:
        """The answer for one encoded photo; raises `ApiError`. ``live``: see `classify_many`."""
        [answer] = await self.classify_many([image], live)
        if isinstance(answer, ApiError):
            raise answer
        return answer

    async def classify(self, image: bytes, live: bool = False) -> dict[str, Any]:
        """As `predict`, in JSON types."""
        return (await self.predict(image, live)).model_dump()

    async def explain(self, image: bytes) -> dict[str, Any]:
        """Where in an encoded photo the network saw its best guess (`runners.occlusion`); raises `ApiError`.

        ``label``, ``probability`` of the best guess; ``heat``, rows of numbers, top to bottom.
        """
        photo = await self._read(image)
        pair = self.serving
        pair.calls += 1
        try:
            scores = Scores.concatenate(await pair.batcher.submit(list(occluded(photo.pixels))))
        finally:
            pair.calls -= 1
        return {
            "label": pair.labels[int(scores.best[0])],
            "probability": min(float(scores.confidence[0]), 1.0),
            "heat": heat(scores).round(4).tolist(),
        }

    async def preview(self, image: bytes) -> bytes:
        """An encoded photo as the network reads it: a 32×32 PNG; raises `ApiError`."""
        return png((await self._read(image)).pixels)

    async def _read(self, image: bytes) -> Photo:
        await self._decoder.turn()
        [photo] = await self._decoder.read_all([image])
        if isinstance(photo, ApiError):
            self._metrics.refused(photo)
            raise photo
        return photo

    async def feedback(
        self, prediction_id: str, correct: bool, label: str | None = None, note: str | None = None
    ) -> dict[str, Any]:
        """Store what a person said of a prediction, durably, and return the record's id.

        Raises:
            ApiError: 404 for an unknown or expired prediction, 422 for a missing label, 503 when it cannot be stored.
        """
        if self._keeper is None and self._pending.get(prediction_id) is None:
            raise self._unknown(prediction_id)
        if not correct and not (label and label.strip()):
            raise ApiError(422, "label_missing", "When the answer was not correct, label must say what is.")
        if self._saving >= MAX_SAVING:
            raise ApiError(503, "feedback_busy", "Too much feedback is being stored; try again shortly.", 1)
        self._saving += 1
        try:
            saving = partial(self._save, prediction_id, correct, label, note)
            saved = await asyncio.get_running_loop().run_in_executor(self._savers, saving)
        finally:
            self._saving -= 1
        return {"id": saved, "prediction_id": prediction_id}

    async def withdraw(self, prediction_id: str) -> dict[str, Any]:
        """Take back what was said of a prediction; its photo goes with it, reviewed or not, and never trains.

        Raises:
            ApiError: 404 when nothing is stored of it, 503 when the store cannot be used.
        """
        if not await asyncio.to_thread(self._feedback.withdraw, prediction_id):
            raise ApiError(404, "unknown_feedback", f"No feedback on the prediction {prediction_id[:64]!r} is stored.")
        return {"prediction_id": prediction_id, "withdrawn": True}

    async def labels(self) -> dict[str, Any]:
        """Class names, model tags and thresholds."""
        return {
            "classes": list(self.serving.labels),
            "models": self.serving.tags.model_dump(),
            "thresholds": {"refuse_share": self.settings.refuse_share},
        }

    def is_owner(self, authorization: str) -> bool:
        """Whether a request with this header ``Authorization`` comes from the service's owner."""
        return is_owner(authorization, self.settings)

    async def capture(self, label: str, images: list[bytes]) -> dict[str, Any]:
        """Keep a burst of encoded photos of class ``label`` for the next training: all of them, or none.

        Returns:
            ``folder``, relative to the data root; ``photos``, how many; ``line``, which the classes file needs.

        Raises:
            ApiError: 422 for what is no class name or no photos, that of `read_photo` for the first bad photo, 503
                when they cannot be stored.
        """
        return await asyncio.to_thread(self._keep_burst, label, images)

    def _keep_burst(self, label: str, images: list[bytes]) -> dict[str, Any]:
        folder = class_folder(self.settings.data_root, label)
        if not images:
            raise ApiError(422, "bad_fields", "Send one photo or more.")
        for number, data in enumerate(images, 1):
            try:
                self._decoder.read(data)
            except ApiError as error:
                raise ApiError(error.status, error.code, f"Photo {number}: {error.message}") from None
        try:
            paths = save_burst(folder, map(archive_png, images))
        except OSError as error:
            log.error("captured photos: %s", error)
            reason = error.strerror or "the disk failed"  # never the whole error: it names a folder
            raise ApiError(503, "captures_unavailable", f"The photos cannot be stored: {reason}.", 5) from error
        place = paths[0].parent.relative_to(self.settings.data_root)
        return {"folder": place.as_posix(), "photos": len(paths), "line": classes_line(label)}

    def _answer(self, pair: Serving, row: Scores, timings: Timings) -> Prediction:
        p = row.probabilities[0]
        best = pair.labels[int(p.argmax())]
        known = float(row.ood_p_value[0]) > self.settings.refuse_share
        return Prediction(
            prediction_id=uuid.uuid4().hex,
            label=best if known else "unknown",
            best_guess=best,
            probability=min(float(p.max()), 1.0),
            probabilities=dict(zip(pair.labels, p.tolist(), strict=True)),
            in_distribution=known,
            ood_score=float(row.ood_score[0]),
            ood_p_value=float(row.ood_p_value[0]),
            model=pair.tags,
            timings=timings,
        )

    def _save(self, prediction_id: str, correct: bool, label: str | None, note: str | None) -> int:
        known, png = self._predicted(prediction_id)
        entry = NewFeedback(correct=correct, label=None if correct else label, note=note or "", image=png, **known)
        return self._feedback.save(entry).id

    def _predicted(self, prediction_id: str) -> tuple[dict[str, Any], bytes | None]:
        """What was predicted, and the photo where it may be kept: from memory, else from what is kept."""
        if item := self._pending.get(prediction_id):
            keep = self.settings.keep_images != "none"
            return facts(item.prediction), archive_png(item.data) if keep else None
        row = self._feedback.kept(prediction_id) if self._keeper else None
        oldest = datetime.now(UTC) - timedelta(minutes=self.settings.feedback_minutes)
        if row is None or row.created_at < oldest:
            raise self._unknown(prediction_id)
        return row.facts, self._feedback.photo(row.image_sha256)

    def _unknown(self, prediction_id: str) -> ApiError:
        minutes = f"{self.settings.feedback_minutes:g}"
        message = f"No prediction {prediction_id[:64]!r} of the last {minutes} minutes; classify the photo again."
        return ApiError(404, "unknown_prediction", message)


def _seen(task: asyncio.Task[list[Scores]]) -> None:
    """The failure of a part whose request has failed already is no news."""
    if not task.cancelled():
        task.exception()
