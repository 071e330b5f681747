"""Requests that arrive while the network is busy share its next call; one that finds it idle goes straight through."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Awaitable, Callable

import numpy as np
from numpy.typing import NDArray

from runners.pipeline import Scores
from runners.prediction import ApiError

log = logging.getLogger("cifar")

Score = Callable[[NDArray[np.uint8]], Awaitable[Scores]]
ScoreHere = Callable[[NDArray[np.uint8]], Scores]
"""The same in the calling thread, which it blocks."""


class _Request:
    """The photos of one `MicroBatcher.submit`; a timer ends its wait until the first of them is taken."""

    __slots__ = ("_timer", "futures")

    def __init__(self, photos: int, patience: float | None, loop: asyncio.AbstractEventLoop) -> None:
        self.futures: list[asyncio.Future[Scores]] = [loop.create_future() for _ in range(photos)]
        self._timer = None if patience is None else loop.call_later(patience, self._give_up)

    def taken(self) -> None:
        if self._timer:
            self._timer.cancel()

    def _give_up(self) -> None:
        for future in self.futures:
            if not future.done():
                future.set_exception(overloaded())


class MicroBatcher:
    """Batches by what waits, never by the clock: no request is held back to fill a batch.

    One call of ``score`` runs at a time, on at most ``max_batch`` photos. A request is refused with 503 and
    ``Retry-After`` at once when more than ``max_queue`` photos would wait, and after ``max_wait`` seconds when none of
    its photos has had its turn. ``observe`` is told photos and seconds of each call. ``here`` takes the place of
    ``score`` for who is `alone`. Belongs to one event loop.
    """

    def __init__(
        self,
        score: Score,
        max_batch: int,
        max_queue: int,
        max_wait: float = 0.8,
        observe: Callable[[int, float], None] | None = None,
        here: ScoreHere | None = None,
    ) -> None:
        self._here = here
        self._score, self._max_batch, self._max_queue, self._max_wait = score, max_batch, max_queue, max_wait
        self._observe = observe
        self._waiting: deque[tuple[NDArray[np.uint8], asyncio.Future[Scores], _Request]] = deque()
        self._worker: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        """Photos that wait."""
        return len(self._waiting)

    async def submit(
        self,
        photos: list[NDArray[np.uint8]],
        waited: float = 0.0,
        *,
        coming: int = 0,
        let_in: bool = False,
        alone: bool = False,
    ) -> list[Scores]:
        """Score photos, each uint8 (32, 32, 3); one `Scores` of length 1 per photo, in order.

        ``waited``: seconds of ``max_wait`` that are over already. ``coming``: so many more of them follow, for which
        there has to be room too. ``let_in``: these are such; they are neither refused nor timed. ``alone``: nobody else
        is being answered, so that one photo is scored at once and in this thread: to go to another and back takes a
        tenth of what a photo takes.

        Raises:
            ApiError: 503 ``overloaded`` when the queue is full or the wait too long, 503 ``network_unavailable`` when
                the call of ``score`` failed.
        """
        if not let_in and len(self._waiting) + len(photos) + coming > self._max_queue:
            raise overloaded()
        if alone and self._here and len(photos) == 1 and not self._busy:
            return [self._at_once(self._here, photos[0])]
        loop = asyncio.get_running_loop()
        request = _Request(len(photos), None if let_in else max(0.0, self._max_wait - waited), loop)
        self._waiting.extend((photo, future, request) for photo, future in zip(photos, request.futures, strict=True))
        if not self._busy:
            self._worker = loop.create_task(self._drain())
        try:
            return list(await asyncio.gather(*request.futures))
        finally:
            request.taken()

    @property
    def _busy(self) -> bool:
        return self._worker is not None and not self._worker.done()

    def _at_once(self, score: ScoreHere, photo: NDArray[np.uint8]) -> Scores:
        start = time.perf_counter()
        try:
            scores = score(photo[None])
        except Exception as error:
            raise _unavailable(error) from error
        if self._observe:
            self._observe(1, time.perf_counter() - start)
        return scores

    async def _drain(self) -> None:
        while self._waiting:
            batch: list[tuple[NDArray[np.uint8], asyncio.Future[Scores]]] = []
            while self._waiting and len(batch) < self._max_batch:
                photo, future, request = self._waiting.popleft()
                if not future.done():  # the caller may have gone, or waited too long
                    request.taken()
                    batch.append((photo, future))
            if not batch:
                return
            start = time.perf_counter()
            try:
                scores = await self._score(np.stack([photo for photo, _ in batch]))
            except Exception as error:
                _fail([future for _, future in batch], error)
                continue
            if self._observe:
                self._observe(len(batch), time.perf_counter() - start)
            for row, (_, future) in enumerate(batch):
                if not future.done():
                    future.set_result(scores[row : row + 1])


def overloaded() -> ApiError:
    """What a request is told that finds no room."""
    return ApiError(503, "overloaded", "The server is at capacity; try again shortly.", retry_after=1)


def _unavailable(error: Exception) -> ApiError:
    """What those are told who waited for a failed call of the network: no fault of theirs, and the next may succeed."""
    log.error("the network's call failed: %s: %s", type(error).__name__, error)
    return ApiError(503, "network_unavailable", "The network cannot answer right now; try again.", 2)


def _fail(futures: list[asyncio.Future[Scores]], error: Exception) -> None:
    told = _unavailable(error)
    for future in futures:
        if not future.done():
            failed = ApiError(told.status, told.code, told.message, told.retry_after)  # each raises its own
            failed.__cause__ = error
            future.set_exception(failed)
