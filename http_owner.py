"""What the owner's tabs of the page ask: review, monitoring, data. Each call runs in a thread, off the event loop."""

from __future__ import annotations

import asyncio
import base64
import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import ColumnElement, select, true

from http_handlers import Handlers
from http_metrics import Metrics
from monitoring import history, holdings
from monitoring.feedback import Feedback, FeedbackStore, State
from monitoring.feedback_row import KeptPhoto
from monitoring.purge import purge
from monitoring.review_queue import Filter, queue
from runners.artifacts import REFERENCE_FILE
from runners.prediction import ApiError
from settings import Settings

log = logging.getLogger("cifar")
Result = TypeVar("Result")


class OwnerCalls:
    """The calls of `ui.api.OwnerApi`. Who may make them is asked of `is_owner`, before each."""

    def __init__(self, settings: Settings, handlers: Handlers, store: FeedbackStore, metrics: Metrics) -> None:
        self._settings, self._handlers, self._store, self._metrics = settings, handlers, store, metrics
        self._drift: Any = None
        self._judging = asyncio.Lock()

    def is_owner(self, authorization: str) -> bool:
        """Whether a request with this header ``Authorization`` comes from the service's owner."""
        return self._handlers.is_owner(authorization)

    async def capture(self, label: str, images: list[bytes]) -> dict[str, Any]:
        """Keep a burst of photos of class ``label`` (`Handlers.capture`)."""
        return await self._handlers.capture(label, images)

    async def corrections(self, chosen: dict[str, Any]) -> dict[str, Any]:
        """The review queue; ``chosen`` are fields of `monitoring.review_queue.Filter`. Thumbnails: data addresses."""
        found = await asyncio.to_thread(queue, self._store, Filter(**chosen))
        for item in found["items"]:
            if item["thumbnail"] is not None:
                item["thumbnail"] = "data:image/png;base64," + base64.b64encode(item["thumbnail"]).decode()
        return found

    async def review(self, correction: int, state: State, label: str | None = None) -> None:
        """Accept (as ``label``, if given), reject, or put back a correction.

        Raises:
            ApiError: 404 when it is there no more, 422 for what is no label, 503 when the store cannot be used.
        """
        if not await asyncio.to_thread(self._store.set_state, [correction], state, label):
            raise ApiError(404, "unknown_feedback", "This correction is there no more; it may have been taken back.")

    async def traffic(self) -> dict[str, Any]:
        """The last hour (`monitoring.recent.Recent`), ``requests`` since the start, and ``feedback``: the accuracy that
        people's answers give, with its interval, None without any; ``counts`` of the answers."""
        accuracy = await asyncio.to_thread(self._store.accuracy)
        counts = await asyncio.to_thread(self._store.counts)
        feedback = None
        if accuracy is not None:
            feedback = {
                "answers": accuracy.answers,
                "value": accuracy.value,
                "low": accuracy.low,
                "high": accuracy.high,
            }
        return {
            **self._handlers.recent.summary(),
            "requests": self._metrics.requests(),
            "feedback": feedback,
            "counts": counts,
            "mlflow": self._settings.mlflow if self._settings.mlflow.startswith(("http://", "https://")) else None,
        }

    async def drift(self) -> list[dict[str, Any]]:
        """The latest windows against the reference (`monitoring.drift_map`); none where monitoring is off."""
        async with self._judging:
            return await self._of_mlflow(self._windows) if self._settings.monitoring else []

    async def history(self) -> dict[str, Any]:
        """``models`` and ``challengers`` (`monitoring.history`)."""
        models = await asyncio.to_thread(history.models, self._handlers.serving.tags.cnn)
        return {
            "models": models,
            "challengers": await asyncio.to_thread(history.challengers, self._settings.var / "runs"),
        }

    async def report(self) -> str:
        """The drift report of the last day, an HTML document; ApiError 404 when there is nothing to compare."""
        return await self._of_mlflow(self._report)

    async def holdings(self) -> dict[str, Any]:
        """What is kept (`monitoring.holdings`)."""
        return await asyncio.to_thread(holdings.holdings, self._settings, self._store)

    async def delete_burst(self, folder: str) -> int:
        """Delete a captured burst; the number of its photos. ApiError 404, or 503 when the disk does not let it go."""
        try:
            return await asyncio.to_thread(holdings.delete_burst, self._settings, folder)
        except OSError as error:
            log.error("captured photos: %s", error)
            reason = error.strerror or "the disk failed"
            raise ApiError(503, "captures_unavailable", f"The photos cannot be deleted: {reason}.", 5) from error

    async def delete_feedback(self, name: str | None) -> dict[str, int]:
        """Erase one feedback with its photo, by the number of its record or its prediction_id; all of it for None.

        Returns ``answers`` and ``photos``, the numbers of what is gone.

        Raises:
            ApiError: 404 when there is none, 503 when the store cannot be used.
        """
        prediction = await asyncio.to_thread(self._prediction_of, name) if name is not None else None

        def chosen(table: type[Feedback] | type[KeptPhoto]) -> ColumnElement[bool]:
            return true() if name is None else table.prediction_id == prediction

        done = await asyncio.to_thread(purge, self._store, chosen, empty_is_right=name is None)
        if name is not None and not done["answers"]:
            raise ApiError(404, "unknown_feedback", "There is no such feedback; it may be deleted already.")
        return {"answers": done["answers"], "photos": done["photos"]}

    def _prediction_of(self, name: str) -> str:
        """The prediction_id of the record with the number ``name``; ``name`` itself where it is no number."""
        if not (name.isdecimal() and len(name) < 10):
            return name
        with self._store.database.reading() as session:
            return session.scalar(select(Feedback.prediction_id).where(Feedback.id == int(name))) or name

    async def _of_mlflow(self, work: Callable[[], Result]) -> Result:
        try:
            return await asyncio.to_thread(work)
        except ApiError:
            raise
        except Exception as error:  # whatever MLflow, its database, the network or a damaged profile raise
            log.error("monitoring: %s: %s", type(error).__name__, error)
            message = "The windows of traffic cannot be read from MLflow right now."
            raise ApiError(503, "monitoring_unavailable", message, 5) from error

    def _windows(self) -> list[dict[str, Any]]:
        import bentoml

        from monitoring.drift_map import DriftMap

        self._drift = self._drift or DriftMap(self._settings)
        tag = self._handlers.serving.tags.cnn
        found: list[dict[str, Any]] = self._drift.latest(tag, Path(bentoml.models.get(tag).path) / REFERENCE_FILE)
        return found

    def _report(self) -> str:
        from monitoring.__main__ import DEFAULT_HOURS, judge
        from monitoring.report import render

        result, sentence, model = judge(self._settings, DEFAULT_HOURS, None)
        if result is None:
            raise ApiError(404, "nothing_to_report", sentence)
        return render(result, model)
