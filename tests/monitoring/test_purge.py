"""The purge: what is deleted is gone from tables, folders and files, and nothing else is."""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from sqlalchemy import text, update

from monitoring import purge, tracking
from monitoring.__main__ import samples
from monitoring.drift import DriftResult
from monitoring.feedback import Feedback, FeedbackStore, NewFeedback
from monitoring.keeper import keep
from monitoring.report import render
from settings import Settings
from tests.conftest import encoded
from tests.postgres import Postgres
from tests.serving import predicted

Run = Callable[..., int]
ELSEWHERE = {"spool_files": 0, "drift_reports": 0}
TAG = "cifar_cnn:test"


@pytest.fixture
def settings(place: Settings) -> Settings:
    """In SQLite and in PostgreSQL, one after the other."""
    return place


@pytest.fixture
def store(settings: Settings) -> FeedbackStore:
    return FeedbackStore.open(settings)


@pytest.fixture
def command(settings: Settings) -> Run:
    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        purge.add_arguments(parser)
        return purge.run(parser.parse_args(words), settings)

    return run


@pytest.fixture
def report(command: Run, capsys: pytest.CaptureFixture[str]) -> Callable[..., dict[str, Any]]:
    def run(*words: str) -> dict[str, Any]:
        assert command(*words, "--json") == 0
        result: dict[str, Any] = json.loads(capsys.readouterr().out)
        return result

    return run


def save(store: FeedbackStore, prediction_id: str, image: bytes | None = None, days_ago: float = 0) -> None:
    store.save(
        NewFeedback(
            prediction_id=prediction_id,
            correct=False,
            label="dog",
            note=f"remark-about-{prediction_id}",
            predicted_label="cat",
            best_guess="cat",
            probability=0.6,
            in_distribution=True,
            ood_p_value=0.5,
            cnn_tag=TAG,
            image=image if image is not None else f"photo-of-{prediction_id}".encode(),
        )
    )
    given = datetime.now(UTC) - timedelta(days=days_ago)
    with store.database.writing() as session:
        session.execute(update(Feedback).where(Feedback.prediction_id == prediction_id).values(created_at=given))


def keep_photo(
    store: FeedbackStore, prediction_id: str, png: bytes, days_ago: float = 0, predicted_label: str = "cat"
) -> None:
    prediction = predicted(prediction_id=prediction_id, label=predicted_label)
    keep(store, [(prediction, png)], datetime.now(UTC) - timedelta(days=days_ago))


def left(store: FeedbackStore) -> set[str]:
    return {row.prediction_id for row in store.pending()}


def files_with(settings: Settings, secret: bytes) -> list[Path]:
    return [path for path in settings.var.rglob("*") if path.is_file() and secret in path.read_bytes()]


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_one_prediction_goes_with_every_byte(store: FeedbackStore, settings: Settings, command: Run) -> None:
    save(store, "gone")
    save(store, "kept")
    assert files_with(settings, b"remark-about-gone")
    assert files_with(settings, b"photo-of-gone")
    assert command("--prediction-id", "gone") == 0
    assert left(store) == {"kept"}
    assert files_with(settings, b"remark-about-gone") == files_with(settings, b"photo-of-gone") == []
    assert files_with(settings, b"remark-about-kept")
    assert files_with(settings, b"photo-of-kept")


def test_postgresql_keeps_no_deleted_byte_in_its_tables(postgres: Postgres, tmp_path: Path) -> None:
    store = FeedbackStore.open(Settings(var=tmp_path, database_url=postgres.empty_database(), image_store=None))
    keep_photo(store, "gone", b"photo", predicted_label="label-about-gone")
    save(store, "gone")
    save(store, "kept")

    def tables_with(secret: bytes) -> list[Path]:
        with store.database.engine.connect() as connection:
            connection.execute(text("CHECKPOINT"))
        return [path for path in (postgres.folder / "data" / "base").rglob("*") if secret in path_bytes(path)]

    assert tables_with(b"remark-about-gone")
    assert tables_with(b"label-about-gone")
    assert store.delete("gone")
    assert tables_with(b"remark-about-gone") == tables_with(b"label-about-gone") == []
    assert tables_with(b"remark-about-kept")


