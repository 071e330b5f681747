"""Between the services: arrays without pickle, failures and hangs told apart from answers."""

from __future__ import annotations

import asyncio
import io
import pickle
from types import SimpleNamespace
from typing import Any

import httpx
import numpy as np
import pytest
from aiohttp import ClientError, web
from aiohttp.test_utils import TestServer
from starlette.responses import PlainTextResponse

from runners.prediction import ModelTags
from runners.remote import KEEP_SESSION, NoPickle, from_named, from_npy, remote_ready, remote_score, to_npy

TAGS = ModelTags(cnn="cnn:1", forest="forest:1")


@pytest.mark.parametrize("shape", [(3, 32, 32, 3), (1, 130), (0, 2)])
@pytest.mark.parametrize("kind", [np.uint8, np.float32])
def test_an_array_arrives_as_it_was(shape: tuple[int, ...], kind: type) -> None:
    array = np.random.default_rng(0).integers(0, 256, shape).astype(kind)
    back = from_npy(to_npy(array))
    assert back.dtype == array.dtype
    assert np.array_equal(back, array)


def test_a_pickle_is_never_loaded() -> None:
    buffer = io.BytesIO()
    np.save(buffer, np.array([{"an": "object"}], dtype=object), allow_pickle=True)
    for data in (buffer.getvalue(), pickle.dumps(np.zeros(3)), b"", b"noise"):
        with pytest.raises((ValueError, EOFError)):
            from_npy(data)
    with pytest.raises(ValueError, match="allow_pickle"):
        to_npy(np.array([object()]))


def test_a_runner_refuses_what_bentoml_would_unpickle() -> None:
    async def main() -> None:
        app = NoPickle(PlainTextResponse("reached"))
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://runner") as client:
            headers = {"content-type": "application/vnd.bentoml+pickle"}
            assert (await client.post("/infer", content=b"x", headers=headers)).status_code == 415
            assert (await client.post("/infer", content=b"x")).text == "reached"

    asyncio.run(main())


def proxy(**calls: Any) -> Any:
    return SimpleNamespace(to_async=SimpleNamespace(**calls))


def test_the_two_answers_are_put_together() -> None:
    async def infer(data: bytes) -> bytes:
        tag, pixels = from_named(data)
        assert tag == "cnn:1"
        assert pixels.shape[1:] == (32, 32, 3)
        return to_npy(np.tile(np.array([2.0, 1.0, 7.0, 8.0, 9.0], np.float32), (len(pixels), 1)))

    async def score(data: bytes) -> bytes:
        tag, outputs = from_named(data)
        assert tag == "forest:1"
        return to_npy(np.tile(np.array([0.25, 0.75], np.float32), (len(outputs), 1)))

    ask = remote_score(proxy(infer=infer), proxy(score=score), TAGS, classes=2, temperature=1.0)
    found = asyncio.run(ask(np.zeros((4, 32, 32, 3), np.uint8)))  # type: ignore[arg-type]
    assert found.embedding.tolist() == [[7.0, 8.0, 9.0]] * 4
    assert found.ood_score.tolist() == [0.25] * 4
    assert found.ood_p_value.tolist() == [0.75] * 4
    assert found.probabilities[0, 0] == pytest.approx(1 / (1 + np.exp(-1)))


def test_a_runner_that_hangs_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0

    async def infer(data: bytes) -> bytes:
        nonlocal calls
        calls += 1
        await asyncio.sleep(3600)
        return b""

    async def ready(timeout: float) -> bool:
        return False

    async def main() -> None:
        ask = remote_score(proxy(infer=infer, is_ready=ready), proxy(is_ready=ready), TAGS, classes=2, temperature=1.0)
        photos = np.zeros((1, 32, 32, 3), np.uint8)
        with pytest.raises(TimeoutError):
            await ask(photos)
        for _ in range(3):  # nobody else waits for a call until it says that it is back
            with pytest.raises(ConnectionError, match="away"):
                await ask(photos)
        assert calls == 1

    monkeypatch.setattr("runners.remote.CALL_SECONDS", 0.05)
    asyncio.run(main())


def test_a_runner_that_is_back_is_asked_again() -> None:
    broken = True

    async def infer(data: bytes) -> bytes:
        if broken:
            raise ConnectionResetError
        return to_npy(np.ones((1, 4), np.float32))

    async def score(data: bytes) -> bytes:
        return to_npy(np.ones((1, 2), np.float32))

    async def ready(timeout: float) -> bool:
        return not broken

    async def main() -> None:
        nonlocal broken
        ask = remote_score(proxy(infer=infer, is_ready=ready), proxy(score=score, is_ready=ready), TAGS, 2, 1.0)
        photos = np.zeros((1, 32, 32, 3), np.uint8)
        with pytest.raises(ConnectionResetError):
            await ask(photos)
        with pytest.raises(ConnectionError, match="away"):
            await ask(photos)
        broken = False
        assert len(await ask(photos)) == 1

    asyncio.run(main())


def test_ready_is_when_all_are() -> None:
    async def yes(timeout: float) -> bool:
        return True

    async def no(timeout: float) -> bool:
        raise ConnectionRefusedError

    assert asyncio.run(remote_ready([proxy(is_ready=yes), proxy(is_ready=yes)]))
    assert not asyncio.run(remote_ready([proxy(is_ready=yes), proxy(is_ready=no)]))


async def is_answered(**limits: Any) -> bool:
    """Whether a call is answered while more than a thousand others, or as many as ``limits`` let one session make, go
    through the client after it."""
    from _bentoml_impl.client.proxy2 import SessionManager

    arrived, others_made = asyncio.Event(), asyncio.Event()

    async def answer(_: web.Request) -> web.Response:
        arrived.set()
        await others_made.wait()
        return web.Response()

    app = web.Application()
    app.router.add_post("/", answer)
    async with TestServer(app) as server:
        sessions = SessionManager(str(server.make_url("")), timeout=10, headers={}, **limits)
        call = asyncio.create_task((await sessions.get_session()).post("/"))
        await arrived.wait()
        for _ in range(min(sessions.max_requests, 1000) + 2):
            await sessions.get_session()
        others_made.set()
        try:
            return (await call).ok
        except ClientError:
            return False
        finally:
            await sessions.close()


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # those of BentoML's import
def test_a_call_in_flight_keeps_its_session() -> None:
    assert asyncio.run(is_answered(**KEEP_SESSION)), "KEEP_SESSION does not cure it any longer"


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # those of BentoML's import
def test_the_client_of_bentoml_still_needs_the_cure() -> None:
    assert not asyncio.run(is_answered()), "upstream is mended: remove KEEP_SESSION (runners/remote.py)"
