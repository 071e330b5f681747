"""The feedback store: nothing acknowledged is lost, nothing is stored twice, what is deleted is gone."""

from __future__ import annotations

import errno
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, inspect, text

from monitoring import feedback_database
from monitoring.feedback import Feedback, FeedbackStore, NewFeedback, clean_label
from monitoring.feedback_row import Base
from monitoring.image_store import ImageStore
from runners.prediction import ApiError
from settings import ROOT, Settings
from tests.postgres import server


def answer(prediction_id: str, **changes: Any) -> NewFeedback:
    fields: dict[str, Any] = {
        "prediction_id": prediction_id,
        "correct": False,
        "label": "dog",
        "predicted_label": "cat",
        "best_guess": "cat",
        "probability": 0.6,
        "in_distribution": True,
        "ood_p_value": 0.5,
        "cnn_tag": "cifar_cnn:test",
        "image": b"photo of " + prediction_id.encode(),
    }
    return NewFeedback(**fields | changes)


def local(tmp_path: Path) -> Settings:
    return Settings(var=tmp_path, database_url=None, image_store=None)


@pytest.fixture
def store(place: Settings) -> FeedbackStore:
    """In SQLite and in PostgreSQL, one after the other."""
    return FeedbackStore.open(place)


@pytest.fixture
def sqlite_store(tmp_path: Path) -> FeedbackStore:
    return FeedbackStore.open(local(tmp_path))


def photos(store: FeedbackStore) -> list[str]:
    """Every file in the photo folder, finished or not."""
    return sorted(path.name for path in store.images.root.rglob("*") if path.is_file())


def test_an_answer_is_kept_with_its_photo(store: FeedbackStore) -> None:
    saved = store.save(answer("p", note="  it barks "))
    assert saved.created
    (row,) = store.pending()
    assert (row.id, row.prediction_id, row.label, row.note, row.state) == (saved.id, "p", "dog", "it barks", "pending")
    assert row.created_at.tzinfo is UTC
    assert row.image_sha256 is not None
    assert store.images.get(row.image_sha256) == b"photo of p"


def test_the_same_answer_is_stored_once(store: FeedbackStore) -> None:
    first = store.save(answer("p"))
    store.set_state([first.id], "accepted")
    again = store.save(answer("p", label=" DOG "))
    without_photo = store.save(answer("p", image=None))
    assert (again.id, again.created) == (without_photo.id, without_photo.created) == (first.id, False)
    assert store.counts() == {"confirmed": 0, "pending": 0, "accepted": 1, "rejected": 0}


def test_another_answer_replaces_the_former_and_awaits_review_again(store: FeedbackStore) -> None:
    first = store.save(answer("p"))
    store.set_state([first.id], "accepted", "horse")
    second = store.save(answer("p", label="frog", image=b"a sharper photo"))
    assert (second.id, second.created) == (first.id, False)
    (row,) = store.pending()
    assert (row.label, row.truth, row.reviewed_at) == ("frog", "frog", None)
    assert photos(store) == [f"{row.image_sha256}.png"]
    store.save(answer("p", correct=True, label=None))
    assert store.counts() == {"confirmed": 1, "pending": 0, "accepted": 0, "rejected": 0}


def test_eight_threads_lose_nothing(store: FeedbackStore) -> None:
    def save_many(thread: int) -> list[int]:
        return [store.save(answer(f"{thread}-{i}")).id for i in range(25)]

    with ThreadPoolExecutor(8) as threads:
        ids = [number for numbers in threads.map(save_many, range(8)) for number in numbers]
    assert len(set(ids)) == 200
    rows = store.pending(limit=1000)
    assert {row.prediction_id for row in rows} == {f"{thread}-{i}" for thread in range(8) for i in range(25)}
    assert all(store.images.get(str(row.image_sha256)) == b"photo of " + row.prediction_id.encode() for row in rows)


def test_threads_that_send_the_same_answer_store_one_row(store: FeedbackStore) -> None:
    with ThreadPoolExecutor(8) as threads:
        saved = list(threads.map(store.save, [answer("p")] * 24))
    assert len({one.id for one in saved}) == 1
    assert sum(one.created for one in saved) == 1


