"""What the owner's tabs are made of: the review queue, the last hour, drift by window, the history, what is kept."""

from __future__ import annotations

import io
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from monitoring import history, holdings, profiles, tracking
from monitoring.drift_map import MOST_WINDOWS, DriftMap
from monitoring.feedback import FeedbackStore, NewFeedback
from monitoring.image_store import ImageStore
from monitoring.recent import KEPT, SECONDS, Recent
from monitoring.review_queue import THUMBNAIL, Filter, queue
from runners.prediction import ApiError, ModelTags, Prediction, Timings
from settings import Settings
from tests.conftest import encoded

TAG = "cifar_cnn:abc"
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(var=tmp_path / "var", data_dir=tmp_path / "data", _env_file=None)  # type: ignore[call-arg]


@pytest.fixture
def store(settings: Settings) -> FeedbackStore:
    return FeedbackStore.open(settings)


def picture(seed: int, size: tuple[int, int] = (300, 200)) -> Image.Image:
    coarse = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize(size)


def say(store: FeedbackStore, name: str, label: str, image: Image.Image | None, **changed: object) -> int:
    fields: dict[str, object] = {
        "predicted_label": "cat",
        "best_guess": "cat",
        "probability": 0.97,
        "in_distribution": True,
        "ood_p_value": 0.5,
        "cnn_tag": TAG,
        **changed,
    }
    data = None if image is None else encoded(image)
    return store.save(NewFeedback(prediction_id=name, correct=False, label=label, image=data, **fields)).id  # type: ignore[arg-type]


def ids(store: FeedbackStore, **chosen: object) -> list[int]:
    return [item["id"] for item in queue(store, Filter(**chosen))["items"]]  # type: ignore[arg-type]


def test_each_part_of_the_filter_and_what_it_counts(store: FeedbackStore) -> None:
    sure = say(store, "a", "dog", picture(1))
    refused = say(store, "b", "cat", picture(2), predicted_label="unknown", in_distribution=False, probability=0.4)
    other = say(store, "c", "Dog", picture(3), cnn_tag="cifar_cnn:other", probability=0.59)
    store.set_state([say(store, "d", "dog", picture(4))], "accepted")
    assert ids(store) == [sure, refused, other]
    assert ids(store, label="DOG") == [sure, other]
    assert ids(store, model=TAG) == [sure, refused]
    assert ids(store, refused=True) == [refused]
    assert ids(store, unsure=True) == [refused, other]
    assert ids(store, disagree=True) == [sure, other]
    assert ids(store, unsure=True, disagree=True) == [other]
    found = queue(store, Filter(label="dog"), limit=1)
    assert (found["pending"], found["matching"], len(found["items"])) == (3, 2, 1)
    assert (found["labels"], found["models"]) == (["cat", "dog"], [TAG, "cifar_cnn:other"])


