"""The served pair follows the champion: a new one is loaded beside the old one and takes over between two calls."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable

from http_handlers import Handlers, Serving
from http_metrics import Metrics
from runners.prediction import ModelTags
from runners.store import Served

log = logging.getLogger("cifar")

SLOWEST_RETRY = 300.0
"""Seconds between two tries of a champion that cannot be served; the first wait is the period, each next one double."""
LAST_CALL = 60.0
"""Seconds that calls of the old pair have to end before its window of monitoring is closed."""


class Reloader:
    """Looks every ``period`` seconds which pair ``pointer`` names, and serves it.

    ``load`` loads, verifies and warms a pair while the one before goes on answering; ``swapped`` is told of each that
    took over. Whatever they raise refuses the pair: it is logged, counted and tried again later. Belongs to one event
    loop.
    """

    def __init__(
        self,
        handlers: Handlers,
        pointer: Callable[[], Served],
        load: Callable[[Served], Awaitable[Serving]],
        swapped: Callable[[Serving], None],
        metrics: Metrics,
        period: float,
    ) -> None:
        self._handlers, self._pointer, self._load, self._swapped = handlers, pointer, load, swapped
        self._metrics, self._period = metrics, period
        self._refused: ModelTags | None = None
        self._again, self._wait = 0.0, period
        self._said = ""
        self._task: asyncio.Task[None] | None = None
        self._retiring: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Begin to look; call it in the event loop."""
        self._task = asyncio.get_running_loop().create_task(self._watch())

    def close(self) -> None:
        """Look no more; from any thread."""
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # the loop has ended, and the task with it
                self._task.get_loop().call_soon_threadsafe(self._task.cancel)

    async def look(self) -> bool:
        """Look now; whether a new pair took over."""
        try:
            wanted = await asyncio.to_thread(self._pointer)
        except Exception as error:  # whatever a store on a shared disk raises; what is served is not touched
            self._say(f"which pair to serve cannot be read: {error}")
            return False
        tags = ModelTags(cnn=wanted.cnn_tag, forest=wanted.forest_tag)
        if tags == self._handlers.serving.tags:
            self._refused, self._said = None, ""
            self._metrics.champion_is_served()
            return False
        if tags == self._refused and time.monotonic() < self._again:
            return False
        try:
            new = await self._load(wanted)
        except Exception as error:  # a damaged pair, a runner that is away, no memory: the old one goes on
            self._wait = min(2 * self._wait, SLOWEST_RETRY) if tags == self._refused else self._period
            self._refused, self._again = tags, time.monotonic() + self._wait
            self._metrics.reloaded(False)
            self._say(f"{tags.cnn} is not served, {self._handlers.serving.tags.cnn} goes on: {error}")
            return False
        old, self._handlers.serving = self._handlers.serving, new
        self._swapped(new)
        self._metrics.reloaded(True)
        self._refused, self._said = None, ""
        log.warning("%s is served in place of %s", new.tags.cnn, old.tags.cnn)
        retiring = asyncio.get_running_loop().create_task(_retire(old))
        self._retiring.add(retiring)
        retiring.add_done_callback(self._retiring.discard)
        return True

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._period)
            await self.look()

    def _say(self, sentence: str) -> None:
        """Log ``sentence`` unless it is what was logged last."""
        sentence = " ".join(sentence.split())
        if sentence != self._said:
            log.error("%s", sentence)
        self._said = sentence


async def _retire(old: Serving) -> None:
    """Close the last window of a pair once the calls that it began have ended."""
    end = time.monotonic() + LAST_CALL
    while old.calls and time.monotonic() < end:
        await asyncio.sleep(0.02)
    if old.recorder:
        await asyncio.to_thread(old.recorder.close)