def test_answers_that_wait_together_are_stored_as_if_each_came_alone(store: FeedbackStore) -> None:
    with ThreadPoolExecutor(6) as threads, store._save_together._turn:
        same = [threads.submit(store.save, answer("p", image=b"a")) for _ in range(2)]
        other = [threads.submit(store.save, answer(f"q{number}")) for number in range(3)]
        until_waiting(store, 5)
    assert len({one.result().id for one in (*same, *other)}) == 4
    assert sorted(one.result().created for one in (*same, *other)) == [False] + [True] * 4
    assert len(photos(store)) == 4


def test_of_two_answers_that_wait_together_the_later_one_stays(store: FeedbackStore) -> None:
    saved = store._save_all([answer("p", image=b"former"), answer("p", label="frog", image=b"latter")])
    assert [one.created for one in saved] == [True, False]
    (row,) = store.pending()
    assert row.label == "frog"
    assert photos(store) == [f"{row.image_sha256}.png"]


def test_an_answer_that_the_database_cannot_take_fails_alone(store: FeedbackStore) -> None:
    bad = answer("bad")
    object.__setattr__(bad, "predicted_label", None)  # what no caller can send: the row must have one
    with ThreadPoolExecutor(4) as threads, store._save_together._turn:
        results = [threads.submit(store.save, entry) for entry in (answer("a"), bad, answer("b"), answer("c"))]
        until_waiting(store, 4)
    assert [type(one.exception()).__name__ for one in results] == ["NoneType", "IntegrityError", "NoneType", "NoneType"]
    assert {row.prediction_id for row in store.pending()} == {"a", "b", "c"}


def until_waiting(store: FeedbackStore, number: int) -> None:
    while len(store._save_together._waiting) < number:
        time.sleep(0.01)


_SAVE_FOREVER = """
import sys
from pathlib import Path
from monitoring.feedback import FeedbackStore, NewFeedback
from settings import Settings
store = FeedbackStore.open(Settings(var=Path(sys.argv[1]), database_url=sys.argv[2], image_store=None))
for number in range(100_000):
    store.save(NewFeedback(
        prediction_id=f"p{number}", correct=False, label="dog", predicted_label="cat", best_guess="cat",
        probability=0.5, in_distribution=True, ood_p_value=0.5, cnn_tag="t", image=b"photo %d " % number * 1000,
    ))
    print(number, flush=True)
"""


def test_kill_minus_nine_loses_no_acknowledged_answer(place: Settings) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", _SAVE_FOREVER, str(place.var), place.database],
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    ) as process:
        assert process.stdout is not None
        acknowledged = [int(process.stdout.readline()) for _ in range(40)]
        process.kill()
        acknowledged += [int(line) for line in process.stdout if line.endswith("\n")]
    store = FeedbackStore.open(place)
    rows = {row.prediction_id: row for row in store.pending(limit=100_000)}
    for number in acknowledged:
        assert store.images.get(str(rows[f"p{number}"].image_sha256)) == b"photo %d " % number * 1000
    # The one save that was cut short may be there or not, but not by half.
    assert len(rows) - len(acknowledged) in (0, 1)
    assert all(store.images.exists(str(row.image_sha256)) for row in rows.values())


def test_a_database_server_that_dies_keeps_what_was_acknowledged(tmp_path: Path) -> None:
    with server() as postgres:
        store = FeedbackStore.open(Settings(var=tmp_path, database_url=postgres.empty_database(), image_store=None))
        acknowledged = []
        with ThreadPoolExecutor(8) as threads:
            saves = {name: threads.submit(store.save, answer(name)) for name in map(str, range(160))}
            while sum(save.done() for save in saves.values()) < 40:
                time.sleep(0.01)
            postgres.kill()
            saves |= {name: threads.submit(store.save, answer(name)) for name in map(str, range(160, 200))}
            for name, save in saves.items():
                error = save.exception()
                assert error is None or (isinstance(error, ApiError) and error.code == "feedback_unavailable")
                acknowledged += [name] * (error is None)
        assert 40 <= len(acknowledged) <= 160
        assert not store.healthy()
        postgres.start()
        assert store.healthy()
        rows = {row.prediction_id: row for row in store.pending(limit=1000)}
        assert set(acknowledged) <= set(rows)
        for name in saves:
            assert store.save(answer(name)).created == (name not in rows)
        assert all(store.images.exists(str(row.image_sha256)) for row in store.photographed())
        assert store.counts()["pending"] == 200


