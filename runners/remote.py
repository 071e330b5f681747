"""Network and gate as services of their own, from the caller's side: arrays as .npy bytes, failures as 503."""

from __future__ import annotations

import asyncio
import io
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runners.pipeline import Scores, combine

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from runners.batching import Score

CALL_SECONDS = 5.0
"""A runner that takes longer is as good as gone."""
READY_SECONDS = 0.5
"""One that is there says so in this time."""
KEEP_SESSION: dict[str, Any] = {"max_requests": 2**62, "max_age": 1e12}
"""BentoML's client closes its session after so many requests with others still in flight, which fails them. Never is
best."""
QUIET: dict[str, Any] = {"metrics": {"enabled": False}, "logging": {"access": {"enabled": False}}}
"""Configuration of a BentoML service that leaves counting and logging requests to the one that asks it."""


def to_npy(array: NDArray[Any]) -> bytes:
    """``array`` in numpy's .npy format, which holds no code, unlike the pickle that BentoML would send."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def from_npy(data: bytes) -> NDArray[Any]:
    """The array of `to_npy`; ValueError for anything else, a pickle included."""
    return np.load(io.BytesIO(data), allow_pickle=False)


def remote_score(cnn: Any, forest: Any, classes: int, temperature: float) -> Score:
    """The `Score` that asks the BentoML services ``cnn`` and ``forest``; raises when they cannot answer.

    After a failure it asks whether they are there first: a call waits in the socket of one that restarts, until it
    has, and so would all who wait for that call.
    """
    away = False

    async def ask(pixels: NDArray[np.uint8]) -> Scores:
        outputs = from_npy(await cnn.to_async.infer(to_npy(pixels)))
        logits, embedding = np.split(outputs, [classes], axis=1)
        verdict = from_npy(await forest.to_async.score(to_npy(outputs)))
        return combine(logits, embedding, (verdict[:, 0], verdict[:, 1]), temperature)

    async def score(pixels: NDArray[np.uint8]) -> Scores:
        nonlocal away
        if away and not await remote_ready((cnn, forest)):
            raise ConnectionError("a runner is away")
        away = True
        async with asyncio.timeout(CALL_SECONDS):
            scores = await ask(pixels)
        away = False
        return scores

    return score


async def remote_ready(runners: Iterable[Any]) -> bool:
    """Whether every one of the services answers."""

    async def ready(runner: Any) -> bool:
        try:
            async with asyncio.timeout(READY_SECONDS):
                return bool(await runner.to_async.is_ready(1))
        except Exception:  # no connection, a closed one, no answer in time: all the same to the caller
            return False

    return all(await asyncio.gather(*map(ready, runners)))


class NoPickle:
    """Refuses what BentoML would unpickle: whoever reaches a runner's socket shall not run code in it."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and any(
            name == b"content-type" and b"pickle" in value.lower() for name, value in scope["headers"]
        ):
            from starlette.responses import PlainTextResponse

            await PlainTextResponse("unsupported", 415)(scope, receive, send)
            return
        await self._app(scope, receive, send)
