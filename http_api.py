"""The routes of the HTTP API, and the application around them that answers every error in its JSON form."""

from __future__ import annotations

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, RedirectResponse, Response
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.exceptions import HTTPException
from starlette.routing import Match

from http_forms import form_schema, read_files, read_form
from http_guard import Guard, error_response, from_another_site
from http_handlers import Handlers
from http_health import Health
from http_metrics import Metrics
from http_models import (
    Alive,
    Captured,
    ErrorBody,
    Explanation,
    FeedbackRequest,
    FeedbackStored,
    FeedbackWithdrawn,
    Labels,
    Readiness,
)
from http_observe import Observe
from runners.prediction import ApiError, Prediction
from settings import Settings

_LIVE = {
    "name": "live",
    "in": "query",
    "required": False,
    "description": "one frame of many of one scene: not counted, not profiled, not kept",
    "schema": {"type": "boolean", "default": False},
}
_BOOLEAN = TypeAdapter(bool)
API_VERSION = "1"
"""Of the HTTP API, and not the product's, which no answer tells; it changes with the API, when it breaks callers."""
EVERYWHERE = (401, 403, 408, 413, 429, 500, 503)
"""Errors that any call may answer."""


class PhotoRoute(APIRoute):
    """A route whose endpoint takes the request alone and reads it itself: FastAPI's own way to an endpoint's
    parameters, of which it has none, would cost each photo time for nothing."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        return self.endpoint


def _errors(*codes: int) -> dict[int | str, dict[str, Any]]:
    """What OpenAPI says of the errors of a call: those ``codes``, and those that any call may answer."""
    return {code: {"model": ErrorBody} for code in (*codes, *EVERYWHERE)}


def add_routes(app: FastAPI, calls: Callable[[], Handlers], settings: Settings) -> None:
    """Put the API on ``app``; ``calls`` gives the handlers once they exist."""

    photos = APIRouter(route_class=PhotoRoute)

    @photos.post(
        "/classify",
        response_model=Prediction,
        responses=_errors(400, 415, 422),
        openapi_extra={**form_schema("image", many=False), "parameters": [_LIVE]},
    )
    async def classify(request: Request) -> Response:
        """Classify one photo."""
        live = _is_live(request)
        [image] = await read_files(request, "image", 1)
        answer = await calls().predict(image, live)
        _note(request, answer.prediction_id)
        return Response(answer.model_dump_json(), media_type="application/json")

    @photos.post(
        "/classify_batch",
        response_model=list[Prediction | ErrorBody],
        responses=_errors(422),
        openapi_extra=form_schema("images", many=True),
    )
    async def classify_batch(request: Request) -> Response:
        """Classify many photos: a prediction or an error for each, in order."""
        images = await read_files(request, "images", settings.max_files)
        answers = await calls().classify_many(images)
        _note(request, *(answer.prediction_id for answer in answers if isinstance(answer, Prediction)))
        texts = [json.dumps(a.body()) if isinstance(a, ApiError) else a.model_dump_json() for a in answers]
        return Response(f"[{','.join(texts)}]", media_type="application/json")

    app.include_router(photos)

    @app.post(
        "/explain",
        response_model=Explanation,
        responses=_errors(400, 415, 422),
        openapi_extra=form_schema("image", many=False),
    )
    async def explain(request: Request) -> Any:
        """Where in the photo the network saw its best guess, see below."""
        [image] = await read_files(request, "image", 1)
        return JSONResponse(await calls().explain(image))

    @app.post(
        "/preview",
        response_class=Response,
        responses={200: {"content": {"image/png": {}}}, **_errors(400, 415, 422)},
        openapi_extra=form_schema("image", many=False),
    )
    async def preview(request: Request) -> Response:
        """The photo as the network reads it: a PNG of 32×32."""
        [image] = await read_files(request, "image", 1)
        return Response(await calls().preview(image), media_type="image/png")

    @app.post("/feedback", response_model=FeedbackStored, responses=_errors(400, 404, 422))
    async def feedback(request: Request, body: FeedbackRequest) -> dict[str, Any]:
        """Say whether a prediction was right. The same call twice stores once, another answer replaces the first."""
        answer = await calls().feedback(body.prediction_id, body.correct, body.label, body.note)
        _note(request, body.prediction_id)
        return answer

    @app.delete("/feedback/{prediction_id}", response_model=FeedbackWithdrawn, responses=_errors(404, 422))
    async def withdraw(request: Request, prediction_id: str) -> dict[str, Any]:
        """Take feedback back: its row and its photo are deleted, reviewed or not, and train nothing."""
        answer = await calls().withdraw(prediction_id)
        _note(request, prediction_id)
        return answer

    @app.post(
        "/captures",
        response_model=Captured,
        responses=_errors(400, 415, 422),
        openapi_extra=form_schema("images", many=True, text="label"),
    )
    async def captures(request: Request) -> dict[str, Any]:
        """Owner only: keep photos of one class, `label`, for the next training, see below."""
        if from_another_site(request.headers) or not calls().is_owner(request.headers.get("authorization", "")):
            raise ApiError(403, "owner_only", "Only the owner of this service may add photos.")
        images, label = await read_form(request, "images", settings.max_files, "label")
        return await calls().capture(label, images)

    @app.get("/labels", response_model=Labels, responses=_errors())
    async def labels() -> dict[str, Any]:
        """Classes, model tags and thresholds."""
        return await calls().labels()

    if settings.page:

        @app.get("/", include_in_schema=False)
        async def home() -> RedirectResponse:
            return RedirectResponse("/ui/")


def add_probes(app: FastAPI, health: Health) -> None:
    """Put `/livez`, `/readyz` and `/metrics` on ``app``, which `new_app` made."""

    @app.get("/livez", response_model=Alive, responses=_errors())
    async def livez() -> dict[str, bool]:
        """The process answers."""
        return {"alive": True}

    @app.get(
        "/readyz",
        response_model=Readiness,
        responses={503: {"model": Readiness, "description": "no photo can be answered"}, 500: {"model": ErrorBody}},
    )
    async def readyz() -> JSONResponse:
        """Whether photos can be answered, and which parts work."""
        status, body = await health.report()
        return JSONResponse(body, status, {"Retry-After": "5"} if status == 503 else None)

    @app.get("/metrics", responses={200: {"content": {"text/plain": {}}}, **_errors()}, response_class=Response)
    def metrics() -> Response:
        """Prometheus' text, see below."""
        return Response(app.state.metrics.text(), media_type="text/plain; version=0.0.4; charset=utf-8")


