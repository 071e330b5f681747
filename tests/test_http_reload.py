"""The served pair follows the champion: no call is lost, none is mixed, and a bad champion changes nothing."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from http_handlers import Serving
from http_metrics import engine_version
from http_reload import Reloader
from runners.batching import MicroBatcher
from runners.pipeline import Scores
from runners.prediction import ModelTags
from runners.store import Served
from runners.versions import Versions
from tests.serving import World, photo, world

THREE = ("cat", "dog", "mug")


class Recorder:
    """Keeps what it is told; refuses what comes after `close`."""

    last_error = None
    rows_dropped = windows_flushed = windows_sent = 0

    def __init__(self) -> None:
        self.rows_recorded, self.closed = 0, False

    def record(self, pixels: Any, sizes: Any, scores: Scores) -> None:
        assert not self.closed, "a row of a pair whose window is closed"
        self.rows_recorded += len(pixels)

    def close(self, timeout: float = 10.0) -> None:
        self.closed = True

    @property
    def ended(self) -> bool:
        return self.closed


def pair(version: str, winner: int, seconds: float = 0.0, free: asyncio.Event | None = None) -> Serving:
    """A pair of three classes that always answers ``winner``, ``seconds`` later and once it is ``free`` to."""

    async def score(pixels: np.ndarray) -> Scores:
        await asyncio.sleep(seconds)
        if free:
            await free.wait()
        p = np.tile(np.eye(3, dtype=np.float32)[winner], (len(pixels), 1))
        return Scores(p, p, -p.max(axis=1), 1 - p.max(axis=1), np.full(len(p), 0.5, np.float32))

    return Serving(tags_of(version), THREE, MicroBatcher(score, 8, 512, 60), Recorder())


def tags_of(version: str) -> ModelTags:
    return ModelTags(cnn=f"cifar_cnn:{version}", forest=f"ood_forest:{version}")


class Champion:
    """A pointer that a test moves, and a reloader that follows it when told to."""

    def __init__(self, here: World, pairs: dict[str, Serving], period: float = 0.01) -> None:
        self.version, self.broken, self.pairs, self.loads = "1", False, pairs, 0
        metrics = here.app.state.metrics

        def swapped(new: Serving) -> None:
            metrics.serve(here.settings, new.tags, new.labels)
            metrics.watch(new.batcher, here.health, new.recorder)

        self.reloader = Reloader(here.handlers, self.pointer, self.load, swapped, metrics, period)

    def pointer(self) -> Served:
        if self.broken:
            raise OSError("the disk is away")
        return Served(f"cifar_cnn:{self.version}", f"ood_forest:{self.version}", Path(), Path())

    async def load(self, wanted: Served) -> Serving:
        self.loads += 1
        await asyncio.sleep(0.01)
        return self.pairs[wanted.cnn_tag.partition(":")[2]]


async def ask(client: Any) -> dict[str, Any]:
    answer = await client.post("/classify", files={"image": ("photo", photo())})
    assert answer.status_code == 200, answer.text
    body: dict[str, Any] = answer.json()
    return body


def test_calls_end_on_the_pair_they_began_with_and_nothing_is_lost(tmp_path: Path) -> None:
    async def main() -> None:
        here = world(tmp_path, max_wait_seconds=60)
        here.handlers.serving = one = pair("1", 0, 0.005)
        champion = Champion(here, {"1": one})
        done, winners = asyncio.Event(), {"cifar_cnn:1": "cat", "cifar_cnn:2": "mug"}
        seen: list[str] = []

        async def caller() -> None:
            async with here.client() as client:
                while not done.is_set():
                    body = await ask(client)
                    assert body["best_guess"] == winners[body["model"]["cnn"]]
                    assert body["model"]["forest"].partition(":")[2] == body["model"]["cnn"].partition(":")[2]
                    assert list(body["probabilities"]) == list(THREE)
                    seen.append(body["model"]["cnn"])

        async def answered_by(version: str) -> None:
            """Some calls of each caller, the last ones of the pair before among them."""
            before = len(seen)
            while seen[before:].count(f"cifar_cnn:{version}") < 40:
                failed, _ = await asyncio.wait(callers, timeout=0.01)
                for one in failed:
                    one.result()

        callers = [asyncio.create_task(caller()) for _ in range(8)]
        await answered_by("1")
        for version in ("2", "1", "2"):
            champion.pairs[version] = pair(version, int(version) * 2 - 2, 0.005)  # not one that may be retiring still
            champion.version = version
            assert await champion.reloader.look()
            await answered_by(version)
        done.set()
        await asyncio.gather(*callers)
        assert seen[0] == "cifar_cnn:1"
        assert seen[-1] == "cifar_cnn:2"
        async with here.client() as client:
            assert (await client.get("/labels")).json()["models"] == tags_of("2").model_dump()
        engine = f'engine="openvino",engine_version="{engine_version("openvino")}"'
        about = f'{engine},forest="ood_forest:2",runners="inprocess"'
        assert here.metric(f'cifar_served_info{{cnn="cifar_cnn:2",{about}}}') == 1
        assert "cifar_cnn:1" not in here.app.state.metrics.text().decode()
        assert here.metric('cifar_reloads_total{result="served"}') == 3

    asyncio.run(main())


def test_a_windows_rows_are_of_one_pair_and_its_last_calls_are_in_it(tmp_path: Path) -> None:
    async def main() -> None:
        here = world(tmp_path)
        free = asyncio.Event()
        slow, new = pair("1", 0, free=free), pair("2", 2)
        here.handlers.serving = slow
        champion = Champion(here, {"2": new})
        here.app.state.metrics.watch(slow.batcher, here.health, slow.recorder)
        async with here.client() as client:
            late = asyncio.create_task(ask(client))
            while not slow.calls:
                await asyncio.sleep(0.005)
            champion.version = "2"
            assert await champion.reloader.look()
            assert (await ask(client))["model"] == tags_of("2").model_dump()
            assert not slow.recorder.closed  # type: ignore[union-attr]
            free.set()
            assert (await late)["model"] == tags_of("1").model_dump()
        while not slow.recorder.closed:  # type: ignore[union-attr]
            await asyncio.sleep(0.01)
        assert slow.recorder.rows_recorded == new.recorder.rows_recorded == 1  # type: ignore[union-attr]
        assert here.metric("cifar_monitoring_rows_total") == 2

    asyncio.run(main())


def test_a_champion_that_cannot_be_loaded_changes_nothing_and_is_tried_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def main() -> None:
        here = world(tmp_path)
        champion = Champion(here, {}, period=3600)
        champion.version = "2"
        with caplog.at_level(logging.ERROR, "cifar"):
            assert not await champion.reloader.look()
            assert not await champion.reloader.look()  # too soon for another try
        assert champion.loads == 1
        [line] = caplog.messages
        assert "cifar_cnn:2 is not served, cifar_cnn:1 goes on" in line
        assert here.metric('cifar_reloads_total{result="refused"}') == 1
        assert here.metric("cifar_champion_served") == 0
        async with here.client() as client:
            assert (await ask(client))["model"] == tags_of("1").model_dump()
        champion.broken = True
        for _ in range(3):
            assert not await champion.reloader.look()
        assert len([text for text in caplog.messages if "the disk is away" in text]) == 1, "said once"
        champion.broken, champion.pairs = False, {"2": pair("2", 2)}
        champion.reloader._again = 0.0  # an hour later
        assert await champion.reloader.look()
        assert here.metric("cifar_champion_served") == 1

    asyncio.run(main())


def test_it_looks_by_itself_until_it_is_closed(tmp_path: Path) -> None:
    async def main() -> None:
        here = world(tmp_path)
        champion = Champion(here, {"2": pair("2", 2), "3": pair("3", 1)})
        champion.reloader.start()
        champion.version = "2"
        while here.handlers.serving.tags != tags_of("2"):
            await asyncio.sleep(0.01)
        await asyncio.to_thread(champion.reloader.close)
        await asyncio.sleep(0.05)
        champion.version = "3"
        await asyncio.sleep(0.1)
        assert here.handlers.serving.tags == tags_of("2")

    asyncio.run(main())


def test_a_runner_keeps_two_pairs_and_loads_what_it_is_asked_for() -> None:
    asked: list[str] = []

    def load(tag: str) -> SimpleNamespace:
        asked.append(tag)
        if tag == "damaged":
            raise ValueError(tag)
        return SimpleNamespace(tag=tag)

    versions = Versions(load)
    assert [versions.get(tag).tag for tag in ("a", "b", "a", "b")] == ["a", "b", "a", "b"]
    assert asked == ["a", "b"]
    with pytest.raises(ValueError, match="damaged"):
        versions.get("damaged")
    assert versions.get("a").tag == "a", "a damaged one drives none out"
    versions.get("c")
    versions.get("b")
    assert asked == ["a", "b", "damaged", "c", "b"]
