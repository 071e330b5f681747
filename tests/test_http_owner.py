"""The owner's calls of the page over a real store: reviews, counts, deletion, and what is told when it fails."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from http_owner import OwnerCalls
from monitoring import tracking
from runners.prediction import ApiError
from tests.serving import World, classify, photo, world

NO_FILTER = {"label": None, "model": None, "refused": False, "unsure": False, "disagree": False}


def calls_of(here: World) -> OwnerCalls:
    return OwnerCalls(here.settings, here.handlers, here.handlers._feedback, here.app.state.metrics)


def with_correction(var: Path, work: Callable[[OwnerCalls, int, World], Awaitable[None]], **options: Any) -> None:
    """Run ``work`` over a service that has one pending correction."""

    async def main() -> None:
        here = world(var, **options)
        async with here.client() as client:
            asked = (await classify(client, photo())).json()["prediction_id"]
            body = {"prediction_id": asked, "correct": False, "label": "cat"}
            saved = (await client.post("/feedback", json=body)).json()["id"]
        await work(calls_of(here), saved, here)

    asyncio.run(main())


def test_what_is_accepted_may_train_and_can_be_put_back(tmp_path: Path) -> None:
    async def work(owner: OwnerCalls, saved: int, here: World) -> None:
        store = here.handlers._feedback
        [item] = (await owner.corrections(NO_FILTER))["items"]
        assert (item["id"], item["label"]) == (saved, "cat")
        scheme, _, data = item["thumbnail"].partition(",")
        assert scheme == "data:image/png;base64"
        assert base64.b64decode(data).startswith(b"\x89PNG")
        await owner.review(saved, "accepted", "Fox")
        assert [(one.id, one.label) for one in store.accepted()] == [(saved, "fox")]
        assert (await owner.corrections(NO_FILTER))["pending"] == 0
        await owner.review(saved, "pending")
        assert store.accepted() == []
        assert (await owner.corrections(NO_FILTER))["pending"] == 1
        for wrong, status in ((saved + 1, 404), (saved, 422)):
            with pytest.raises(ApiError) as caught:
                await owner.review(wrong, "accepted", "x" * (1 if status == 404 else 65))
            assert caught.value.status == status

    with_correction(tmp_path, work)


def test_traffic_and_feedback_are_counted(tmp_path: Path) -> None:
    async def work(owner: OwnerCalls, saved: int, here: World) -> None:
        found = await owner.traffic()
        assert (found["requests"], found["photos"], found["labels"]) == (2, 1, {"dog": 1.0})
        assert found["feedback"]["answers"] == 1
        assert 0 <= found["feedback"]["low"] <= found["feedback"]["value"] <= found["feedback"]["high"] <= 1
        assert found["counts"]["pending"] == 1
        assert found["mlflow"] is None

    with_correction(tmp_path, work)


def test_feedback_is_deleted_by_its_number_by_its_prediction_or_all(tmp_path: Path) -> None:
    async def work(owner: OwnerCalls, saved: int, here: World) -> None:
        store = here.handlers._feedback
        [row] = store.pending()
        for unknown in ("nothing", str(saved + 1)):
            with pytest.raises(ApiError) as caught:
                await owner.delete_feedback(unknown)
            assert caught.value.status == 404
        assert await owner.delete_feedback(str(saved)) == {"answers": 1, "photos": 1}
        assert list(store.images.digests()) == []
        for name in (row.prediction_id, None):
            await here.handlers.feedback(row.prediction_id, False, "cat")
            assert await owner.delete_feedback(name) == {"answers": 1, "photos": 1}
            assert store.pending() == list(store.images.digests()) == []
        assert await owner.delete_feedback(None) == {"answers": 0, "photos": 0}

    with_correction(tmp_path, work)


@pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")  # BentoML's import of pathspec
def test_monitoring_that_is_off_or_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def off(owner: OwnerCalls, saved: int, here: World) -> None:
        assert await owner.drift() == []

    async def away(owner: OwnerCalls, saved: int, here: World) -> None:
        for ask in (owner.drift, owner.report):
            with pytest.raises(ApiError) as caught:
                await ask()
            assert (caught.value.status, caught.value.code) == (503, "monitoring_unavailable")
            assert "secret" not in caught.value.message

    def broken(*_: object, **__: object) -> None:
        raise ConnectionError("http://secret:5000 is away")

    with_correction(tmp_path / "off", off, monitoring=False)
    monkeypatch.setattr("bentoml.models.get", broken)
    monkeypatch.setattr(tracking, "windows", broken)
    with_correction(tmp_path / "away", away)


def test_a_store_that_is_gone_is_told(tmp_path: Path) -> None:
    async def main() -> None:
        owner = calls_of(world(tmp_path, migrate=False))
        for ask in (owner.corrections(NO_FILTER), owner.review(1, "accepted"), owner.traffic(), owner.holdings()):
            with pytest.raises(ApiError) as caught:
                await ask
            assert caught.value.code == "feedback_unavailable"

    asyncio.run(main())
