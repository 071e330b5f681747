"""Photos without feedback: those that the owner chose are kept, no other, and no request waits for it."""

from __future__ import annotations

import asyncio
import time
import uuid
from pathlib import Path

import pytest
from sqlalchemy import select

from monitoring.feedback import FeedbackStore, KeptPhoto
from monitoring.keeper import Keeper, keep, wanted
from runners.images import archive_png
from settings import Settings
from tests.serving import classify, photo, predicted, world

REFUSED = {"in_distribution": False, "label": "unknown"}
UNSURE = {"probability": 0.5}


def settings(var: Path, level: str, **fields: object) -> Settings:
    return Settings(var=var, database_url=None, image_store=None, keep_images=level, **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("level", "refused", "unsure", "plain"),
    [
        ("none", False, False, False),
        ("feedback", False, False, False),
        ("refused", True, False, False),
        ("uncertain", True, True, False),
        ("all", True, True, True),
    ],
)
def test_each_word_keeps_more(tmp_path: Path, level: str, refused: bool, unsure: bool, plain: bool) -> None:
    chosen = settings(tmp_path, level)
    assert [wanted(predicted(**kind), chosen) for kind in (REFUSED, UNSURE, {})] == [refused, unsure, plain]


def test_uncertain_is_below_the_probability_that_the_owner_set(tmp_path: Path) -> None:
    chosen = settings(tmp_path, "uncertain", uncertain_below=0.8)
    assert wanted(predicted(probability=0.79), chosen)
    assert not wanted(predicted(probability=0.8), chosen)


def test_a_photo_is_kept_with_its_prediction(place: Settings) -> None:
    store = FeedbackStore.open(place)
    png = archive_png(photo())
    keep(store, [(predicted(prediction_id="a", **REFUSED), png), (predicted(prediction_id="b"), png)])
    keep(store, [(predicted(prediction_id="a"), b"another"), (predicted(prediction_id="c"), b"third")])
    row = store.kept("a")
    assert row is not None
    assert (row.predicted_label, row.best_guess, row.in_distribution) == ("unknown", "cat", False)
    assert (row.probability, row.ood_p_value, row.cnn_tag) == (0.9, 0.5, "cifar_cnn:1")
    assert row.facts["probabilities"] == {"cat": 0.9, "dog": 0.1}
    assert store.photo(row.image_sha256) == png
    assert len(list(store.images.digests())) == 2, "equal photos are one file, and a known prediction keeps its own"
    with store.database.reading() as session:
        assert session.scalars(select(KeptPhoto.prediction_id).order_by(KeptPhoto.id)).all() == ["a", "b", "c"]


def test_kept_photos_are_no_corrections_and_do_not_count(place: Settings) -> None:
    store = FeedbackStore.open(place)
    keep(store, [(predicted(), b"photo")])
    assert (store.pending(), store.photographed(), store.accepted(), store.accuracy()) == ([], [], [], None)
    assert not store.is_empty()


def test_the_keeper_stores_what_was_offered_and_at_the_end_what_waits(tmp_path: Path) -> None:
    store = FeedbackStore.open(settings(tmp_path, "refused"))
    keeper = Keeper(settings(tmp_path, "refused"), store)
    for number in range(150):
        keeper.offer(predicted(prediction_id=f"r{number}", **REFUSED), photo(number))
        keeper.offer(predicted(prediction_id=f"p{number}"), photo(number))
    keeper.start()
    keeper.close(60)
    assert (keeper.kept, keeper.lost) == (150, 0)
    assert all(store.kept(f"r{number}") for number in range(150))
    assert store.kept("p0") is None
    keeper.offer(predicted(prediction_id="late", **REFUSED), photo())
    assert keeper.lost == 1, "what comes after the end is counted"


def test_more_than_fits_is_lost_and_counted(tmp_path: Path) -> None:
    store = FeedbackStore.open(settings(tmp_path, "all"))
    data = photo()
    keeper = Keeper(settings(tmp_path, "all"), store, queue_bytes=3 * len(data))
    for number in range(5):
        keeper.offer(predicted(prediction_id=f"p{number}"), data)
    keeper.start()
    keeper.close(60)
    assert (keeper.kept, keeper.lost) == (3, 2)


def test_photos_wait_for_a_store_that_is_away_and_a_bad_one_hurts_no_other(tmp_path: Path) -> None:
    chosen = settings(tmp_path, "all")
    store = FeedbackStore.named_by(chosen)
    (tmp_path / "feedback.db").mkdir()
    keeper = Keeper(chosen, store, retry_s=0.05)
    keeper.start()
    keeper.offer(predicted(prediction_id="bad"), b"no photo at all")
    keeper.offer(predicted(prediction_id="good"), photo())
    time.sleep(0.3)
    assert keeper.kept == 0
    (tmp_path / "feedback.db").rmdir()
    store.prepare()
    until(lambda: keeper.kept == 1)
    keeper.close()
    assert keeper.lost == 1
    assert store.kept("good")