_OPEN_AT_ONCE = """
import sys
from pathlib import Path
from monitoring.feedback import FeedbackStore
from settings import Settings
import alembic.command
print("ready", flush=True)
sys.stdin.readline()
store = FeedbackStore.open(Settings(var=Path(sys.argv[1]), database_url=sys.argv[2], image_store=None))
print(store.counts(), flush=True)
"""


def test_processes_that_start_at_once_migrate_once(place: Settings) -> None:
    starters = [
        subprocess.Popen(
            [sys.executable, "-c", _OPEN_AT_ONCE, str(place.var), place.database],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        )
        for _ in range(3)
    ]  # fmt: skip
    for process in starters:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
    for process in starters:
        assert process.stdin is not None
        process.stdin.write("\n")
        process.stdin.flush()
    results = [(*process.communicate(timeout=240), process.returncode) for process in starters]
    expected = "{'confirmed': 0, 'pending': 0, 'accepted': 0, 'rejected': 0}\n"
    assert results == [(expected, "", 0)] * 3


def test_the_migrations_make_the_tables_that_the_code_declares(store: FeedbackStore) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    with store.database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
        assert inspect(connection).get_check_constraints("feedback") != []


def test_sqlite_is_durable_at_each_commit(sqlite_store: FeedbackStore) -> None:
    with sqlite_store.database.engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar() == 2  # FULL


def test_opening_again_keeps_the_answers(store: FeedbackStore, place: Settings) -> None:
    store.save(answer("p"))
    assert FeedbackStore.open(place).counts()["pending"] == 1


class FullDisk(ImageStore):
    """A photo folder on a disk without space."""

    def put(self, png: bytes) -> str:
        raise OSError(errno.ENOSPC, "No space left on device")


def test_no_space_for_the_photo_is_a_503_and_leaves_no_row(store: FeedbackStore) -> None:
    full = FeedbackStore(str(store.database.engine.url), FullDisk(store.images.root))
    with pytest.raises(ApiError) as caught:
        full.save(answer("p"))
    assert (caught.value.status, caught.value.code, caught.value.retry_after) == (503, "feedback_unavailable", 5)
    assert sum(store.counts().values()) == 0
    assert store.save(answer("p")).created


class FailingDisk(ImageStore):
    """A disk that fails once the photo is written, as a late fsync or the commit after it can."""

    def put(self, png: bytes) -> str:
        super().put(png)
        raise OSError(errno.EIO, "Input/output error")


def test_a_failure_after_the_photo_was_written_takes_it_back(store: FeedbackStore) -> None:
    failing = FeedbackStore(str(store.database.engine.url), FailingDisk(store.images.root))
    with pytest.raises(ApiError):
        failing.save(answer("p"))
    assert photos(store) == []
    shared = store.save(answer("q", image=b"shared"))
    with pytest.raises(ApiError):
        failing.save(answer("p", image=b"shared"))
    (row,) = store.pending()
    assert row.id == shared.id
    assert store.images.get(str(row.image_sha256)) == b"shared"


def test_no_space_for_the_row_is_a_503_and_leaves_no_photo(sqlite_store: FeedbackStore) -> None:
    def fill_up(connection: Any, _record: object) -> None:
        pages = connection.execute("PRAGMA page_count").fetchone()[0]
        connection.execute(f"PRAGMA max_page_count={pages}")

    event.listen(sqlite_store.database.engine, "connect", fill_up)
    acknowledged = 0

    def save_until_full() -> None:
        nonlocal acknowledged
        while acknowledged < 10_000:
            sqlite_store.save(answer(f"p{acknowledged}", note="n" * 1000))
            acknowledged += 1

    with pytest.raises(ApiError) as caught:
        save_until_full()
    assert (caught.value.status, caught.value.code) == (503, "feedback_unavailable")
    assert "n" * 50 not in str(caught.value.__cause__), "what people wrote must not reach the log"
    event.remove(sqlite_store.database.engine, "connect", fill_up)
    rows = sqlite_store.pending(limit=10_000)
    assert len(rows) == acknowledged
    assert photos(sqlite_store) == sorted(f"{row.image_sha256}.png" for row in rows)


