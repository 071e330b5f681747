"""Between BentoML's server and our application: where it may listen, which requests go where, how answers end."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from settings import BadSettingError, Settings


class Entrance:
    """Takes every request past BentoML's server to our application; what is no request (the lifespan) goes to it.

    BentoML's own routes tell its version and schema, its `/readyz` answers 500 while a runner restarts, and its router
    matches every request twice. Its middleware has every answer made by a task of its own and leaves a timer behind for
    60 s, so when the lifespan begins, before any request, this steps in front of it (`http_observe` has the timer).
    """

    def __init__(self, app: ASGIApp, to: ASGIApp) -> None:
        self._bentoml, self._ours = app, to

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] in ("http", "websocket"):
            await self._ours(scope, receive, send)
            return
        server = scope["app"]
        if not isinstance(server.middleware_stack, Entrance):
            server.middleware_stack = Entrance(server.middleware_stack, self._ours)
        await self._bentoml(scope, receive, send)


class Door:
    """Stands for the ASGI application ``app`` until the worker has made it, which other processes never do."""

    app: ASGIApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.app is None:
            raise RuntimeError("The application is asked before it is made.")
        await self.app(scope, receive, send)


class EndsStreams:
    """Ends the page's endless answers (its heartbeats) when the server leaves: it waits for every open answer."""

    def __init__(self, app: ASGIApp, leaving: asyncio.Event) -> None:
        self._app, self._leaving = app, leaving

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or "/heartbeat/" not in scope["path"]:
            await self._app(scope, receive, send)
            return

        async def until_leaving() -> Message:
            message = asyncio.ensure_future(receive())
            left = asyncio.ensure_future(self._leaving.wait())
            try:
                await asyncio.wait({message, left}, return_when=asyncio.FIRST_COMPLETED)
                return message.result() if message.done() else {"type": "http.disconnect"}
            finally:
                message.cancel()
                left.cancel()

        await self._app(scope, until_leaving, send)


def refuse_open_door(settings: Settings, addresses: list[str]) -> None:
    """Raise `BadSettingError` when one of the IP ``addresses`` is open to other machines and no token is set."""
    if settings.api_tokens or settings.allow_anonymous:
        return
    for address in addresses:
        if not ipaddress.ip_address(address.partition("%")[0]).is_loopback:
            raise BadSettingError(
                f"{address} is open to other machines: set CIFAR_API_TOKENS, or CIFAR_ALLOW_ANONYMOUS=true to let "
                "everyone in"
            )


def chosen_address() -> str | None:
    """The address that the running command `bentoml serve` was told to bind; None for its default, or another command.

    Raises:
        BadSettingError: it is no IP address.
    """
    import click

    context = click.get_current_context(silent=True)
    host = context.params.get("host") if context else None
    if not host:
        return None
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        raise BadSettingError(f"--host: {host} is no IP address") from None


def listening_addresses() -> list[str]:
    """The addresses of all TCP sockets that listen in this process, however it was told of them."""
    import psutil

    found = psutil.Process().net_connections(kind="inet")
    return [
        entry.laddr.ip for entry in found if entry.type == socket.SOCK_STREAM and entry.status == psutil.CONN_LISTEN
    ]
