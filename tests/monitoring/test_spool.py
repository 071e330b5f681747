"""Nothing recorded is lost or counted twice: killed processes, many threads and workers, replicas, a dead MLflow."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from monitoring import profiles, spool, tracking
from monitoring.profiles import Profile
from monitoring.recorder import Recorder
from settings import ROOT, Settings

CNN, FOREST = "cifar_cnn:abc", "ood_forest:abc"
ABOUT = {"cnn": CNN, "forest": FOREST, "replica": "pod-1", "refuse_share": "0.05", "start": "2026-03-01T12:00:00+00:00"}

WORKER = """
import sys, threading, time
from pathlib import Path
from monitoring.recorder import Recorder
from settings import Settings
from tests.monitoring.conftest import LABELS, make_traffic
var, threads, calls, size, window, then = Path(sys.argv[1]), *map(int, sys.argv[2:6]), sys.argv[6]
settings = Settings(var=var, window_rows=window, _env_file=None)
recorder = Recorder(settings, "cifar_cnn:abc", "ood_forest:abc", LABELS, patience_s=300)
recorder.start()
pixels, sizes, scores = make_traffic(size)
def call():
    for _ in range(calls):
        recorder.record(pixels, sizes, scores)
work = [threading.Thread(target=call) for _ in range(threads)]
[thread.start() for thread in work]
[thread.join() for thread in work]
if then == "wait":
    print("recorded", flush=True)
    time.sleep(600)