def test_a_store_that_stays_away_does_not_hold_up_the_end(tmp_path: Path) -> None:
    (tmp_path / "feedback.db").mkdir()
    chosen = settings(tmp_path, "all")
    keeper = Keeper(chosen, FeedbackStore.named_by(chosen), retry_s=600)
    keeper.start()
    keeper.offer(predicted(), photo())
    keeper.close(60)
    assert (keeper.kept, keeper.lost) == (0, 1)


def test_the_service_keeps_photos_and_takes_feedback_on_them_after_a_restart(tmp_path: Path) -> None:
    async def main() -> None:
        here = world(tmp_path, keep_images="all")
        assert here.keeper is not None
        here.keeper.start()
        async with here.client() as client:
            ids = [(await classify(client, photo(brightness))).json()["prediction_id"] for brightness in (10, 200)]
        await asyncio.to_thread(here.keeper.close, 60)
        assert here.metric("cifar_photos_kept_total") == 2
        assert here.metric("cifar_photos_lost_total") == 0

        again = world(tmp_path, keep_images="all")
        async with again.client() as client:
            body = {"prediction_id": ids[1], "correct": False, "label": "mug"}
            first, second = [await client.post("/feedback", json=body) for _ in range(2)]
            assert (first.status_code, first.json()) == (200, second.json())
            unknown = await client.post("/feedback", json=body | {"prediction_id": "nobody"})
            assert (unknown.status_code, unknown.json()["error"]["code"]) == (404, "unknown_prediction")
        (row,) = again.handlers._feedback.pending()
        assert (row.label, row.predicted_label, row.probability > 0.5) == ("mug", "dog", True)
        assert again.handlers._feedback.photo(str(row.image_sha256)) == archive_png(photo(200))

        strict = world(tmp_path, keep_images="all", feedback_minutes=1e-6)
        async with strict.client() as client:
            late = await client.post("/feedback", json=body | {"prediction_id": ids[0]})
            assert late.status_code == 404, "kept, but too old for feedback"

    asyncio.run(main())


def test_feedback_is_taken_by_a_replica_that_shares_no_more_than_database_and_photos(
    place: Settings, tmp_path: Path
) -> None:
    """As where replicas come and go: one predicts, another one is asked, and a third when both have gone."""
    shared = {"database_url": place.database, "image_store": f"memory://replicas-{uuid.uuid4().hex}/photos"}

    async def main() -> None:
        first, second = (world(tmp_path / name, keep_images="all", **shared) for name in ("first", "second"))
        assert first.keeper is not None
        first.keeper.start()
        async with first.client() as here, second.client() as there:
            seen = (await classify(here, photo(200))).json()["prediction_id"]
            await asyncio.to_thread(until, lambda: first.keeper.kept == 1)
            body = {"prediction_id": seen, "correct": False, "label": "mug"}
            stored, again = [await client.post("/feedback", json=body) for client in (there, here)]
            assert (stored.status_code, stored.json()) == (200, again.json())
            late = (await classify(here, photo(10))).json()["prediction_id"]
        await asyncio.to_thread(first.keeper.close, 60)  # what it does when it is told to go

        third = world(tmp_path / "third", keep_images="all", **shared)
        async with third.client() as client:
            assert (await client.post("/feedback", json={"prediction_id": late, "correct": True})).status_code == 200
            assert (await client.delete(f"/feedback/{seen}")).status_code == 200
            assert (await client.post("/feedback", json=body)).status_code == 404, "taken back, photo and prediction"
        store = third.handlers._feedback
        assert store.counts() == {"confirmed": 1, "pending": 0, "accepted": 0, "rejected": 0}
        assert [store.images.get(sha256) for sha256 in store.images.digests()] == [archive_png(photo(10))]
        assert not list(tmp_path.rglob("images")), "no photo beside the shared ones"

        alone = world(tmp_path / "alone", **shared)
        async with alone.client() as client:
            missing = await client.post("/feedback", json={"prediction_id": late, "correct": True})
            assert (missing.status_code, alone.settings.keep_images) == (404, "feedback"), "so it needs the setting"

    asyncio.run(main())


def test_by_default_nothing_is_kept_without_feedback(tmp_path: Path) -> None:
    async def main() -> None:
        here = world(tmp_path)
        assert here.keeper is None
        async with here.client() as client:
            assert (await classify(client, photo())).status_code == 200
        assert not list(Path(here.settings.images).rglob("*.png"))

    asyncio.run(main())


def until(condition: object) -> None:
    for _ in range(1200):
        if condition():  # type: ignore[operator]
            return
        time.sleep(0.05)
    pytest.fail("it did not happen within a minute")
