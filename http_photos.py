"""Decoding while others are served: off the event loop, bounded in time, in number and in memory."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from runners.batching import overloaded
from runners.images import Photo, decode, open_photo, read_photo
from runners.prediction import ApiError
from settings import Settings

INLINE_BYTES, INLINE_PIXELS = 32_768, 262_144
"""Photos up to both decode in a few milliseconds at most, mostly far less: cheaper than a hop to a thread."""
LARGE_PIXELS = 8_000_000
"""Photos above it decode one at a time: 50 million pixels with transparency take 800 MB for a moment."""
TOGETHER = 8
"""So many photos of one request decode here until the others get a turn, and the network the photos."""
BUDGET = 4.0
"""All photos of one request together may take so many times the limit of one."""


class Decoder:
    """Bytes to `Photo`, within the limits of ``settings``; for one event loop."""

    def __init__(self, settings: Settings, threads: int | None = None) -> None:
        self._settings = settings
        threads = threads or min(4, os.cpu_count() or 1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="decoder")
        self._free = asyncio.Semaphore(threads)
        self._large = threading.Lock()
        self._turn = asyncio.Lock()
        self._waiting = 0

    async def turn(self) -> None:
        """Wait until nothing was decoded here in this round of the event loop.

        A round sees many requests at once under load. Would it decode them all, the network, which is done by then,
        would stand idle, and who comes later would learn too late that there is no room.

        Raises:
            ApiError: 503 ``overloaded`` when as many wait as may wait for the network, or after ``max_wait_seconds``.
        """
        if self._waiting >= self._settings.max_queue:
            raise overloaded()
        self._waiting += 1
        try:
            async with asyncio.timeout(self._settings.max_wait_seconds):
                await self._turn.acquire()
        except TimeoutError:
            raise overloaded() from None
        finally:
            self._waiting -= 1
        asyncio.get_running_loop().call_soon(self._turn.release)

    def deadline(self) -> float:
        """Until when, on the event loop's clock, the photos of a request that begins now may be decoded."""
        return asyncio.get_running_loop().time() + BUDGET * self._settings.decode_seconds

    async def read_all(self, uploads: Sequence[bytes], end: float | None = None) -> list[Photo | ApiError]:
        """A photo or an error per upload, in order; the caller has had a `turn`, which lasts for `TOGETHER` of them.

        ``end``: the `deadline` of the request whose photos they are.

        Raises:
            ApiError: 503 ``overloaded`` when no decoder was free for ``max_wait_seconds``.
        """
        loop = asyncio.get_running_loop()
        end = self.deadline() if end is None else end
        photos: list[Photo | ApiError] = []
        for data in uploads:
            try:
                if loop.time() > end:
                    raise _too_slow()
                photos.append(self._read_here(data) or await self._read_in_thread(data))
            except ApiError as error:
                if error.status == 503:
                    raise
                photos.append(error)
        return photos

    def read(self, data: bytes) -> Photo:
        """Decode ``data`` in the calling thread; raises like `runners.images.read_photo`."""
        limits = self._settings
        return read_photo(
            data, max_bytes=limits.max_upload_bytes, max_pixels=limits.max_pixels, seconds=limits.decode_seconds
        )

    def _read_here(self, data: bytes) -> Photo | None:
        """A small photo; None for one that takes longer: its header tells, since few bytes may hold many pixels."""
        if len(data) > INLINE_BYTES:
            return None
        with open_photo(data, self._settings.max_upload_bytes, self._settings.max_pixels) as image:
            return decode(image) if image.width * image.height <= INLINE_PIXELS else None

    async def _read_in_thread(self, data: bytes) -> Photo:
        try:
            async with asyncio.timeout(self._settings.max_wait_seconds):
                await self._free.acquire()
        except TimeoutError:
            raise overloaded() from None
        work = asyncio.get_running_loop().run_in_executor(self._pool, self._read_alone_if_large, data)
        # Freed when the thread is done, not when we stop waiting: a thread cannot be stopped.
        work.add_done_callback(self._done)
        done, _ = await asyncio.wait({work}, timeout=self._settings.decode_seconds)
        if not done:
            raise _too_slow()
        return work.result()

    def _done(self, work: asyncio.Future[Photo]) -> None:
        self._free.release()
        if not work.cancelled():
            work.exception()  # seen, so that a late one is no warning

    def _read_alone_if_large(self, data: bytes) -> Photo:
        limits = self._settings
        with open_photo(data, limits.max_upload_bytes, limits.max_pixels) as image:
            large = image.width * image.height > LARGE_PIXELS
        if not large:
            return self.read(data)
        if not self._large.acquire(timeout=limits.max_wait_seconds):
            raise overloaded()
        try:
            return self.read(data)
        finally:
            self._large.release()


def _too_slow() -> ApiError:
    return ApiError(413, "too_slow", "The photo takes too long to decode.")
