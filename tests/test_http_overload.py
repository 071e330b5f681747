"""Ten times more requests than the network takes: each gets its answer in time, and nothing piles up."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image
from starlette.requests import Request
from starlette.responses import StreamingResponse
from starlette.routing import Route

import http_guard
from runners.images import Photo, decode
from runners.pipeline import Scores
from tests.serving import Slow, World, at_once, classify, in_jumping_time, photo, scores, world


async def timed(client: httpx.AsyncClient, data: bytes) -> tuple[httpx.Response, float]:
    loop = asyncio.get_running_loop()
    start = loop.time()
    return await classify(client, data), loop.time() - start


def check(answers: list[tuple[httpx.Response, float]]) -> Counter[int]:
    for answer, seconds in answers:
        assert answer.status_code in (200, 503), answer.text
        if answer.status_code == 503:
            assert int(answer.headers["retry-after"]) >= 1
            assert answer.json()["error"]["code"] == "overloaded"
            assert seconds <= 1.0
    return Counter(answer.status_code for answer, _ in answers)


@pytest.mark.parametrize("max_queue", [10_000, 64])
def test_at_ten_times_capacity_every_request_gets_a_result_or_503_within_a_second(
    tmp_path: Path, max_queue: int
) -> None:
    network = Slow(0.01)  # 100 photos a second
    deepest = 0

    async def main() -> None:
        nonlocal deepest
        here = world(tmp_path, network, max_queue=max_queue, max_batch=8)
        async with here.client() as client:
            calls = []
            for number in range(2000):  # 1,000 a second, for two seconds
                calls.append(asyncio.create_task(timed(client, photo(number % 256))))
                await asyncio.sleep(0.001)
                deepest = max(deepest, here.batcher.depth)
            codes = check(await asyncio.gather(*calls))
            assert codes[200] >= 180, "the network was kept busy all the time"
            assert codes[503] > 1000
            assert deepest <= max_queue
            await asyncio.sleep(1)
            answer, seconds = await timed(client, photo())
            assert (answer.status_code, round(seconds, 3)) == (200, 0.01), "back to normal at once"
            assert here.batcher.depth == 0
            assert here.metric("cifar_queue_photos") == 0
            assert here.metric('cifar_requests_total{code="503",method="POST",path="/classify"}') == codes[503]

    in_jumping_time(main)


def test_who_finds_no_room_is_told_a_little_later_and_only_so_many_wait_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(http_guard, "MOST_HELD_BACK", 5)

    async def main() -> None:
        here = world(tmp_path, Slow(0.1), max_queue=4, max_batch=4)
        async with here.client() as client:
            answers = await asyncio.gather(*(timed(client, photo(number)) for number in range(16)))
            assert check(answers) == {200: 4, 503: 12}
            seconds = sorted(round(seconds, 2) for answer, seconds in answers if answer.status_code == 503)
            assert seconds == [0.0] * 7 + [http_guard.REFUSE_AFTER] * 5

    in_jumping_time(main)


def test_a_crowd_is_decoded_while_the_network_works_and_those_without_room_are_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events: list[str] = []

    def counted(image: Image.Image) -> Photo:
        events.append("decoded")
        return decode(image)

    async def score(pixels: np.ndarray) -> Scores:
        events.append("scored")
        return scores(pixels)

    monkeypatch.setattr("http_photos.decode", counted)

    async def main() -> None:
        async with world(tmp_path, score).client() as client:
            assert check(await asyncio.gather(*(timed(client, photo()) for _ in range(50)))) == {200: 50}
        assert events.index("scored") < 10, "the network did not wait until all were decoded"
        events.clear()
        async with world(tmp_path, score, max_queue=8).client() as client:
            codes = check(await asyncio.gather(*(timed(client, photo()) for _ in range(50))))
        assert codes[503] > 10
        assert events.count("decoded") == codes[200], "nothing is decoded in vain"

    in_jumping_time(main)


def test_who_waits_for_what_has_no_limit_of_its_own_is_told_after_a_minute(tmp_path: Path) -> None:
    async def main() -> None:
        here = world(tmp_path, Slow(3600))
        async with here.client() as client:
            answer, seconds = await timed(client, photo())
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_answer")
        assert int(answer.headers["retry-after"]) >= 1
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert 59 < seconds < 61
        assert here.metric("cifar_requests_in_progress") == 0

    in_jumping_time(main)


def test_an_answer_that_has_begun_may_take_long(tmp_path: Path) -> None:
    async def lines() -> AsyncIterator[str]:
        for number in range(5):
            yield f"{number}\n"
            await asyncio.sleep(50)

    async def slow(_: Request) -> StreamingResponse:
        return StreamingResponse(lines())

    async def main() -> None:
        here = world(tmp_path)
        here.app.router.routes.insert(0, Route("/slow", slow))
        async with here.client() as client:
            answer = await client.get("/slow")
        assert (answer.status_code, answer.text) == (200, "0\n1\n2\n3\n4\n")

    in_jumping_time(main)


def test_a_batch_that_was_begun_is_not_given_up(tmp_path: Path) -> None:
    async def main() -> None:
        here = world(tmp_path, Slow(0.05), max_batch=4)
        async with here.client() as client:
            files = [("images", ("p", photo())) for _ in range(40)]  # two seconds of work
            answer = await client.post("/classify_batch", files=files)
            assert answer.status_code == 200
            assert len(answer.json()) == 40

    in_jumping_time(main)


def test_a_killed_runner_is_503_for_its_requests_and_nothing_else_once_it_is_back(tmp_path: Path) -> None:
    network = Slow(0.01)

    async def main() -> None:
        here = world(tmp_path, network)
        async with here.client() as client:
            network.broken = True
            failed = await asyncio.gather(*(classify(client, photo()) for _ in range(20)))
            for answer in failed:
                assert answer.status_code == 503
                assert answer.json()["error"]["code"] == "network_unavailable"
                assert "secret" not in answer.text
                assert int(answer.headers["retry-after"]) >= 1
            network.broken = False
            served = await asyncio.gather(*(classify(client, photo()) for _ in range(20)))
            assert {answer.status_code for answer in served} == {200}

    in_jumping_time(main)


def test_a_network_that_hangs_holds_nobody_longer_than_the_wait(tmp_path: Path) -> None:
    async def main() -> None:
        here = world(tmp_path, Slow(50.0), max_batch=1)
        async with here.client() as client:
            stuck = asyncio.create_task(classify(client, photo()))
            await asyncio.sleep(0.1)
            assert check(await asyncio.gather(*(timed(client, photo()) for _ in range(30)))) == {503: 30}
            assert (await stuck).status_code == 200, "its call did end"

    in_jumping_time(main)


def test_whoever_leaves_the_queue_is_not_scored(tmp_path: Path) -> None:
    network = Slow(0.1)

    async def main() -> None:
        here = world(tmp_path, network, max_batch=1)
        async with here.client() as client:
            first = asyncio.create_task(classify(client, photo()))
            await asyncio.sleep(0.01)
            gone = asyncio.create_task(classify(client, photo()))
            await asyncio.sleep(0.01)
            gone.cancel()
            await first
            await asyncio.sleep(1)
            assert network.photos == 1

    in_jumping_time(main)


async def send_slowly(here: World, chunks: int, size: int, pause: float, path: str = "/classify") -> httpx.Response:
    async def body() -> object:
        yield b'--b\r\ncontent-disposition: form-data; name="image"; filename="p"\r\n\r\n'
        for _ in range(chunks):
            yield b"x" * size
            await asyncio.sleep(pause)

    async with here.client() as client:
        headers = {"content-type": "multipart/form-data; boundary=b"}
        return await client.post(path, content=body(), headers=headers)  # type: ignore[arg-type]


def test_bodies_together_hold_no_more_memory_than_allowed(tmp_path: Path) -> None:
    async def main() -> None:
        here = world(tmp_path, max_held_bytes=1_000_000, max_upload_bytes=400_000)
        slow = [asyncio.create_task(send_slowly(here, 40, 10_000, 0.1)) for _ in range(5)]  # 2 MB in all
        await asyncio.sleep(3.9)
        async with here.client() as client:
            large, seconds = await timed(client, b"x" * 390_000)
            assert (large.status_code, large.json()["error"]["code"]) == (503, "overloaded")
            assert seconds == pytest.approx(http_guard.REFUSE_AFTER), "a little later, as for want of any room"
        codes = Counter(answer.status_code for answer in await asyncio.gather(*slow))
        assert codes[503] >= 1
        assert set(codes) <= {503, 422}, "422: what did fit was no form"
        async with here.client() as client:
            assert (await classify(client, photo())).status_code == 200, "all of it was given back"

    in_jumping_time(main)


@pytest.mark.parametrize(("pause", "limit"), [(1.0, http_guard.BODY_SECONDS), (60.0, http_guard.SILENCE_SECONDS)])
def test_a_body_that_dribbles_in_is_408(tmp_path: Path, pause: float, limit: float) -> None:
    async def main() -> None:
        answer = await send_slowly(world(tmp_path), 1000, 1, pause)
        assert (answer.status_code, answer.json()["error"]["code"]) == (408, "too_slow_upload")
        loop = asyncio.get_running_loop()
        assert loop.time() - 1000 < limit + 2

    in_jumping_time(main)


@pytest.mark.parametrize("path", ["/classify", "/classify_batch", "/captures", "/feedback", "/labels", "/nowhere"])
def test_a_body_of_unannounced_size_is_cut_off(tmp_path: Path, path: str) -> None:
    async def main() -> None:
        here = world(tmp_path, at_once, max_upload_bytes=100_000, max_batch_bytes=100_000)
        answer = await send_slowly(here, 30, 10_000, 0.0, path)
        if path in ("/labels", "/nowhere"):  # never reads it
            assert answer.status_code in (404, 405)
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (413, "too_many_bytes")

    in_jumping_time(main)


def test_the_network_has_the_first_photos_of_a_request_while_the_next_are_decoded(tmp_path: Path) -> None:
    batches: list[int] = []

    async def score(pixels: np.ndarray) -> Scores:
        batches.append(len(pixels))
        await asyncio.sleep(0)
        return scores(pixels)

    async def main() -> None:
        here = world(tmp_path, score)
        files = [("images", ("p", photo(3 * number) if number % 7 else b"no photo")) for number in range(40)]
        async with here.client() as client:
            answer = await client.post("/classify_batch", files=files)
        assert answer.status_code == 200
        for number, body in enumerate(answer.json()):
            assert ("error" in body) == (number % 7 == 0)
            if number % 7:
                light = body["probabilities"]["dog"]
                assert light == pytest.approx(3 * number / 255, abs=0.01), "in order"
        assert sum(batches) == 34
        assert len(batches) > 1

    asyncio.run(main())


def test_good_photos_share_calls_and_bad_ones_between_them_fail_alone(tmp_path: Path) -> None:
    batches: list[int] = []
    bad = {b"no photo": "not_an_image", photo()[:60]: "broken_image", b"": "empty_file"}
    sent = [list(bad)[number % 3] if number % 4 == 0 else photo(4 * number) for number in range(60)]

    async def score(pixels: np.ndarray) -> Scores:
        batches.append(len(pixels))
        await asyncio.sleep(0.05)
        return scores(pixels)

    async def main() -> None:
        async with world(tmp_path, score).client() as client:
            answers = await asyncio.gather(*(classify(client, data) for data in sent))
        for number, (data, answer) in enumerate(zip(sent, answers, strict=True)):
            if data in bad:
                assert (answer.status_code, answer.json()["error"]["code"]) == (400, bad[data])
            else:
                assert answer.status_code == 200
                assert answer.json()["probabilities"]["dog"] == pytest.approx(4 * number / 255, abs=1e-3), "its own"
        assert sum(batches) == 45, "the network sees the good ones, each once"
        assert len(batches) <= 3, batches

    in_jumping_time(main)


def test_a_request_whose_first_photos_find_no_room_is_refused_whole(tmp_path: Path) -> None:
    network = Slow(0.1)

    async def main() -> None:
        here = world(tmp_path, network, max_queue=20)
        files = [("images", ("p", photo(number))) for number in range(21)]
        async with here.client() as client:
            answer = await client.post("/classify_batch", files=files)
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
            assert network.photos == 0
            assert (await client.post("/classify_batch", files=files[:20])).status_code == 200

    in_jumping_time(main)