def test_a_database_that_vanished_is_noticed(sqlite_store: FeedbackStore, tmp_path: Path) -> None:
    assert sqlite_store.healthy()
    for file in tmp_path.glob("feedback.db*"):
        file.unlink()
    assert not sqlite_store.healthy()
    with pytest.raises(ApiError) as caught:
        sqlite_store.save(answer("p"))
    assert caught.value.status == 503
    assert photos(sqlite_store) == []


def test_a_damaged_database_is_a_503(sqlite_store: FeedbackStore, tmp_path: Path) -> None:
    (tmp_path / "feedback.db").write_bytes(b"this is not a database" * 500)
    assert not sqlite_store.healthy()
    with pytest.raises(ApiError) as caught:
        sqlite_store.counts()
    assert caught.value.status == 503


@pytest.mark.parametrize("url", ["nonsense", "sqlite://", "sqlite:///:memory:", "nodialect://host/name"])
def test_a_database_url_that_cannot_work_is_refused(url: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="feedback store"):
        FeedbackStore(url, ImageStore(tmp_path))


def test_deletion_removes_the_bytes_from_folder_and_database(sqlite_store: FeedbackStore, tmp_path: Path) -> None:
    sqlite_store.save(answer("kept"))
    sqlite_store.save(answer("gone", note="a-very-private-remark", image=b"a-very-private-photo"))

    def holding(secret: bytes) -> list[str]:
        return [path.name for path in tmp_path.rglob("*") if path.is_file() and secret in path.read_bytes()]

    assert holding(b"a-very-private-remark")
    assert holding(b"a-very-private-photo")
    with sqlite_store.database.engine.connect() as other:  # so that SQLite does not tidy up by itself at the last close
        other.execute(text("SELECT count(*) FROM feedback")).scalar()
        assert sqlite_store.delete("gone")
        assert holding(b"a-very-private-remark") == holding(b"a-very-private-photo") == []
    assert not sqlite_store.delete("gone")
    assert [row.prediction_id for row in sqlite_store.pending()] == ["kept"]
    assert len(photos(sqlite_store)) == 1


def test_an_unfinished_read_that_keeps_deleted_bytes_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(feedback_database, "BUSY_SECONDS", 0.1)
    store = FeedbackStore.open(local(tmp_path))
    store.save(answer("gone"))
    with store.database.engine.connect() as other:
        other.exec_driver_sql("BEGIN")
        other.execute(text("SELECT count(*) FROM feedback")).scalar()
        with pytest.raises(ApiError) as caught:
            store.delete("gone")
    assert (caught.value.status, caught.value.code) == (503, "feedback_busy")
    assert store.pending() == []


