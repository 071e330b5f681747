"""MLflow: one store, one run per model, windows that are stored once and come back as they went in."""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from monitoring import profiles, tracking
from settings import ROOT, Settings

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TAG = "cifar_cnn:abc"


def test_a_new_store_has_both_experiments_and_no_mlruns(tracked):
    settings = tracked()
    tracking.ensure_store(settings)
    tracking.ensure_store(settings)
    client = tracking.client(settings)
    for name in (tracking.MONITORING, tracking.TRAINING):
        location = client.get_experiment_by_name(name).artifact_location
        assert location == (settings.mlflow_artifacts / name).resolve().as_uri()
    assert not Path("mlruns").exists()


def test_a_store_is_created_from_nothing(tmp_path, tracked):
    settings = tracked(var=tmp_path / "deep" / "var")
    tracking.ensure_store(settings)
    assert (settings.var / "mlflow.db").is_file()


def test_a_model_has_one_run_found_again(tracked):
    settings = tracked()
    first = tracking.model_run(settings, TAG, "ood_forest:abc", "here-1")
    assert tracking.model_run(settings, TAG, "ood_forest:abc", "there-2") == first
    assert tracking.model_run(settings, "cifar_cnn:other") != first
    tags = tracking.client(settings).get_run(first).data.tags
    assert (tags["cifar.cnn"], tags["cifar.forest"], tags["cifar.replica"]) == (TAG, "ood_forest:abc", "here-1")


def test_a_tag_that_is_none_is_refused(tracked):
    with pytest.raises(ValueError, match="BentoML tag"):
        tracking.model_run(tracked(), "x' OR '1'='1")


def test_a_window_comes_back_and_is_drawn_at_its_time(tracked, table):
    settings = tracked()
    run_id = tracking.model_run(settings, TAG)
    profile = profiles.profile(table(100), replica="pod-1")
    stored = tracking.log_window(settings, run_id, profile, end=NOON, replica="pod-1")
    assert tracking.windows(settings, TAG) == [stored]
    (data,) = tracking.read_windows(settings, [stored])
    assert data == profile.to_bytes()
    history = tracking.client(settings).get_metric_history(run_id, "mean_brightness")
    assert [(m.step, m.timestamp, m.value) for m in history] == [
        (int(NOON.timestamp()), int(NOON.timestamp() * 1000), profile.numeric("brightness").mean)
    ]


def test_storing_a_window_again_changes_nothing(tracked, table):
    settings = tracked()
    run_id = tracking.model_run(settings, TAG)
    profile = profiles.profile(table(20))
    for _ in range(2):
        tracking.log_window(settings, run_id, profile, end=NOON, replica="pod-1")
    assert len(tracking.windows(settings, TAG)) == 1
    assert len(tracking.client(settings).get_metric_history(run_id, "rows")) == 1


def test_a_check_sees_a_whole_window_or_none_while_two_senders_write_it(tracked, table, monkeypatch):
    settings = tracked()
    run_id = tracking.model_run(settings, TAG)
    profile, seen = profiles.profile(table(20)), []
    copy = shutil.copyfileobj

    def slowly(source, target, length=0):
        target.write(source.read(100))
        target.flush()
        found = tracking.read_windows(settings, tracking.windows(settings, TAG))
        seen.append([profiles.from_bytes(data).rows for data in found])
        copy(source, target)

    monkeypatch.setattr(shutil, "copyfileobj", slowly)
    for _ in range(2):
        tracking.log_window(settings, run_id, profile, end=NOON, replica="pod-1")
    assert seen == [[], [20]]
    (data,) = tracking.read_windows(settings, tracking.windows(settings, TAG))
    assert data == profile.to_bytes()


def test_a_window_that_two_replicas_sent_into_runs_of_their_own_counts_once(tracked, table, monkeypatch):
    settings = tracked()
    with monkeypatch.context() as at_the_same_instant:
        at_the_same_instant.setattr(tracking, "_runs", lambda *_: [])
        both = [tracking.model_run(settings, TAG, replica=name) for name in ("pod-1", "pod-2")]
    assert both[0] != both[1]
    profile = profiles.profile(table(20))
    for run_id in both:
        tracking.log_window(settings, run_id, profile, end=NOON, replica="pod-1")
    tracking.log_window(settings, both[1], profile, end=NOON, replica="pod-2")
    chosen = tracking.windows(settings, TAG)
    assert [(w.end, w.replica) for w in chosen] == [(NOON, "pod-1"), (NOON, "pod-2")]
    assert profiles.merge(map(profiles.from_bytes, tracking.read_windows(settings, chosen))).rows == 40


