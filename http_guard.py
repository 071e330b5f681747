"""Who may call, and how much they may send: decided before anything reads the body."""

from __future__ import annotations

import base64
import hmac
from collections.abc import Mapping

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from runners.prediction import ApiError
from settings import Settings


class Guard:
    """Refuses bodies that are too large before they are read, and API calls without a token where one is set."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] == "/favicon.ico":  # asked for without the page's password
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        page = (scope["path"] + "/").startswith("/ui/")
        if not _is_caller(headers.get(b"authorization", b""), self._settings):
            error = ApiError(401, "unauthorised", "This service needs a token: Authorization: Bearer <token>.")
            response = error_response(error)
            if page:  # makes a browser ask for it
                response.headers["WWW-Authenticate"] = 'Basic realm="token as password", charset="UTF-8"'
            await response(scope, receive, send)
            return
        if page:  # Gradio limits its uploads itself
            await self._app(scope, receive, send)
            return
        limit = _body_limit(scope["path"], self._settings)
        too_large = ApiError(413, "too_many_bytes", f"The request is larger than {limit:,} bytes.")
        length = headers.get(b"content-length", b"")
        if length.isdigit() and int(length) > limit:
            await error_response(too_large)(scope, receive, send)
            return
        seen = 0

        async def counted() -> Message:
            nonlocal seen
            message = await receive()
            seen += len(message.get("body", b""))
            if seen > limit:
                raise too_large
            return message

        await self._app(scope, counted, send)


def is_owner(authorization: str, settings: Settings) -> bool:
    """Whether a request with this header ``Authorization`` comes from the service's owner.

    That is who has the owner's token; where no token is set at all, it is everyone.
    """
    if settings.owner_token is None:
        return not settings.api_tokens
    return _authorised(authorization.encode("latin-1"), (settings.owner_token.get_secret_value(),))


def from_another_site(headers: Mapping[str, str]) -> bool:
    """Whether a browser sends this request for a page of another site, which must not act in its user's name."""
    origin = headers.get("origin")
    return origin is not None and origin.partition("://")[2] != headers.get("host")


def _is_caller(header: bytes, settings: Settings) -> bool:
    if not settings.api_tokens:
        return True
    owner = (settings.owner_token.get_secret_value(),) if settings.owner_token else ()
    return _authorised(header, (*settings.api_tokens, *owner))


def _authorised(header: bytes, tokens: tuple[str, ...]) -> bool:
    """Whether ``header`` has a token: as bearer, or as the password of any name (what a browser can send)."""
    scheme, _, given = header.partition(b" ")
    if scheme.lower() == b"basic":
        try:
            given = base64.b64decode(given, validate=True).partition(b":")[2]
        except ValueError:
            return False
    elif scheme.lower() != b"bearer":
        return False
    matches = [hmac.compare_digest(given.strip(), token.encode()) for token in tokens]  # every one: constant time
    return any(matches)


def _body_limit(path: str, settings: Settings) -> int:
    overhead = 65_536
    if path == "/classify":
        return settings.max_upload_bytes + overhead
    if path in ("/classify_batch", "/captures"):
        return settings.max_batch_bytes + overhead
    return overhead


def error_response(error: ApiError) -> JSONResponse:
    """``error`` in the JSON form of the API."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
    return JSONResponse(error.body(), error.status, headers)
