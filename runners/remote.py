"""Network and gate as services of their own, from the caller's side: arrays as .npy bytes, failures as 503."""

from __future__ import annotations

import asyncio
import io
import tempfile
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runners.pipeline import Scores, combine

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

    from runners.batching import Score
    from runners.prediction import ModelTags

CALL_SECONDS = 5.0
"""A runner that takes longer is as good as gone."""
READY_SECONDS = 0.5
"""One that is there says so in this time."""
KEEP_SESSION: dict[str, Any] = {"max_requests": 2**62, "max_age": 1e12}
"""BentoML's client closes its session after so many requests with others still in flight, which fails them. Never is
best. `test_remote` fails once upstream has mended it."""
PREPARE_SECONDS = 60.0
"""Longest loading of a new pair; the old one answers meanwhile."""
QUIET: dict[str, Any] = {
    "metrics": {"enabled": False},
    "logging": {"access": {"enabled": False}},
    "tracing": {"excluded_urls": ".*"},
}
"""Configuration of a BentoML service that leaves counting, logging and tracing requests to the one that asks it."""


def to_npy(array: NDArray[Any]) -> bytes:
    """``array`` in numpy's .npy format, which holds no code, unlike the pickle that BentoML would send."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def from_npy(data: bytes) -> NDArray[Any]:
    """The array of `to_npy`; ValueError for anything else, a pickle included."""
    return np.load(io.BytesIO(data), allow_pickle=False)


def to_named(tag: str, array: NDArray[Any]) -> bytes:
    """``array`` for the model ``tag``: a runner has two of them while the champion changes."""
    return tag.encode() + b"\n" + to_npy(array)


def from_named(data: bytes) -> tuple[str, NDArray[Any]]:
    """Tag and array of `to_named`; ValueError for anything else."""
    tag, _, array = data.partition(b"\n")
    return tag.decode(), from_npy(array)


def remote_score(cnn: Any, forest: Any, tags: ModelTags, classes: int, temperature: float) -> Score:
    """The `Score` that asks the BentoML services ``cnn`` and ``forest`` for the pair ``tags``; raises when they cannot
    answer, a runner that does not have its half of the pair included: never is one network's gate asked for another.

    After a failure it asks whether they are there first: a call waits in the socket of one that restarts, until it
    has, and so would all who wait for that call.
    """
    away = False

    async def ask(pixels: NDArray[np.uint8]) -> Scores:
        outputs = from_npy(await cnn.to_async.infer(to_named(tags.cnn, pixels)))
        logits, embedding = np.split(outputs, [classes], axis=1)
        verdict = from_npy(await forest.to_async.score(to_named(tags.forest, outputs)))
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


def keep_reachable() -> tempfile.TemporaryDirectory[str]:
    """Give the sockets of the runners a second name each, by which BentoML's clients of this process find them.

    The first one is taken away as soon as the server is told to leave, while photos in flight are still to be scored
    and a connection that was idle for five seconds has been closed; the runner listens as long as it runs. Call it
    before a runner is asked; clean the folder up when none will be asked any more.
    """
    from bentoml._internal.configuration.containers import BentoMLContainer
    from bentoml._internal.utils.uri import path_to_uri, uri_to_path

    folder = tempfile.TemporaryDirectory(prefix="cifar-runners-")
    places: dict[str, str] = BentoMLContainer.remote_runner_mapping.get()
    for name, place in places.items():
        if place.startswith("file:"):  # else they are elsewhere, or on a port
            path = Path(folder.name, name)
            path.hardlink_to(uri_to_path(place))
            places[name] = path_to_uri(str(path))
    return folder


async def remote_ready(runners: Iterable[Any]) -> bool:
    """Whether every one of the services answers."""

    async def ready(runner: Any) -> bool:
        try:
            async with asyncio.timeout(READY_SECONDS):
                return bool(await runner.to_async.is_ready(1))
        except Exception:  # no connection, a closed one, no answer in time: all the same to the caller
            return False

    return all(await asyncio.gather(*map(ready, runners)))


async def remote_prepare(cnn: Any, forest: Any, tags: ModelTags, seconds: float) -> None:
    """Have both services load and warm the pair ``tags``, unless they have it; raises when one cannot in time.

    The tags go as bytes: BentoML's client would pickle a named argument.
    """
    async with asyncio.timeout(seconds):
        await asyncio.gather(cnn.to_async.prepare(tags.cnn.encode()), forest.to_async.prepare(tags.forest.encode()))


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