def test_windows_are_chosen_by_time_and_number_across_replicas_and_days(tracked, table):
    settings = tracked()
    run_id = tracking.model_run(settings, TAG)
    profile = profiles.profile(table(5))
    ends = [NOON + timedelta(hours=12 * i) for i in range(5)]
    for i, end in enumerate(ends):
        tracking.log_window(settings, run_id, profile, end=end, replica=f"pod-{i % 2}")
    assert [w.end for w in tracking.windows(settings, TAG)] == ends
    assert [w.end for w in tracking.windows(settings, TAG, last=2)] == ends[-2:]
    assert [w.end for w in tracking.windows(settings, TAG, since=ends[3])] == ends[3:]
    assert [w.end for w in tracking.windows(settings, TAG, since=ends[1], last=2)] == ends[-2:]
    assert {w.replica for w in tracking.windows(settings, TAG)} == {"pod-0", "pod-1"}
    assert tracking.windows(settings, "cifar_cnn:other") == []


def test_no_file_is_left_behind(tracked, table, tmp_path, monkeypatch):
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(scratch))
    settings = tracked()
    run_id = tracking.model_run(settings, TAG)
    stored = tracking.log_window(settings, run_id, profiles.profile(table(5)), end=NOON, replica="pod-1")
    list(tracking.read_windows(settings, [stored]))
    tracking.log_report(settings, run_id, "<html>", drifted=True, smallest_p=0.5, at=NOON)
    left = [p for p in scratch.rglob("*") if not p.name.startswith("db_init_lock")]  # MLflow's lock of the migration
    assert left == []
    assert list(Path().iterdir()) == []


def test_headline_numbers(traffic, labels):
    from monitoring.rows import rows

    pixels, sizes, scores = traffic(40)
    scores.ood_p_value[:] = 1
    scores.ood_p_value[:10] = 0.01
    numbers = tracking.headline(profiles.profile(rows(pixels, sizes, scores, labels, 0.05)))
    assert (numbers["rows"], numbers["refusal_share"], numbers["label_share/unknown"]) == (40, 0.25, 0.25)
    assert numbers["mean_confidence"] == pytest.approx(scores.confidence.mean(), rel=1e-6)
    assert numbers["estimated_accuracy"] == pytest.approx(scores.confidence[10:].mean(), rel=1e-6)
    assert sum(v for k, v in numbers.items() if k.startswith("label_share/")) == pytest.approx(1)
    assert "label_share/class_0" in numbers


KILLED = """
import os, sys
from pathlib import Path
from sqlalchemy import event
from sqlalchemy.engine import Engine
from monitoring import tracking
from settings import Settings

altered = []

@event.listens_for(Engine, "after_cursor_execute")
def count(connection, cursor, statement, *rest):
    altered.append(statement.startswith("ALTER TABLE"))
    if sum(altered) == 5:
        os._exit(9)

tracking.ensure_store(Settings(var=Path(sys.argv[1]), mlflow_uri=None))
"""


def test_a_process_that_dies_while_it_makes_the_store_leaves_none_that_is_broken(tmp_path: Path) -> None:
    settings = Settings(var=tmp_path, mlflow_uri=None)
    died = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert died.returncode == 9, died.stderr
    assert (tmp_path / "mlflow.db.draft").exists()
    tracking.ensure_store(settings)
    assert len(tracking.client(settings).search_experiments()) == 3
    assert not (tmp_path / "mlflow.db.draft").exists()


def test_many_threads_agree_on_the_experiments(tracked):
    settings = tracked()
    failures: list[Exception] = []

    def create() -> None:
        try:
            tracking.ensure_store(settings)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert len(tracking.client(settings).search_experiments()) == 3  # with MLflow's own "Default"
