"""The recorder: exact under threads, flushed by rows, by time and at the end, and nothing lost when a store fails."""

from __future__ import annotations

import errno
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from monitoring import profiles, spool, tracking
from monitoring.profiles import Profile
from monitoring.recorder import Recorder
from settings import Settings

CNN, FOREST = "cifar_cnn:abc", "ood_forest:abc"
DEAD_SERVER = "http://127.0.0.1:9"  # the discard port: refuses at once


@pytest.fixture
def recorder(labels: tuple[str, ...]) -> Iterator[Callable[..., Recorder]]:
    made: list[Recorder] = []

    def make(settings: Settings, **options: Any) -> Recorder:
        made.append(Recorder(settings, CNN, FOREST, labels, **{"retry_s": 0.05, **options}))
        made[-1].start()
        return made[-1]

    yield make
    for one in made:
        one.close(20)


@pytest.fixture
def dead_server(monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    return DEAD_SERVER


def arrived(settings: Settings) -> list[Profile]:
    return [profiles.from_bytes(b) for b in tracking.read_windows(settings, tracking.windows(settings, CNN))]


def until(condition: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.01)


def test_every_row_of_eight_threads_arrives_exactly_once(tracked, recorder, traffic, labels):
    settings = tracked(window_rows=1_000)
    running = recorder(settings)
    work = [traffic(200, seed=i) for i in range(8)]

    def call(pixels, sizes, scores):
        for at in range(0, 200, 5):  # batches of 5, as the server makes them
            part = slice(at, at + 5)
            chosen = type(scores)(*(getattr(scores, name)[part] for name in scores.__slots__))
            running.record(pixels[part], sizes[part], chosen)

    for _ in range(2):
        threads = [threading.Thread(target=call, args=batch) for batch in work]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    running.close(60)
    assert (running.rows_recorded, running.rows_dropped, running.last_error) == (3_200, 0, None)
    whole = profiles.merge(arrived(settings))
    assert whole.rows == 3_200
    confidence = np.concatenate([scores.confidence for _, _, scores in work])
    assert whole.numeric("confidence").mean == pytest.approx(float(confidence.mean(dtype=np.float64)), rel=1e-9)
    names = [labels[i] for _, _, s in work for i in s.best[s.ood_p_value > settings.refuse_share]]
    assert whole.categorical("label").counts["class 0"] == 2 * names.count("class 0")
    assert running.windows_sent == running.windows_flushed == 4
    assert list((settings.var / "spool").iterdir()) == []


def test_a_window_is_flushed_when_it_is_full(tracked, recorder, traffic):
    settings = tracked(window_rows=20)
    running = recorder(settings)
    running.record(*traffic(20))
    until(lambda: running.windows_sent == 1)
    (window,) = arrived(settings)
    assert (window.rows, window.metadata["cnn"], window.metadata["forest"]) == (20, CNN, FOREST)
    assert window.metadata["refuse_share"] == "0.05"
    assert window.metadata["start"] <= window.metadata["end"]


def test_a_window_is_flushed_when_its_time_is_over(tracked, recorder, traffic):
    settings = tracked(window_rows=1_000, window_seconds=0.3)
    running = recorder(settings)
    running.record(*traffic(3))
    until(lambda: running.windows_sent == 1)
    assert [window.rows for window in arrived(settings)] == [3]
    time.sleep(0.5)
    assert running.windows_flushed == 1  # silence is no window


def test_close_flushes_what_is_open(tracked, recorder, traffic):
    settings = tracked()
    running = recorder(settings)
    running.record(*traffic(7))
    assert not running.ended
    running.close(20)
    assert running.ended
    assert [window.rows for window in arrived(settings)] == [7]


def test_windows_wait_on_disk_while_mlflow_is_away_and_go_in_order_at_the_next_start(
    tracked, recorder, traffic, dead_server, monkeypatch
):
    settings = tracked(window_rows=10, mlflow_uri=dead_server)
    running = recorder(settings)
    for seed in range(3):
        running.record(*traffic(10, seed=seed))
        until(lambda wanted=seed + 1: running.windows_flushed == wanted)
    until(lambda: running.last_error is not None)
    assert "wait on disk" in running.last_error
    started = time.monotonic()
    running.close(5)
    assert time.monotonic() - started < 10
    assert running.rows_dropped == 0
    assert len(list((settings.var / "spool").glob("*.bin"))) == 3

    sent = []
    store = tracking.log_window
    monkeypatch.setattr(tracking, "log_window", lambda *a, **k: sent.append(k["end"]) or store(*a, **k))
    back = tracked(window_rows=10)
    later = recorder(back)
    until(lambda: later.windows_sent == 3)
    assert [window.rows for window in arrived(back)] == [10, 10, 10]
    assert sent == sorted(set(sent)) == [window.end for window in tracking.windows(back, CNN)]
    assert list((back.var / "spool").iterdir()) == []


def test_sending_recovers_without_a_restart(tracked, recorder, traffic, monkeypatch):
    settings = tracked(window_rows=5)
    store, broken = tracking.log_window, threading.Event()
    broken.set()

    def sometimes(*arguments, **options):
        if broken.is_set():
            raise OSError("disk\n full")
        return store(*arguments, **options)

    monkeypatch.setattr(tracking, "log_window", sometimes)
    running = recorder(settings)
    running.record(*traffic(5))
    until(lambda: running.last_error is not None)
    assert running.last_error.endswith("disk full")
    broken.clear()
    until(lambda: running.windows_sent == 1)
    until(lambda: running.last_error is None)
    assert [window.rows for window in arrived(settings)] == [5]


def test_a_window_whose_run_somebody_deleted_goes_into_a_new_one(tracked, recorder, traffic):
    settings = tracked(window_rows=5)
    running = recorder(settings)
    running.record(*traffic(5))
    until(lambda: running.windows_sent == 1)
    tracking.client(settings).delete_run(tracking.model_run(settings, CNN))
    running.record(*traffic(5))
    until(lambda: running.windows_sent == 2)
    assert [window.rows for window in arrived(settings)] == [5]
    until(lambda: running.last_error is None)


def test_a_disk_that_filled_up_keeps_the_window_open(tracked, recorder, traffic, monkeypatch):
    settings = tracked(window_rows=5)
    finish, full = spool.finish, threading.Event()
    full.set()

    def sometimes(*arguments):
        if full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        return finish(*arguments)

    monkeypatch.setattr(spool, "finish", sometimes)
    running = recorder(settings)
    running.record(*traffic(5))
    until(lambda: "window could not be put on disk" in (running.last_error or ""))
    assert (running.windows_flushed, running.windows_sent) == (0, 0), "its rows are in the journal, and come once"
    running.record(*traffic(4))
    until(lambda: running.rows_recorded == 9)
    full.clear()
    until(lambda: running.windows_flushed == 1)
    running.close(20)
    assert [window.rows for window in arrived(settings)] == [9]
    assert running.rows_dropped == 0


def test_without_a_disk_windows_go_straight_to_mlflow(tracked, recorder, traffic):
    settings = tracked(window_rows=5)
    (settings.var / "spool").write_text("a file where the folder should be")
    running = recorder(settings)
    running.record(*traffic(5))
    until(lambda: running.windows_sent == 1)
    running.record(*traffic(3))
    running.close(20)
    assert [window.rows for window in arrived(settings)] == [5, 3]
    assert (running.windows_flushed, running.rows_dropped) == (0, 0)


def test_without_disk_and_mlflow_few_windows_wait_in_memory_and_what_is_lost_is_counted(
    tracked, recorder, traffic, dead_server, monkeypatch
):
    monkeypatch.setattr("monitoring.recorder.MOST_IN_MEMORY", 1)
    settings = tracked(window_rows=5, mlflow_uri=dead_server)
    folder = settings.var / "spool"
    folder.write_text("a file where the folder should be")
    running = recorder(settings)
    running.record(*traffic(5))
    until(lambda: "Windows wait in memory" in (running.last_error or ""))
    running.record(*traffic(4))
    until(lambda: running.rows_recorded == 9)
    running.record(*traffic(1))
    until(lambda: running.rows_recorded == 10)
    assert running.windows_flushed == 0, "there is no room for a second one: it stays open"
    folder.unlink()
    until(lambda: running.windows_flushed == 1)
    running.close(20)
    assert running.rows_dropped == 5
    [waiting] = folder.glob("*.bin")
    assert profiles.from_bytes(waiting.read_bytes()).rows == 5


def test_a_damaged_file_is_set_aside_and_the_rest_goes_on(tracked, recorder, traffic):
    settings = tracked(window_rows=5)
    folder = settings.var / "spool"
    folder.mkdir()
    (folder / "20200101T000000.000000Z-gone.bin").write_bytes(b"half a window")
    running = recorder(settings)
    running.record(*traffic(5))
    until(lambda: running.windows_sent == 1)
    running.close(20)
    assert [f.name for f in folder.iterdir()] == ["20200101T000000.000000Z-gone.damaged"]


def test_rows_that_cannot_be_profiled_are_counted_and_the_thread_lives(tracked, recorder, traffic):
    settings = tracked()
    running = recorder(settings)
    pixels, sizes, scores = traffic(4)
    running.record(pixels, sizes[:2], scores)
    running.record(pixels, sizes, scores)  # gathered together with the bad ones
    until(lambda: running.rows_dropped == 4)
    assert "could not be profiled" in running.last_error
    running.record(pixels, sizes, scores)
    running.close(20)
    assert (running.rows_recorded, [window.rows for window in arrived(settings)]) == (8, [8])


def test_single_rows_are_gathered_before_they_are_profiled(tracked, recorder, traffic, monkeypatch):
    calls: list[int] = []
    track = profiles.ProfileBuilder.track
    monkeypatch.setattr(
        profiles.ProfileBuilder, "track", lambda self, table: calls.append(len(table["label"])) or track(self, table)
    )
    running = recorder(tracked())
    for seed in range(100):
        running.record(*traffic(1, seed=seed))
    running.close(20)
    assert sum(calls) == running.rows_recorded == 100
    assert len(calls) <= 5


def test_a_full_queue_waits_then_drops_and_says_so(tracked, traffic, labels):
    stopped = Recorder(tracked(), CNN, FOREST, labels, queue_rows=10, patience_s=2)
    most, more = traffic(10), traffic(1)
    started = time.monotonic()
    stopped.record(*most)
    assert time.monotonic() - started < 1
    stopped.record(*more)
    assert time.monotonic() - started >= 2
    assert stopped.rows_dropped == 1
    assert "full" in stopped.last_error
    started = time.monotonic()
    for _ in range(30):
        stopped.record(*more)
    assert time.monotonic() - started < 2, "they waited for a writer that takes nothing"
    assert stopped.rows_dropped == 31


def test_a_writer_that_goes_on_is_waited_for_again(tracked, recorder, traffic, monkeypatch):
    go_on, keep = threading.Event(), Recorder._keep
    monkeypatch.setattr(Recorder, "_keep", lambda *arguments: go_on.wait(60) and keep(*arguments))
    running = recorder(tracked(), queue_rows=10, patience_s=0.1)
    running.record(*traffic(10))
    until(lambda: running._queued == 0)  # the writer has them, and hangs
    running.record(*traffic(10))
    for _ in range(3):
        running.record(*traffic(1))
    assert running.rows_dropped == 3
    running._patience_s = 60
    go_on.set()
    until(lambda: running._patience == 60)
    for _ in range(20):
        running.record(*traffic(10))
    running.close(60)
    assert (running.rows_recorded, running.rows_dropped) == (220, 3)


def test_recording_after_close_is_counted_not_raised(tracked, recorder, traffic):
    running = recorder(tracked())
    running.close(20)
    running.record(*traffic(2))
    assert running.rows_dropped == 2


def test_a_caller_never_waits_for_a_hanging_mlflow(tracked, recorder, traffic, monkeypatch):
    release = threading.Event()
    monkeypatch.setattr(tracking, "log_window", lambda *a, **k: release.wait(120))
    settings = tracked(window_rows=5)
    running = recorder(settings)
    until(running._imported.is_set)  # what comes before goes into one window, however many rows that is
    work = [traffic(5, seed=seed) for seed in range(4)]
    started = time.monotonic()
    for batch in work:
        running.record(*batch)
    assert time.monotonic() - started < 2
    until(lambda: running.windows_flushed == 4)
    started = time.monotonic()
    running.close(1)
    assert time.monotonic() - started < 10
    release.set()
