"""What a server process does when it is told to leave, before the server itself starts to."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable
from types import FrameType

RUNNER_SECONDS = 3.0
"""A runner goes on that long: its caller, told at the same time, still has photos to score."""


def when_told_to_leave(first: Callable[[], None], delay: float = 0.0) -> None:
    """On SIGTERM or SIGINT call ``first`` at once, and the handler of before (the server's) after ``delay`` seconds.

    Call it in the event loop of the main thread; elsewhere, as in tests, it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        return
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        before = signal.getsignal(number)

        def handle(number: int, frame: FrameType | None, before: object = before) -> None:
            loop.call_soon_threadsafe(first)
            if not callable(before):
                return
            if delay:
                loop.call_soon_threadsafe(loop.call_later, delay, before, number, frame)
            else:
                before(number, frame)

        signal.signal(number, handle)
