"""The calls of the HTTP API, as plain methods that the page shares, and their routes."""

from __future__ import annotations

import asyncio
import logging
import time
import uuid
from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException

from http_forms import form_schema, read_files, read_form
from http_guard import Guard, error_response, from_another_site, is_owner
from monitoring.bursts import class_folder, classes_line, save_burst
from monitoring.feedback import FeedbackStore, NewFeedback
from monitoring.pending import Pending
from runners.batching import MicroBatcher
from runners.images import Photo, archive_png, read_photo
from runners.pipeline import Scores
from runners.prediction import ApiError, ModelTags, Prediction, Timings
from settings import Settings

log = logging.getLogger("cifar")

INLINE_BYTES = 32_768
"""Photos up to this size decode in well under a millisecond: cheaper than a hop to a thread."""


class Recorder(Protocol):
    """Where each result goes to be profiled; must not block."""

    def record(self, pixels: NDArray[np.uint8], sizes: NDArray[np.int64], scores: Scores) -> None: ...


class FeedbackRequest(BaseModel):
    """Body of ``POST /feedback``."""

    model_config = ConfigDict(extra="forbid")

    prediction_id: str = Field(min_length=1, max_length=64)
    correct: bool
    label: str | None = Field(None, min_length=1, max_length=64, description="the right class, when not correct")
    note: str | None = Field(None, max_length=1000)


