"""The batcher: nothing held back when idle, calls shared when busy, a full queue answered at once."""

from __future__ import annotations

import asyncio

import numpy as np
import pytest

from runners.batching import MicroBatcher
from runners.pipeline import Scores
from runners.prediction import ApiError
from tests.serving import in_jumping_time


def scores(pixels: np.ndarray) -> Scores:
    n = len(pixels)
    mark = pixels[:, 0, 0, 0].astype(np.float32)
    return Scores(np.ones((n, 2), np.float32) / 2, mark[:, None], mark, mark, mark)


def photo(mark: int) -> np.ndarray:
    return np.full((32, 32, 3), mark, np.uint8)


class Recording:
    def __init__(self) -> None:
        self.batches: list[int] = []

    async def __call__(self, pixels: np.ndarray) -> Scores:
        self.batches.append(len(pixels))
        await asyncio.sleep(0.01)
        if (pixels == 255).any():
            raise RuntimeError("the network failed")
        return scores(pixels)


def test_waiting_photos_share_a_call_and_each_gets_its_own_row() -> None:
    async def main() -> None:
        score = Recording()
        batcher = MicroBatcher(score, max_batch=8, max_queue=100)
        answers = await asyncio.gather(*(batcher.submit([photo(i)]) for i in range(20)))
        assert [float(a[0].energy[0]) for a in answers] == list(range(20))
        assert max(score.batches) == 8
        assert sum(score.batches) == 20

    asyncio.run(main())


def test_one_lone_photo_is_scored_alone() -> None:
    async def main() -> None:
        score = Recording()
        await MicroBatcher(score, 8, 100).submit([photo(1)])
        assert score.batches == [1]

    asyncio.run(main())


def test_who_is_alone_is_answered_in_the_calling_thread_and_who_is_not_waits_his_turn() -> None:
    here: list[int] = []
    seen: list[int] = []

    def at_once(pixels: np.ndarray) -> Scores:
        here.append(int(pixels[0, 0, 0, 0]))
        if (pixels == 255).any():
            raise RuntimeError("the network failed")
        return scores(pixels)

    async def main() -> None:
        score = Recording()
        batcher = MicroBatcher(score, 8, 100, observe=lambda photos, _: seen.append(photos), here=at_once)
        [answer] = await batcher.submit([photo(1)], alone=True)
        assert (float(answer.energy[0]), here, score.batches, seen) == (1.0, [1], [], [1])
        with pytest.raises(ApiError) as raised:
            await batcher.submit([photo(255)], alone=True)
        assert (raised.value.status, raised.value.code) == (503, "network_unavailable")
        busy = asyncio.create_task(batcher.submit([photo(2)]))
        while not score.batches:
            await asyncio.sleep(0)
        await batcher.submit([photo(3)], alone=True)
        await batcher.submit([photo(4), photo(5)], alone=True)
        await busy
        assert (here, score.batches) == ([1, 255], [1, 1, 2])

    asyncio.run(main())


def test_a_full_queue_is_answered_503_with_retry_after() -> None:
    async def main() -> None:
        batcher = MicroBatcher(Recording(), max_batch=1, max_queue=4)
        waiting = [asyncio.create_task(batcher.submit([photo(i)])) for i in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(ApiError) as raised:
            await batcher.submit([photo(9)] * 4)
        assert (raised.value.status, raised.value.retry_after) == (503, 1)
        assert len(await asyncio.gather(*waiting)) == 4

    asyncio.run(main())


def test_the_rest_of_a_request_has_room_because_its_first_photos_had() -> None:
    async def hangs(pixels: np.ndarray) -> Scores:
        await asyncio.sleep(2)
        return scores(pixels)

    async def main() -> None:
        batcher = MicroBatcher(hangs, max_batch=1, max_queue=4, max_wait=5)
        with pytest.raises(ApiError, match="capacity"):
            await batcher.submit([photo(1)], coming=4)
        first = asyncio.create_task(batcher.submit([photo(1)], coming=3))
        others = [asyncio.create_task(batcher.submit([photo(9)])) for _ in range(3)]
        await asyncio.sleep(0)
        rest = asyncio.create_task(batcher.submit([photo(2)] * 3, let_in=True))
        assert [float(rows.energy[0]) for rows in await first] == [1]
        assert len(await rest) == 3, "seven photos at two seconds each: never refused for the wait"
        done = await asyncio.gather(*others, return_exceptions=True)
        assert [isinstance(one, ApiError) for one in done] == [False, False, True]

    in_jumping_time(main)


def test_a_failed_call_fails_its_own_photos_only() -> None:
    async def main() -> None:
        batcher = MicroBatcher(Recording(), max_batch=1, max_queue=10)
        answers = await asyncio.gather(*(batcher.submit([photo(i)]) for i in (1, 255, 2)), return_exceptions=True)
        assert isinstance(answers[1], ApiError)
        assert (answers[1].status, answers[1].code) == (503, "network_unavailable")
        assert answers[1].retry_after
        assert isinstance(answers[0], list)
        assert isinstance(answers[2], list)

    asyncio.run(main())


def test_who_waited_before_waits_less_here() -> None:
    async def hangs(pixels: np.ndarray) -> Scores:
        await asyncio.sleep(3600)
        return scores(pixels)

    async def main() -> None:
        loop = asyncio.get_running_loop()
        batcher = MicroBatcher(hangs, max_batch=1, max_queue=100, max_wait=0.8)
        stuck = asyncio.create_task(batcher.submit([photo(1)]))
        await asyncio.sleep(0.1)
        for waited, left in ((0.0, 0.8), (0.5, 0.3), (2.0, 0.0)):
            start = loop.time()
            with pytest.raises(ApiError, match="capacity"):
                await batcher.submit([photo(2)], waited)
            assert loop.time() - start == pytest.approx(left, abs=1e-3)
        stuck.cancel()

    in_jumping_time(main)