recorder.close(300)
assert recorder.rows_dropped == 0, recorder.last_error
"""


@pytest.fixture
def worker(tmp_path: Path) -> Iterator:
    """Starts a process that records ``threads * calls`` times ``size`` rows, then closes or waits to be killed."""
    started: list[subprocess.Popen[str]] = []

    def start(var: Path, *arguments: object) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", WORKER, str(var), *map(str, arguments)]
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        started.append(subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, text=True))
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.wait()
        process.stdout.close()


def send(settings: Settings, rows: int, labels: tuple[str, ...] = ("a",)) -> None:
    """A restart: its recorder sends what lies in the spool until ``rows`` have arrived."""
    recorder = Recorder(settings, CNN, FOREST, labels, retry_s=0.05)
    recorder.start()
    deadline = time.monotonic() + 300
    while sum(window.rows for window in arrived(settings)) < rows:
        assert time.monotonic() < deadline, recorder.last_error
        time.sleep(0.1)
    recorder.close(60)


def arrived(settings: Settings) -> list[Profile]:
    return [profiles.from_bytes(b) for b in tracking.read_windows(settings, tracking.windows(settings, CNN))]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_hundred_thousand_rows_of_eight_threads_in_two_workers_arrive_exactly(tracked, worker):
    settings = tracked()
    tracking.ensure_store(settings)
    both = [worker(settings.var, 8, 125, 50, 20_000, "close") for _ in range(2)]
    assert [process.wait(550) for process in both] == [0, 0]
    whole = profiles.merge(arrived(settings))
    assert whole.rows == whole.numeric("brightness").count == whole.categorical("label").count == 100_000
    assert names(settings.var / "spool") == []


def test_a_killed_process_loses_no_row_older_than_five_seconds(tracked, worker):
    settings = tracked()
    tracking.ensure_store(settings)
    victim = worker(settings.var, 2, 30, 4, 100_000, "wait")
    assert victim.stdout.readline() == "recorded\n"
    time.sleep(5)
    victim.send_signal(signal.SIGKILL)
    victim.wait()
    assert arrived(settings) == []
    send(settings, 240)
    (window,) = arrived(settings)
    assert (window.rows, window.categorical("label").count, window.metadata["cnn"]) == (240, 240, CNN)
    assert window.metadata["start"] < window.metadata["end"] < datetime.now(UTC).isoformat()
    assert names(settings.var / "spool") == []


@pytest.mark.parametrize("packed", [True, False], ids=["now", "by an older version"])
def test_what_a_journal_holds_is_what_was_recorded(tmp_path, table, packed):
    made = table(40)
    journal = spool.Journal(tmp_path, ABOUT)
    if packed:
        journal.append({name: values[:25] for name, values in made.items()})
    else:
        with journal.path.open("ab") as file:
            file.write(b"\n" + json.dumps({name: values[:25].tolist() for name, values in made.items()}).encode())
    journal.append({name: values[25:] for name, values in made.items()})
    journal.close()
    assert spool.recover(tmp_path) == 40
    (file,) = tmp_path.iterdir()
    found = profiles.from_bytes(file.read_bytes())
    assert {**found.metadata, **ABOUT} == found.metadata
    direct = profiles.profile(made)
    for name in ("brightness", "accepted_confidence"):
        ours, theirs = found.numeric(name), direct.numeric(name)
        assert (ours.count, ours.support.tolist()) == (theirs.count, theirs.support.tolist())
    assert found.categorical("label") == direct.categorical("label")


@pytest.mark.parametrize("damage", [b'\n{"brightness": [0.1, 0.', b"\n\xff\xfe", b"\nnull"])
def test_a_record_that_was_cut_short_spoils_no_other(tmp_path, table, damage):
    journal = spool.Journal(tmp_path, ABOUT)
    journal.append(table(5))
    with journal.path.open("ab") as file:
        file.write(damage)
    journal.append(table(6))
    journal.close()
    assert spool.recover(tmp_path) == 11


@pytest.mark.parametrize("stopped", ["before the draft", "in the draft", "before its name"])
def test_a_process_that_died_while_closing_a_window_leaves_it_once(tmp_path, table, stopped):
    journal = spool.Journal(tmp_path, ABOUT)
    journal.append(table(30))
    journal.close()
    whole = profiles.profile(table(30), **ABOUT, end="2026-03-01T12:05:00+00:00").to_bytes()
    draft = journal.path.with_suffix(spool.DRAFT)
    if stopped == "in the draft":
        draft.write_bytes(whole[:100])
    if stopped == "before its name":
        draft.write_bytes(whole)
        journal.path.unlink()
    for _ in range(2):
        spool.recover(tmp_path)
    (file,) = tmp_path.iterdir()
    assert (file.suffix, profiles.from_bytes(file.read_bytes()).rows) == (spool.WINDOW, 30)


def test_a_draft_that_cannot_be_read_is_set_aside(tmp_path):
    (tmp_path / "20260301T120000.000000Z-pod.part").write_bytes(b"half a window")
    spool.recover(tmp_path)
    assert names(tmp_path) == ["20260301T120000.000000Z-pod.damaged"]


def test_the_journal_of_a_living_process_is_left_alone(tmp_path, table):
    journal = spool.Journal(tmp_path, ABOUT)
    journal.append(table(3))
    assert spool.recover(tmp_path) == 0
    assert names(tmp_path) == [journal.path.name]
    journal.append(table(4))
    journal.close()
    assert spool.recover(tmp_path) == 7


def test_windows_of_an_hour_without_mlflow_go_up_in_order_and_once(tracked, table, monkeypatch):
    settings = tracked()
    made = profiles.profile(table(10))
    noon = datetime(2026, 3, 1, 12, tzinfo=UTC)
    for minute in np.random.default_rng(0).permutation(60).tolist():
        end = noon + timedelta(minutes=minute)
        window = profiles.from_bytes(made.to_bytes())
        about = {**ABOUT, "start": (end - timedelta(minutes=1)).isoformat(), "end": end.isoformat()}
        window._view.metadata.update(about)
        spool.finish(spool.journal_path(settings.var / "spool", about), Profile(about, window._view))
    sent, failures = [], {0, 30}  # away at first, and gone again in the middle
    store = tracking.log_window

    def log_window(*arguments, **options):
        if len(sent) in failures:
            failures.remove(len(sent))
            raise OSError("unreachable")
        sent.append(options["end"])
        return store(*arguments, **options)

    monkeypatch.setattr(tracking, "log_window", log_window)
    send(settings, 600)
    assert sent == [noon + timedelta(minutes=minute) for minute in range(60)]
    assert [window.end for window in tracking.windows(settings, CNN)] == sent


def test_four_replicas_merge_exactly(tracked, traffic, labels, monkeypatch):
    settings = tracked(window_rows=400)
    work = [traffic(900 + seed, seed=seed) for seed in range(4)]
    for number, (pixels, sizes, scores) in enumerate(work):
        monkeypatch.setattr(os, "getpid", lambda number=number: number)
        recorder = Recorder(settings, CNN, FOREST, labels)
        recorder.start()
        for at in range(0, len(pixels), 100):
            part = slice(at, at + 100)
            recorder.record(pixels[part], sizes[part], scores[part])
        recorder.close(60)
    assert len({window.replica for window in tracking.windows(settings, CNN)}) == 4
    from monitoring.rows import rows

    tables = [rows(pixels, sizes, scores, labels, 0.05) for pixels, sizes, scores in work]
    every = {name: np.concatenate([made[name] for made in tables]) for name in tables[0]}
    merged, direct = profiles.merge(arrived(settings)), profiles.profile(every)
    assert merged.rows == 3_606
    for name in ("brightness", "energy", "accepted_confidence"):
        ours, theirs = merged.numeric(name), direct.numeric(name)
        assert (ours.count, ours.rank_error) == (theirs.count, 0)
        assert ours.mean == pytest.approx(theirs.mean, rel=1e-12)
        assert ours.support.tolist() == theirs.support.tolist()
    assert merged.categorical("label") == direct.categorical("label")