def add_fallback(app: FastAPI) -> None:
    """Answer every path that nothing else answers in the JSON form; call it last."""
    routes = list(app.routes)

    @app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"], include_in_schema=False)
    async def nothing_here(request: Request, path: str) -> None:
        near = [route for route in routes if route.matches(request.scope)[0] == Match.PARTIAL]
        if near:
            allowed = sorted({method for route in near for method in getattr(route, "methods", None) or ()})
            raise HTTPException(405, "This path takes another method.", {"Allow": ", ".join(allowed)})
        raise ApiError(404, "not_found", f"There is nothing at /{path[:200]}.")


def new_app(settings: Settings) -> FastAPI:
    """An empty application that answers every error in the JSON form of the API; ``state.metrics`` counts."""
    app = FastAPI(title="cifar", version=API_VERSION, docs_url=None, redoc_url=None, openapi_url="/openapi.json")
    app.state.metrics = Metrics()
    app.add_middleware(Guard, settings=settings)
    app.add_middleware(Observe, metrics=app.state.metrics)

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
        response = error_response(ApiError(error.status_code, f"http_{error.status_code}", str(error.detail)))
        response.headers.update(error.headers or {})
        return response

    return app


def _is_live(request: Request) -> bool:
    """The query's ``live``, false where it says nothing; raises `ApiError` 422 for what is no boolean."""
    said = request.query_params.get("live")
    try:
        return said is not None and _BOOLEAN.validate_python(said)
    except ValidationError as error:
        raise ApiError(422, "bad_fields", f"query.live: {error.errors()[0]['msg']}") from None


def _note(request: Request, *prediction_ids: str) -> None:
    """Name predictions in the request's log line."""
    request.state.predictions.extend(prediction_ids)
