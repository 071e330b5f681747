"""Database gone, disk full, a runner away: photos are answered as long as they can be, and the rest is told."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import httpx
import pytest

from monitoring.image_store import MIN_FREE_BYTES
from tests.serving import World, classify, photo, world


async def feedback(client: httpx.AsyncClient) -> httpx.Response:
    """On a photo classified just now, which must work whatever is broken."""
    answer = await classify(client, photo())
    assert answer.status_code == 200, answer.text
    body = {"prediction_id": answer.json()["prediction_id"], "correct": False, "label": "mug"}
    return await client.post("/feedback", json=body)


async def check_broken(here: World, client: httpx.AsyncClient) -> None:
    answer = await feedback(client)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "feedback_unavailable")
    assert int(answer.headers["retry-after"]) >= 1
    assert str(here.settings.var) not in answer.text
    here.health.look()
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()["feedback"]) == (200, "unavailable")
    assert here.metric("cifar_feedback_available") == 0


async def check_well(here: World, client: httpx.AsyncClient) -> None:
    here.health.look()
    ready = await client.get("/readyz")
    assert (ready.status_code, ready.json()) == (200, {"ready": True, "network": "ok", "feedback": "ok"})
    assert here.metric("cifar_feedback_available") == 1
    assert (await feedback(client)).status_code == 200


def replaced_by_folder(here: World) -> None:
    database = here.settings.var / "feedback.db"
    for file in here.settings.var.glob("feedback.db*"):
        file.rename(file.with_name("away-" + file.name))
    database.mkdir()


def put_back(here: World) -> None:
    (here.settings.var / "feedback.db").rmdir()
    for file in here.settings.var.glob("away-*"):
        file.rename(file.with_name(file.name.removeprefix("away-")))


def deleted(here: World) -> None:
    for file in here.settings.var.glob("feedback.db*"):
        file.unlink()


def garbage(here: World) -> None:
    deleted(here)
    (here.settings.var / "feedback.db").write_bytes(b"this is no database" * 500)


def photos_replaced_by_file(here: World) -> None:
    shutil.rmtree(here.settings.images)
    Path(here.settings.images).write_bytes(b"")


def photos_back(here: World) -> None:
    Path(here.settings.images).unlink()
    Path(here.settings.images).mkdir()


@pytest.mark.parametrize(
    ("break_it", "mend_it"),
    [
        (replaced_by_folder, put_back),
        (deleted, lambda here: None),
        (garbage, deleted),
        (photos_replaced_by_file, photos_back),
    ],
)
def test_without_its_store_feedback_is_503_photos_are_answered_and_it_recovers(
    tmp_path: Path, break_it: object, mend_it: object
) -> None:
    async def main() -> None:
        here = world(tmp_path)
        async with here.client() as client:
            await check_well(here, client)
            break_it(here)  # type: ignore[operator]
            await check_broken(here, client)
            mend_it(here)  # type: ignore[operator]
            here.health._mend()  # what its thread does every five seconds while something is amiss
            await check_well(here, client)

    asyncio.run(main())


def test_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path))

    async def main() -> None:
        here = world(tmp_path)
        async with here.client() as client:
            await check_well(here, client)
            with monkeypatch.context() as disk:
                disk.setattr("monitoring.image_store.os.fsync", full)
                disk.setattr("http_health.shutil.disk_usage", lambda _: SimpleNamespace(free=MIN_FREE_BYTES - 1))
                await check_broken(here, client)
                assert not list(Path(here.settings.images).rglob("*.part")), "nothing is kept by half"
            await check_well(here, client)

    asyncio.run(main())


def test_a_service_starts_without_its_store_and_finds_it_later(tmp_path: Path) -> None:
    async def main() -> None:
        (tmp_path / "feedback.db").mkdir()
        here = world(tmp_path, migrate=False)
        here.health._period = 0.05
        here.health.start()
        try:
            async with here.client() as client:
                await check_broken(here, client)
                (tmp_path / "feedback.db").rmdir()
                for _ in range(600):
                    if here.health.feedback_ok:
                        break
                    await asyncio.sleep(0.05)
                await check_well(here, client)
        finally:
            here.health.close()

    asyncio.run(main())


def test_large_uploads_need_no_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "gone"))

    async def main() -> None:
        async with world(tmp_path).client() as client:
            noise = photo(size=(1100, 1100), kind="BMP")
            assert len(noise) > 2**20
            assert (await classify(client, noise)).status_code == 200

    asyncio.run(main())


def test_readiness_is_that_of_the_network(tmp_path: Path) -> None:
    up = False

    async def ready() -> bool:
        return up

    async def main() -> None:
        nonlocal up
        async with world(tmp_path, network_ready=ready).client() as client:
            answer = await client.get("/readyz")
            assert (answer.status_code, answer.json()["network"]) == (503, "unavailable")
            assert "retry-after" in answer.headers
            assert (await client.get("/livez")).status_code == 200
            up = True
            assert (await client.get("/readyz")).status_code == 200

    asyncio.run(main())


def test_a_slow_database_holds_up_no_photo_and_no_crowd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def main() -> None:
        here = world(tmp_path)
        monkeypatch.setattr("http_handlers.MAX_SAVING", 2)
        free = asyncio.Event()
        loop = asyncio.get_running_loop()

        def slow(entry: object) -> object:
            asyncio.run_coroutine_threadsafe(free.wait(), loop).result()
            return SimpleNamespace(id=1)

        monkeypatch.setattr(here.handlers._feedback, "save", slow)
        async with here.client() as client:
            waiting = [asyncio.create_task(feedback(client)) for _ in range(2)]
            while here.handlers._saving < 2:
                await asyncio.sleep(0.01)
            busy = await feedback(client)
            assert (busy.status_code, busy.json()["error"]["code"]) == (503, "feedback_busy")
            free.set()
            assert [answer.status_code for answer in await asyncio.gather(*waiting)] == [200, 200]

    asyncio.run(main())