def path_bytes(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def test_a_kept_photo_goes_with_its_prediction_its_age_and_all(
    store: FeedbackStore, report: Callable[..., dict[str, Any]]
) -> None:
    for name, age in {"asked": 1.0, "old": 40.0, "new": 1.0}.items():
        keep_photo(store, name, f"photo {name}".encode(), days_ago=age)
    save(store, "answered", b"photo old")
    expected = {"dry_run": False, "answers": 0, "kept": 1, "photos": 1, "orphans": 0, **ELSEWHERE}
    assert report("--prediction-id", "asked") == expected
    assert report("--dry-run") == expected | {"dry_run": True, "photos": 0}
    assert report() == expected | {"photos": 0}, "somebody answered about the same photo"
    assert store.kept("new") is not None
    assert (store.kept("asked"), store.kept("old")) == (None, None)
    assert report("--all", "--yes") == expected | {"answers": 1, "photos": 2}
    assert store.is_empty()
    assert list(store.images.digests()) == []


def test_an_answer_and_its_kept_photo_go_together(store: FeedbackStore, command: Run) -> None:
    keep_photo(store, "both", b"same")
    save(store, "both", b"same")
    assert command("--prediction-id", "both") == 0
    assert store.is_empty()
    assert list(store.images.digests()) == []


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_old_spooled_files_go_and_waiting_ones_stay(
    settings: Settings, report: Callable[..., dict[str, Any]], store: FeedbackStore
) -> None:
    spool = settings.var / "spool"
    spool.mkdir()
    for name, days in {"old.damaged": 31, "waiting.bin": 29}.items():
        (spool / name).write_bytes(b"rows")
        then = time.time() - days * 86_400
        os.utime(spool / name, (then, then))
    assert report("--dry-run")["spool_files"] == 1
    assert report()["spool_files"] == 1
    assert [path.name for path in spool.iterdir()] == ["waiting.bin"]


def test_retention_is_the_default_and_days_can_be_chosen(
    store: FeedbackStore, report: Callable[..., dict[str, Any]]
) -> None:
    for name, age in {"new": 0.0, "week": 7.5, "recent": 29.9, "old": 30.1}.items():
        save(store, name, days_ago=age)
    expected = {"dry_run": False, "answers": 1, "kept": 0, "photos": 1, "orphans": 0, **ELSEWHERE}
    assert report() == expected
    assert left(store) == {"new", "week", "recent"}
    assert report("--older-than-days", "7") == expected | {"answers": 2, "photos": 2}
    assert left(store) == {"new"}


def test_a_photo_shared_with_a_newer_answer_stays(store: FeedbackStore, report: Callable[..., dict[str, Any]]) -> None:
    save(store, "old", b"same photo", days_ago=90)
    save(store, "new", b"same photo")
    assert report("--dry-run")["photos"] == 0
    assert report()["photos"] == 0
    (row,) = store.pending()
    assert store.images.get(str(row.image_sha256)) == b"same photo"


def test_all_leaves_nothing(store: FeedbackStore, settings: Settings, report: Callable[..., dict[str, Any]]) -> None:
    for number in range(3):
        save(store, f"p{number}")
    store.images.put(b"an orphan")
    (settings.var / "spool" / "deep").mkdir(parents=True)
    (settings.var / "spool" / "deep" / "rows.bin").write_bytes(b"spooled rows")
    assert report("--all", "--yes") == {
        "dry_run": False,
        "answers": 3,
        "kept": 0,
        "photos": 3,
        "orphans": 1,
        "spool_files": 1,
        "drift_reports": 0,
    }
    assert sum(store.counts().values()) == 0
    for secret in (b"remark-about", b"photo-of", b"an orphan", b"spooled rows"):
        assert files_with(settings, secret) == []


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_the_database_file_shrinks(store: FeedbackStore, settings: Settings, command: Run) -> None:
    for number in range(60):
        save(store, f"p{number}" + "x" * 50)
    assert command("--prediction-id", "p0" + "x" * 50) == 0
    full = (settings.var / "feedback.db").stat().st_size
    assert command("--all", "--yes") == 0
    assert (settings.var / "feedback.db").stat().st_size < full


def test_a_dry_run_tells_the_same_numbers_and_deletes_nothing(
    store: FeedbackStore, settings: Settings, report: Callable[..., dict[str, Any]]
) -> None:
    save(store, "old", days_ago=90)
    save(store, "new")
    store.images.put(b"an orphan")
    (settings.var / "spool").mkdir()
    (settings.var / "spool" / "rows.bin").write_bytes(b"spooled rows")
    dry, dry_all = report("--dry-run"), report("--all", "--dry-run")
    assert left(store) == {"old", "new"}
    assert len(list(store.images.digests())) == 3
    assert files_with(settings, b"spooled rows")
    assert dry == report() | {"dry_run": True} == {
        "dry_run": True, "answers": 1, "kept": 0, "photos": 1, "orphans": 1, **ELSEWHERE,
    }  # fmt: skip
    assert dry_all == dry | {"answers": 2, "photos": 2, "spool_files": 1}


def test_orphans_and_unfinished_files_are_swept(
    store: FeedbackStore, settings: Settings, report: Callable[..., dict[str, Any]]
) -> None:
    save(store, "kept")
    orphan = store.images.path(store.images.put(b"an orphan"))
    part = orphan.with_name(f"{orphan.stem}.00c0ffee.part")
    part.write_bytes(b"half a pho")
    foreign = settings.var / "images" / "readme.txt"
    foreign.write_text("not ours")
    assert report()["orphans"] == 2
    assert [path.exists() for path in (orphan, part, foreign)] == [False, False, True]
    assert left(store) == {"kept"}
    assert len(list(store.images.digests())) == 1


def test_an_empty_database_does_not_cost_the_photos_of_another(
    store: FeedbackStore, report: Callable[..., dict[str, Any]]
) -> None:
    sha256 = store.images.put(b"belongs to a database that is not configured here")
    assert report()["orphans"] == 0
    assert store.images.exists(sha256)
    assert report("--all", "--yes")["orphans"] == 1


def log_drift_report(settings: Settings) -> Path:
    """A report with the photos that are kept, as `monitoring drift` stores it; its file."""
    result = DriftResult(verdict="drift", reason="", alpha=0.01, reference_rows=1, window_rows=1)
    html = render(result, TAG, samples(settings, result, TAG))
    run_id = tracking.model_run(settings, TAG)
    path = tracking.log_report(settings, run_id, html, drifted=True, smallest_p=0.0, at=datetime.now(UTC))
    return settings.mlflow_artifacts / tracking.MONITORING / run_id / "artifacts" / path


def test_photos_leave_the_drift_reports_too(
    tracked: Callable[..., Settings], capsys: pytest.CaptureFixture[str]
) -> None:
    settings = tracked(retention_days=30)
    store = FeedbackStore.open(settings)
    for number, name in enumerate(("asked", "old", "new")):
        save(store, name, encoded(Image.new("RGB", (8, 8), (80 * number, 0, 0))), days_ago=90 if name == "old" else 0)
    first, second = log_drift_report(settings), log_drift_report(settings)
    assert first.read_text().count("data:image/jpeg") == second.read_text().count("data:image/jpeg") == 3
    assert "asked" not in first.read_text(), "who knows the prediction_id may take the answer back"
    second.write_text(re.sub(' data-mark="[0-9a-f]+"', "", second.read_text()))  # as older versions made it
    pictures = dict(zip(("wrong", "old", "new"), re.findall('src="([^"]+)', first.read_text()), strict=True))
    assert len(set(pictures.values())) == 3
    parser = argparse.ArgumentParser()
    purge.add_arguments(parser)

    def run(*words: str) -> int:
        assert purge.run(parser.parse_args([*words, "--json"]), settings) == 0
        found: dict[str, int] = json.loads(capsys.readouterr().out)
        return found["drift_reports"]

    assert run("--prediction-id", "asked", "--dry-run") == 2
    assert first.read_text().count("data:image/jpeg") == 3
    assert run("--prediction-id", "asked") == 2
    assert [page.read_text().count("data:image/jpeg") for page in (first, second)] == [2, 0]
    assert run() == 1
    assert first.read_text().count("data:image/jpeg") == 1
    assert "</html>" in first.read_text()
    assert run("--all", "--yes") == 1
    assert files_with(settings, b"data:image") == []
    assert run() == 0


def test_an_mlflow_that_is_away_is_told_and_the_rest_is_gone(
    tracked: Callable[..., Settings], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    settings = tracked(mlflow_uri="http://127.0.0.1:9")
    store = FeedbackStore.open(settings)
    save(store, "gone")
    parser = argparse.ArgumentParser()
    purge.add_arguments(parser)
    assert purge.run(parser.parse_args(["--prediction-id", "gone"]), settings) == 3
    assert "photos may be left in drift reports" in capsys.readouterr().err
    assert (left(store), list(store.images.digests())) == (set(), [])


def test_the_sentence_for_people(store: FeedbackStore, command: Run, capsys: pytest.CaptureFixture[str]) -> None:
    save(store, "old", days_ago=90)
    assert command("--dry-run") == 0
    assert command() == 0
    numbers = "1 answers, 0 kept predictions, 1 photos, 0 orphan files, 0 spooled files, photos in 0 drift reports."
    assert capsys.readouterr().out == f"Would delete {numbers}\nDeleted {numbers}\n"


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--all",), "add --yes"),
        (("--all", "--yes", "--prediction-id", "p"), "Choose one"),
        (("--older-than-days", "5", "--prediction-id", "p"), "Choose one"),
        (("--older-than-days", "0"), "1 to 36,500"),
        (("--older-than-days", "99999999999"), "1 to 36,500"),
        (("--prediction-id", "nobody"), "Nothing is stored of the prediction 'nobody'"),
    ],
)
def test_bad_input_is_one_line_and_deletes_nothing(
    store: FeedbackStore, command: Run, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    save(store, "p", days_ago=10)
    assert command(*words) == 2
    out, err = capsys.readouterr()
    assert (out, err[:7], err.count("\n")) == ("", "purge: ", 1)
    assert sentence in err
    assert left(store) == {"p"}


@pytest.mark.parametrize("place", ["sqlite"], indirect=True)
def test_a_store_that_cannot_be_used_is_exit_code_3(
    command: Run, settings: Settings, capsys: pytest.CaptureFixture[str]
) -> None:
    settings.var.mkdir()
    (settings.var / "feedback.db").write_bytes(b"this is not a database" * 500)
    assert command() == 3
    assert "purge: Feedback cannot be stored or read right now" in capsys.readouterr().err
