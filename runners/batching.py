"""Requests that arrive while the network is busy share its next call; one that finds it idle goes straight through."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable

import numpy as np
from numpy.typing import NDArray

from runners.pipeline import Scores
from runners.prediction import ApiError

Score = Callable[[NDArray[np.uint8]], Awaitable[Scores]]


class MicroBatcher:
    """Batches by what waits, never by the clock: no request is held back to fill a batch.

    One call of ``score`` runs at a time, on at most ``max_batch`` photos. More than ``max_queue`` waiting photos are
    refused with 503 and ``Retry-After``. Belongs to one event loop.
    """

    def __init__(self, score: Score, max_batch: int, max_queue: int) -> None:
        self._score, self._max_batch, self._max_queue = score, max_batch, max_queue
        self._waiting: deque[tuple[NDArray[np.uint8], asyncio.Future[Scores]]] = deque()
        self._worker: asyncio.Task[None] | None = None

    @property
    def depth(self) -> int:
        """Photos that wait."""
        return len(self._waiting)

    async def submit(self, photos: list[NDArray[np.uint8]]) -> list[Scores]:
        """Score photos, each uint8 (32, 32, 3); one `Scores` of length 1 per photo, in order.

        Raises:
            ApiError: 503 when the queue is full.
        """
        if len(self._waiting) + len(photos) > self._max_queue:
            raise ApiError(503, "overloaded", "The server is at capacity; try again shortly.", retry_after=1)
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Scores]] = [loop.create_future() for _ in photos]
        self._waiting.extend(zip(photos, futures, strict=True))
        if self._worker is None or self._worker.done():
            self._worker = loop.create_task(self._drain())
        return list(await asyncio.gather(*futures))

    async def _drain(self) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(self._max_batch, len(self._waiting)))]
            batch = [(photo, future) for photo, future in batch if not future.done()]  # the caller may have gone
            if not batch:
                continue
            try:
                scores = await self._score(np.stack([photo for photo, _ in batch]))
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
                continue
            for row, (_, future) in enumerate(batch):
                if not future.done():
                    future.set_result(scores[row : row + 1])
