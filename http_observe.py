"""Around every request: security headers, a count, a log line, a span; and an answer whatever goes wrong inside."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from datetime import UTC, datetime

from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from http_guard import error_response, is_page
from http_metrics import Metrics
from http_trace import request_span
from runners.prediction import ApiError

log = logging.getLogger("cifar")
request_log = logging.getLogger("cifar.requests")

ANSWER_SECONDS = 60.0
"""Until when an answer must have begun. Whatever a request waits for has a shorter limit, but for what has none: a
folder on a disk that hangs."""

_EVERYWHERE = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}
API_HEADERS = {
    **_EVERYWHERE,
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
PAGE_HEADERS = {
    **_EVERYWHERE,
    # Gradio's page has inline scripts and styles, and makes functions of our few lines of JavaScript with `eval`.
    "Content-Security-Policy": "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; media-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' data: blob:; worker-src 'self' blob:; object-src 'none'; "
    "base-uri 'self'; form-action 'self'; frame-ancestors 'none'",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
}


def _raw(headers: dict[str, str]) -> list[tuple[bytes, bytes]]:
    """As ASGI has them."""
    return [(name.lower().encode(), value.encode()) for name, value in headers.items()]


_API_RAW, _PAGE_RAW = _raw(API_HEADERS), _raw(PAGE_HEADERS)


class Observe:
    """The outermost middleware: nothing is answered without its headers, and no fault passes it untold."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status = time.perf_counter(), 0
        state = scope.setdefault("state", {})
        predictions: list[str] = []
        state["predictions"] = predictions
        extra = _PAGE_RAW if is_page(scope["path"]) else _API_RAW

        async def with_headers(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = list(message.get("headers", ()))
                given = {name for name, _ in headers}
                message["headers"] = [*headers, *(pair for pair in extra if pair[0] not in given)]
            await send(message)

        with self._metrics.in_progress(), request_span(scope) as span:
            try:
                await _in_time(self._app, scope, receive, with_headers)
            except ClientDisconnect:  # nobody is there to answer
                pass
            except _LateError:
                log.error("no answer after %g s: %s %s", ANSWER_SECONDS, scope["method"][:16], scope["path"][:200])
                if not status:
                    late = ApiError(503, "no_answer", "The server found no answer in time; try again.", 5)
                    await error_response(late)(scope, receive, with_headers)
            except Exception as error:
                log.error("unexpected error", exc_info=error)
                if not status:
                    internal = ApiError(500, "internal", "Something went wrong on the server; its log says what.")
                    await error_response(internal)(scope, receive, with_headers)
            span.set_attribute("http.response.status_code", status)
        seconds = time.perf_counter() - start
        self._metrics.request(scope["method"], scope["path"], status, seconds)
        if request_log.isEnabledFor(logging.INFO):
            request_log.info(_line(scope, status, seconds, predictions))


class _LateError(Exception):
    """No answer had begun in time."""


async def _in_time(app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
    """Call ``app``; raises `_LateError` when it has not begun to answer after `ANSWER_SECONDS`, and ends it."""

    async def begun(message: Message) -> None:
        if not limit.expired():
            limit.reschedule(None)
        await send(message)

    limit = asyncio.timeout(ANSWER_SECONDS)
    try:
        async with limit:
            await app(scope, receive, begun)
    except TimeoutError:
        if limit.expired():
            raise _LateError from None
        raise


def log_requests() -> None:
    """Write the lines of `Observe` to standard output, one JSON object each and nothing around it."""
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(logging.Formatter("%(message)s"))
    request_log.handlers = [handler]
    request_log.setLevel(logging.INFO)
    request_log.propagate = False


def _line(scope: Scope, status: int, seconds: float, predictions: list[str]) -> str:
    """One request as JSON. No address, file name or content: a log outlives what its people agreed to."""
    line: dict[str, object] = {
        "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
        "method": scope["method"][:16],
        "path": scope["path"][:200],
        "status": status,
        "ms": round(seconds * 1000, 2),
    }
    if len(predictions) == 1:
        line["prediction_id"] = predictions[0]
    elif predictions:
        line["prediction_ids"] = predictions
    return json.dumps(line)
