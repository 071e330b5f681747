"""Who may call, how often, and how much they may send: decided before anything reads the body."""

from __future__ import annotations

import asyncio
import base64
import hmac
import ipaddress
from collections.abc import Mapping

from fastapi.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from http_rate import RateLimiter
from runners.batching import overloaded
from runners.prediction import ApiError
from settings import Settings

OPEN_PATHS = ("/livez", "/readyz", "/favicon.ico")
"""Need no token and are never refused: probes have none, and browsers ask for the icon without the page's password."""
SILENCE_SECONDS, BODY_SECONDS = 10.0, 50.0
"""Longest pause within a body, and longest time for all of it: a slow one holds memory."""
PHOTO_PATHS = ("/classify", "/classify_batch")
REFUSE_AFTER, MOST_HELD_BACK = 0.4, 1000
"""Who finds no room hears of it a little later: callers that try again at once would keep the event loop from those
who have room. That many wait for it; any more are told at once."""
OVERHEAD = 65_536
"""Largest JSON body; and what the frame of a multipart form may add to its files."""


class Guard:
    """Refuses calls without a token where one is set, too frequent calls, and bodies that are too large or too slow."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self._app, self._settings = app, settings
        self._rate = RateLimiter(settings.rate_limit)
        self._held = 0
        self._classifying = self._held_back = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":  # nothing here speaks it
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http" or scope["path"] in OPEN_PATHS:
            await self._app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        page = is_page(scope["path"])
        if refusal := self._who_and_how_often(scope, headers, page):
            await refusal(scope, receive, send)
            return
        if scope["path"] not in PHOTO_PATHS:
            await self._unless_too_large(scope, receive, send, headers, page)
        elif self._classifying >= self._settings.max_queue:
            # Each has a photo at least, so this one has no room: told before its body is read, which costs the most.
            await self._send_away(scope, receive, send)
        else:
            self._classifying += 1
            try:
                await self._unless_too_large(scope, receive, send, headers, page)
            finally:
                self._classifying -= 1

    async def _send_away(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse for want of room, a little later."""
        if self._held_back < MOST_HELD_BACK:
            self._held_back += 1
            try:
                await asyncio.sleep(REFUSE_AFTER)
            finally:
                self._held_back -= 1
        await error_response(overloaded())(scope, receive, send)

    async def _unless_too_large(
        self, scope: Scope, receive: Receive, send: Send, headers: Mapping[bytes, bytes], page: bool
    ) -> None:
        limit = _body_limit(scope["path"], self._settings)
        length = headers.get(b"content-length", b"")
        declared = int(length) if length.isdigit() and len(length) < 20 else 0
        if declared > limit:
            await error_response(_too_large(limit))(scope, receive, send)
        elif not page and self._held + declared > self._settings.max_held_bytes:
            await self._send_away(scope, receive, send)
        else:  # Gradio writes the page's uploads to disk as they come
            await self._read(scope, receive, send, limit, holds=not page)

    def _who_and_how_often(self, scope: Scope, headers: Mapping[bytes, bytes], page: bool) -> JSONResponse | None:
        client = scope.get("client")
        seconds = self._rate.wait(client[0] if client else None)
        if seconds is not None:
            return error_response(ApiError(429, "too_many_requests", "You send too many requests.", seconds))
        open_door = not self._settings.api_tokens and not self._settings.allow_anonymous
        if open_door and not _is_this_machine(headers.get(b"host", b"").decode("latin-1")):
            message = "Without a token this service answers to localhost only, by whatever way a request comes."
            return error_response(ApiError(403, "not_localhost", message))
        if _is_caller(headers.get(b"authorization", b""), self._settings):
            return None
        error = ApiError(401, "unauthorised", "This service needs a token: Authorization: Bearer <token>.")
        response = error_response(error)  # Basic makes a browser ask for the token
        scheme = 'Basic realm="token as password", charset="UTF-8"' if page else "Bearer"
        response.headers["WWW-Authenticate"] = scheme
        return response

    async def _read(self, scope: Scope, receive: Receive, send: Send, limit: int, *, holds: bool) -> None:
        """Call the application, with a body that ends it when it is too large or too slow, or all of them are too many.

        If it ``holds`` its body, bytes count from their arrival until the request is answered. Announcing many is no
        way to keep others out.
        """
        seen, held, complete, started = 0, 0, False, False
        loop = asyncio.get_running_loop()
        deadline = loop.time() + BODY_SECONDS
        fault: ApiError | None = None

        async def counted() -> Message:
            nonlocal seen, held, complete, fault
            if complete:
                return await receive()
            try:
                async with asyncio.timeout_at(min(deadline, loop.time() + SILENCE_SECONDS)):
                    message = await receive()
            except TimeoutError:
                fault = ApiError(408, "too_slow_upload", "The body of the request arrives too slowly.")
                raise fault from None
            seen += len(message.get("body", b""))
            complete = not message.get("more_body", False)
            if holds:
                self._held += seen - held
                held = seen
            if seen > limit:
                fault = _too_large(limit)
            elif holds and self._held > self._settings.max_held_bytes:
                fault = overloaded()
            if fault:
                raise fault
            return message

        async def unless_refused(message: Message) -> None:
            nonlocal started
            if fault is None or started:
                started = True
                await send(message)

        try:
            await self._app(scope, counted, unless_refused)
        except Exception:
            if fault is None:
                raise
        finally:
            self._held -= held
        if fault and not started:  # whatever the application made of it
            refuse = self._send_away if fault.status == 503 else error_response(fault)
            await refuse(scope, receive, send)


def is_page(path: str) -> bool:
    """Whether ``path`` is the page's and not the API's."""
    return (path + "/").startswith("/ui/")


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


def error_response(error: ApiError) -> JSONResponse:
    """``error`` in the JSON form of the API."""
    headers = {"Retry-After": str(error.retry_after)} if error.retry_after else None
    return JSONResponse(error.body(), error.status, headers)


def _is_this_machine(host: str) -> bool:
    """Whether a request's ``Host`` is this machine, or missing as no browser leaves it.

    A site may point its own name at 127.0.0.1 (DNS rebinding), and a proxy may stand in front without a password.
    """
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdigit() else host
    name = name.strip("[]").lower()
    if name in ("", "localhost") or name.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False


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
    if path in ("/classify", "/explain", "/preview"):
        return settings.max_upload_bytes + OVERHEAD
    if path in ("/classify_batch", "/captures") or is_page(path):
        return settings.max_batch_bytes + OVERHEAD
    return OVERHEAD


def _too_large(limit: int) -> ApiError:
    return ApiError(413, "too_many_bytes", f"The request is larger than {limit:,} bytes.")