class Handlers:
    """What the service answers with. The page calls these methods, the routes below wrap them."""

    def __init__(
        self,
        settings: Settings,
        labels: tuple[str, ...],
        tags: ModelTags,
        batcher: MicroBatcher,
        feedback: FeedbackStore,
        recorder: Recorder | None,
    ) -> None:
        self.settings, self.classes, self.tags = settings, labels, tags
        self._batcher, self._feedback, self._recorder = batcher, feedback, recorder
        self._pending = Pending(settings.feedback_minutes * 60, settings.pending_bytes)

    async def classify_many(self, uploads: list[bytes]) -> list[Prediction | ApiError]:
        """One answer or one error per upload, in order; a bad photo fails alone.

        Raises:
            ApiError: 503 when the server is at capacity.
        """
        start = time.perf_counter()
        decoded = [await self._decode(data) for data in uploads]
        photos = [(data, photo) for data, photo in zip(uploads, decoded, strict=True) if isinstance(photo, Photo)]
        middle = time.perf_counter()
        answers: list[Prediction] = []
        if photos:
            rows = await self._batcher.submit([photo.pixels for _, photo in photos])
            end = time.perf_counter()
            timings = Timings(decode_ms=(middle - start) * 1000, predict_ms=(end - middle) * 1000)
            answers = [self._answer(row, timings) for row in rows]
            for (data, _), answer in zip(photos, answers, strict=True):
                self._pending.add(answer, data)
            if self._recorder:
                pixels = np.stack([photo.pixels for _, photo in photos])
                sizes = np.array([(photo.width, photo.height) for _, photo in photos], np.int64)
                self._recorder.record(pixels, sizes, rows[0] if len(rows) == 1 else Scores.concatenate(rows))
        rest = iter(answers)
        return [next(rest) if isinstance(item, Photo) else item for item in decoded]

    async def classify(self, image: bytes) -> dict[str, Any]:
        """The `Prediction` for one encoded photo, as JSON types; raises `ApiError`."""
        [answer] = await self.classify_many([image])
        if isinstance(answer, ApiError):
            raise answer
        return answer.model_dump()

    async def feedback(
        self, prediction_id: str, correct: bool, label: str | None = None, note: str | None = None
    ) -> dict[str, Any]:
        """Store what a person said of a prediction, durably, and return the record's id.

        Raises:
            ApiError: 404 for an unknown or expired prediction, 422 for a missing label, 503 when it cannot be stored.
        """
        item = self._pending.get(prediction_id)
        if item is None:
            minutes = f"{self.settings.feedback_minutes:g}"
            message = f"No prediction {prediction_id[:64]!r} of the last {minutes} minutes; classify the photo again."
            raise ApiError(404, "unknown_prediction", message)
        if not correct and not (label and label.strip()):
            raise ApiError(422, "label_missing", "When the answer was not correct, label must say what is.")
        saved = await asyncio.to_thread(self._save, item.prediction, item.data, correct, label, note)
        return {"id": saved, "prediction_id": prediction_id}

    async def labels(self) -> dict[str, Any]:
        """Class names, model tags and thresholds."""
        return {
            "classes": list(self.classes),
            "models": self.tags.model_dump(),
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

    async def _decode(self, data: bytes) -> Photo | ApiError:
        try:
            if len(data) <= INLINE_BYTES:
                return self._read(data)
            return await asyncio.to_thread(self._read, data)
        except ApiError as error:
            return error

    def _read(self, data: bytes) -> Photo:
        return read_photo(data, max_bytes=self.settings.max_upload_bytes, max_pixels=self.settings.max_pixels)

    def _keep_burst(self, label: str, images: list[bytes]) -> dict[str, Any]:
        folder = class_folder(self.settings.data_root, label)
        if not images:
            raise ApiError(422, "bad_fields", "Send one photo or more.")
        for number, data in enumerate(images, 1):
            try:
                self._read(data)
            except ApiError as error:
                raise ApiError(error.status, error.code, f"Photo {number}: {error.message}") from None
        try:
            paths = save_burst(folder, map(archive_png, images))
        except OSError as error:
            log.error("captured photos: %s", error)
            message = f"The photos cannot be stored: {error.strerror or error}."
            raise ApiError(503, "captures_unavailable", message) from error
        place = paths[0].parent.relative_to(self.settings.data_root)
        return {"folder": place.as_posix(), "photos": len(paths), "line": classes_line(label)}

    def _answer(self, row: Scores, timings: Timings) -> Prediction:
        p = row.probabilities[0]
        best = self.classes[int(p.argmax())]
        known = float(row.ood_p_value[0]) > self.settings.refuse_share
        return Prediction(
            prediction_id=uuid.uuid4().hex,
            label=best if known else "unknown",
            best_guess=best,
            probability=min(float(p.max()), 1.0),
            probabilities=dict(zip(self.classes, p.tolist(), strict=True)),
            in_distribution=known,
            ood_score=float(row.ood_score[0]),
            ood_p_value=float(row.ood_p_value[0]),
            model=self.tags,
            timings=timings,
        )

    def _save(self, prediction: Prediction, data: bytes, correct: bool, label: str | None, note: str | None) -> int:
        keep = self.settings.keep_images == "feedback"
        entry = NewFeedback(
            prediction_id=prediction.prediction_id,
            correct=correct,
            label=None if correct else label,
            note=note or "",
            predicted_label=prediction.label,
            best_guess=prediction.best_guess,
            probability=prediction.probability,
            in_distribution=prediction.in_distribution,
            ood_p_value=prediction.ood_p_value,
            cnn_tag=prediction.model.cnn,
            image=archive_png(data) if keep else None,
        )
        return self._feedback.save(entry).id


def add_routes(app: FastAPI, calls: Callable[[], Handlers], settings: Settings) -> None:
    """Put the API on ``app``; ``calls`` gives the handlers once they exist."""

    @app.post("/classify", response_model=Prediction, openapi_extra=form_schema("image", many=False))
    async def classify(request: Request) -> Any:
        """Classify one photo: multipart field `image`."""
        [image] = await read_files(request, "image", 1)
        return JSONResponse(await calls().classify(image))

    @app.post("/classify_batch", openapi_extra=form_schema("images", many=True))
    async def classify_batch(request: Request) -> Any:
        """Classify many photos: multipart fields `images`; one Prediction or one error each, in order."""
        images = await read_files(request, "images", settings.max_files)
        answers = await calls().classify_many(images)
        return JSONResponse([a.body() if isinstance(a, ApiError) else a.model_dump() for a in answers])

    @app.post("/feedback")
    async def feedback(body: FeedbackRequest) -> dict[str, Any]:
        """Say whether a prediction was right. The same call twice stores once."""
        return await calls().feedback(body.prediction_id, body.correct, body.label, body.note)

    @app.post("/captures", openapi_extra=form_schema("images", many=True, text="label"))
    async def captures(request: Request) -> dict[str, Any]:
        """Owner only. Keep photos of one class for training: multipart fields `images`, and `label` for the class."""
        if from_another_site(request.headers) or not calls().is_owner(request.headers.get("authorization", "")):
            raise ApiError(403, "owner_only", "Only the owner of this service may add photos.")
        images, label = await read_form(request, "images", settings.max_files, "label")
        return await calls().capture(label, images)

    @app.get("/labels")
    async def labels() -> dict[str, Any]:
        """Class names, model tags and thresholds."""
        return await calls().labels()

    if settings.page:

        @app.get("/", include_in_schema=False)
        async def home() -> RedirectResponse:
            return RedirectResponse("/ui/")


def add_fallback(app: FastAPI) -> None:
    """Answer every path that nothing else answers in the JSON form; call it last."""

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def nothing_here(path: str) -> None:
        raise ApiError(404, "not_found", f"There is nothing at /{path[:200]}.")


def new_app(settings: Settings) -> FastAPI:
    """An empty application that answers every error in the JSON form of the API."""
    app = FastAPI(title="cifar", docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.add_middleware(Guard, settings=settings)

    @app.exception_handler(ApiError)
    async def known(_: Request, error: ApiError) -> JSONResponse:
        return error_response(error)

    @app.exception_handler(RequestValidationError)
    async def invalid(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"] if part != "body") or "body"
        return error_response(ApiError(422, "bad_fields", f"{field}: {first['msg']}"))

    @app.exception_handler(HTTPException)
    async def http(_: Request, error: HTTPException) -> JSONResponse:
        return error_response(ApiError(error.status_code, f"http_{error.status_code}", str(error.detail)))

    @app.exception_handler(Exception)
    async def unexpected(_: Request, error: Exception) -> JSONResponse:
        log.error("unexpected error", exc_info=error)
        return error_response(ApiError(500, "internal", "Something went wrong on the server; its log says what."))

    return app