def test_a_writer_that_waits_too_long_is_told_to_come_back(place: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(feedback_database, "BUSY_SECONDS", 1)
    store = FeedbackStore.open(place)
    with store.database.writing(), pytest.raises(ApiError) as caught:
        store.save(answer("p"))
    assert (caught.value.status, caught.value.retry_after) == (503, 5)
    assert photos(store) == []
    assert store.save(answer("p")).created


def test_a_shared_photo_stays_until_its_last_answer_goes(store: FeedbackStore) -> None:
    store.save(answer("one", image=b"same"))
    store.save(answer("two", image=b"same"))
    store.delete("one")
    assert len(photos(store)) == 1
    store.delete("two")
    assert photos(store) == []


def test_a_sweep_of_many_photos_lets_others_write_in_between(
    sqlite_store: FeedbackStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("monitoring.feedback._DELETIONS_PER_LOCK", 2)
    monkeypatch.setattr(feedback_database, "BUSY_SECONDS", 0.1)
    for number in range(5):
        sqlite_store.images.put(b"orphan %d" % number)
    digests = sqlite_store.images.digests

    def listed_while_somebody_saves() -> Iterator[str]:
        for number, digest in enumerate(digests()):
            sqlite_store.save(answer(f"p{number}"))
            yield digest

    monkeypatch.setattr(sqlite_store.images, "digests", listed_while_somebody_saves)
    assert sqlite_store.sweep() == 5
    assert len(photos(sqlite_store)) == len(sqlite_store.pending()) >= 5


def test_ids_are_never_used_twice(store: FeedbackStore) -> None:
    first = store.save(answer("one"))
    store.delete("one")
    assert store.save(answer("two")).id > first.id


def test_accuracy_counts_answers_and_reviews(store: FeedbackStore) -> None:
    assert store.accuracy() is None
    for number in range(8):
        store.save(answer(f"right{number}", correct=True, label=None))
    wrong = [store.save(answer(f"wrong{number}")).id for number in range(2)]
    accuracy = store.accuracy()
    assert accuracy is not None
    assert (accuracy.answers, accuracy.correct, accuracy.value) == (10, 8, 0.8)
    # Newcombe, Statistics in Medicine 17 (1998), method 3, for 8 of 10
    assert (accuracy.low, accuracy.high) == pytest.approx((0.4902, 0.9433), abs=5e-5)

    store.set_state(wrong[:1], "rejected")
    store.set_state(wrong[1:], "accepted", "cat")
    accuracy = store.accuracy()
    assert accuracy is not None
    assert (accuracy.answers, accuracy.correct) == (9, 9)
    assert store.accuracy(since=datetime.now(UTC) + timedelta(hours=1)) is None
    recent = store.accuracy(since=datetime.now(UTC) - timedelta(hours=1))
    assert recent is not None
    assert recent.answers == 9


def test_accepted_corrections_are_what_retraining_gets(store: FeedbackStore) -> None:
    ids = [store.save(answer(name)).id for name in ("a", "b", "c")]
    store.save(answer("right", correct=True, label=None))
    without_photo = store.save(answer("d", image=None)).id
    assert store.accepted() == []
    assert store.set_state([ids[0], without_photo, 999], "accepted") == 2
    assert store.set_state([ids[1]], "accepted", " Horse ") == 1
    store.set_state([ids[2]], "rejected")
    assert [(one.id, one.label) for one in store.accepted()] == [(ids[0], "dog"), (ids[1], "horse")]
    assert store.images.get(store.accepted()[0].sha256) == b"photo of a"


def test_one_photo_trains_once_as_the_latest_review_says(store: FeedbackStore) -> None:
    ids = [store.save(answer(name, image=b"same")).id for name in ("a", "b")]
    store.set_state([ids[1]], "accepted", "deer")
    store.set_state([ids[0]], "accepted", "horse")
    assert [(one.id, one.label) for one in store.accepted()] == [(ids[0], "horse")]


def test_a_confirmation_cannot_be_reviewed(store: FeedbackStore) -> None:
    saved = store.save(answer("p", correct=True, label=None))
    assert store.set_state([saved.id], "rejected") == 0
    assert store.counts()["confirmed"] == 1


def test_pending_pages_and_filters(store: FeedbackStore) -> None:
    for number in range(5):
        store.save(answer(f"p{number}", label="frog" if number % 2 else "dog", predicted_label=f"class {number}"))
    assert [row.prediction_id for row in store.pending(limit=2, offset=1)] == ["p1", "p2"]
    assert [row.prediction_id for row in store.pending(label="Frog")] == ["p1", "p3"]
    assert [row.prediction_id for row in store.pending(predicted_label="class 4")] == ["p4"]


def test_labels_are_written_one_way() -> None:
    assert clean_label("  Sea\u00a0 Lion\n") == "sea lion"
    assert clean_label("cafe\u0301") == "caf\u00e9"


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"label": None}, "needs the right label"),
        ({"label": " "}, "1 to 64"),
        ({"label": "x" * 65}, "1 to 64"),
        ({"label": "\x1b[31mdog"}, "printable"),
        ({"label": "Cat"}, "is what was predicted"),
        ({"correct": True, "label": "dog"}, "cannot be both"),
        ({"note": "x" * 1001}, "1,001 characters"),
        ({"note": "\x00"}, "not text"),
        ({"note": "\ud800"}, "not text"),
        ({"prediction_id": ""}, "prediction_id"),
    ],
)
def test_bad_fields_are_a_422_with_a_sentence(changes: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ApiError, match=sentence) as caught:
        answer(**{"prediction_id": "p"} | changes)
    assert caught.value.status == 422


def test_feedback_reports_the_truth_as_far_as_it_is_known() -> None:
    row = Feedback(predicted_label="cat", label=None, reviewed_label=None)
    assert row.truth == "cat"
    row.label = "dog"
    assert row.truth == "dog"
    row.reviewed_label = "wolf"
    assert row.truth == "wolf"