def test_marks_and_thumbnails(store: FeedbackStore, settings: Settings) -> None:
    first = say(store, "a", "dog", picture(1))
    second = say(store, "b", "wolf", picture(1))
    without = say(store, "c", "dog", None)
    lost = say(store, "d", "dog", picture(5))
    [row] = [row for row in store.photographed() if row.id == lost]
    store.images.delete(str(row.image_sha256))
    items = {item["id"]: item for item in queue(store, Filter())["items"]}
    assert items[first]["marks"] == ["duplicate_of", "conflict_with", "suspected_mislabel"]
    assert items[first]["duplicate_of"] == (second,)
    with Image.open(io.BytesIO(items[first]["thumbnail"])) as image:
        assert (image.format, image.size) == ("PNG", (THUMBNAIL, THUMBNAIL * 2 // 3))
    assert items[without]["thumbnail"] is None
    assert items[lost]["thumbnail"] is None
    assert "photo_unreadable" in items[lost]["marks"]


def prediction(label: str, probability: float, known: bool = True) -> Prediction:
    return Prediction(
        prediction_id="p",
        label=label if known else "unknown",
        best_guess=label,
        probability=probability,
        probabilities={label: probability},
        in_distribution=known,
        ood_score=0.5,
        ood_p_value=0.5,
        model=ModelTags(cnn=TAG, forest="ood_forest:abc"),
        timings=Timings(decode_ms=1, predict_ms=1),
    )


def test_the_last_hour_is_summed_up_and_no_longer() -> None:
    now = 0.0
    recent = Recent(lambda: now)
    empty = recent.summary()
    assert (empty["photos"], empty["refusal_share"], empty["labels"]) == (0, None, {})
    recent.add([prediction("cat", 0.9), prediction("cat", 1.0), prediction("dog", 0.35, known=False)])
    now = 61.0
    recent.add([prediction("dog", 0.75)])
    found = recent.summary()
    assert (found["photos"], found["minute"], found["refusal_share"]) == (4, 1, 0.25)
    assert found["confidence"] == pytest.approx(0.75)
    assert found["estimated_accuracy"] == pytest.approx((0.9 + 1.0 + 0.75) / 3)
    assert found["labels"] == {"cat": 0.5, "unknown": 0.25, "dog": 0.25}
    assert next(iter(found["labels"])) == "cat"
    assert found["histogram"] == [0, 0, 0, 0.25, 0, 0, 0, 0.25, 0, 0.5]
    now = SECONDS + 1
    assert recent.summary()["photos"] == 1
    recent.add([prediction("cat", 0.9)] * (2 * KEPT))
    assert recent.summary()["photos"] == KEPT


def test_each_window_is_judged_once(
    tracked: Callable[..., Settings], table: Callable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = tracked()
    reference = tmp_path / "reference.bin"
    reference.write_bytes(profiles.profile(table(2000), refuse_share="0.05").to_bytes())
    run = tracking.model_run(settings, TAG)
    for number in range(MOST_WINDOWS + 1):
        window = profiles.profile(table(60, seed=number + 1, brightness=0.2 * (number == 3)), refuse_share="0.05")
        tracking.log_window(settings, run, window, end=NOON + timedelta(minutes=number), replica="here")
    drift = DriftMap(settings)
    found = drift.latest(TAG, reference)
    assert [window["end"] for window in found] == [
        (NOON + timedelta(minutes=number)).isoformat(timespec="seconds") for number in range(1, MOST_WINDOWS + 1)
    ]
    changed = next(window for window in found if window["end"].startswith("2026-03-01T12:03"))
    assert changed["verdict"] == "drift"
    assert {column["name"]: column["drifted"] for column in changed["columns"]}["brightness"]
    assert changed["columns"][0]["bars"]
    monkeypatch.setattr(tracking, "read_windows", lambda _, chosen: iter([b""] * len(chosen)))
    assert drift.latest(TAG, reference) == found, "nothing was read again"
    assert drift.latest("cifar_cnn:other", reference) == []
    assert drift.latest(TAG, tmp_path / "none.bin") == []


def test_models_in_the_order_in_which_they_came(monkeypatch: pytest.MonkeyPatch) -> None:
    def model(tag: str, minute: int, **metadata: object) -> SimpleNamespace:
        return SimpleNamespace(
            tag=tag, info=SimpleNamespace(creation_time=NOON + timedelta(minutes=minute), metadata=metadata)
        )

    stored = [
        model("cifar_cnn:a", 0, metrics={"test_accuracy": 0.9}),
        model("cifar_cnn:c", 2, rollback_of="cifar_cnn:b", retrained_from="cifar_cnn:a"),
        model("cifar_cnn:b", 1, retrained_from="cifar_cnn:a"),
    ]
    monkeypatch.setattr(history, "_stored", lambda: stored)
    found = history.models("cifar_cnn:c")
    assert [(one["tag"], one["champion"], one["origin"], one["rolled_back"]) for one in found] == [
        ("cifar_cnn:c", True, "cifar_cnn:b", True),
        ("cifar_cnn:b", False, "cifar_cnn:a", False),
        ("cifar_cnn:a", False, None, False),
    ]
    assert [one["accuracy"] for one in found] == [None, None, 0.9]


def test_verdicts_of_challengers(tmp_path: Path) -> None:
    for number, text in enumerate((json.dumps({"promoted": False, "reason": "worse"}), '{"promoted": true}', "{", "3")):
        folder = tmp_path / f"run-{number}"
        folder.mkdir()
        (folder / "verdict.json").write_text(text)
        os.utime(folder / "verdict.json", (1e9 + number, 1e9 + number))
    found = history.challengers(tmp_path)
    assert [(one["run"], one["promoted"]) for one in found] == [("run-1", True), ("run-0", False)]
    assert history.challengers(tmp_path / "none") == []


def test_what_is_kept_of_each_class(store: FeedbackStore, settings: Settings) -> None:
    assert holdings.holdings(settings, store)["classes"] == {}
    (settings.var / "dataset").mkdir()
    manifest = {"classes": {"cat": {"train": 30, "test": 10}, "dog": {"train": 7}}}
    (settings.var / "dataset" / "manifest.json").write_text(json.dumps(manifest))
    for time, photos in (("20260101T000000", 2), ("20260102T000000", 3)):
        folder = settings.data_root / "captured" / "mug" / time
        folder.mkdir(parents=True)
        for number in range(photos):
            (folder / f"{number:03d}.png").write_bytes(b"png")
    store.set_state([say(store, "a", "dog", picture(1))], "accepted")
    found = holdings.holdings(settings, store)
    assert found["classes"] == {
        "cat": {"dataset": 40, "captured": 0, "corrections": 0},
        "dog": {"dataset": 7, "captured": 0, "corrections": 1},
        "mug": {"dataset": 0, "captured": 5, "corrections": 0},
    }
    assert [(burst["folder"], burst["photos"]) for burst in found["bursts"]] == [
        ("captured/mug/20260102T000000", 3),
        ("captured/mug/20260101T000000", 2),
    ]
    assert found["feedback"]["accepted"] == 1


def test_a_burst_is_deleted_and_nothing_else(store: FeedbackStore, settings: Settings, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    for folder in (settings.data_root / "captured" / "mug" / "one", outside):
        folder.mkdir(parents=True)
        (folder / "000.png").write_bytes(b"png")
    (settings.data_root / "captured" / "mug" / "link").symlink_to(outside)
    for name in ("captured/mug", "captured/mug/two", "captured/mug/link", "../outside", str(outside), "", "captured"):
        with pytest.raises(ApiError) as caught:
            holdings.delete_burst(settings, name)
        assert caught.value.status == 404
    (settings.data_root / "captured" / "mug" / "link").unlink()
    assert holdings.delete_burst(settings, "captured/mug/one") == 1
    assert not (settings.data_root / "captured" / "mug").exists()
    assert (outside / "000.png").exists()


def test_an_image_store_is_not_needed_for_counting(settings: Settings) -> None:
    store = FeedbackStore(settings.database, ImageStore(settings.images))
    store.database.migrate()
    assert queue(store, Filter())["items"] == []
