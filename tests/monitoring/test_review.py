"""The review: marks that a reviewer can rely on, and a command that says what it did."""

from __future__ import annotations

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from monitoring import review
from monitoring.feedback import FeedbackStore, NewFeedback
from monitoring.review_marks import NEAR_BITS, Marks, dhash, mark
from runners.images import archive_png
from settings import Settings

Run = Callable[..., int]


@pytest.fixture
def store(tmp_path: Path) -> FeedbackStore:
    return FeedbackStore.open(Settings(var=tmp_path, database_url=None, image_store=None))


@pytest.fixture
def command(tmp_path: Path) -> Run:
    def run(*words: str) -> int:
        parser = argparse.ArgumentParser()
        review.add_arguments(parser)
        return review.run(parser.parse_args(words), Settings(var=tmp_path, database_url=None, image_store=None))

    return run


def picture(seed: int) -> Image.Image:
    """A smooth picture of random colours, 160×120, unlike that of any other seed."""
    patches = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((160, 120), Image.Resampling.BICUBIC)


def encoded(image: Image.Image, format: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def correct(store: FeedbackStore, prediction_id: str, image: bytes | None, **changes: Any) -> int:
    fields: dict[str, Any] = {
        "correct": False,
        "label": "dog",
        "predicted_label": "cat",
        "best_guess": "cat",
        "probability": 0.6,
        "in_distribution": True,
        "ood_p_value": 0.5,
        "cnn_tag": "cifar_cnn:test",
    }
    return store.save(NewFeedback(prediction_id=prediction_id, image=image, **fields | changes)).id


def marks_of(store: FeedbackStore) -> dict[int, Marks]:
    return mark(store, store.pending())


def test_the_hash_is_the_sign_of_each_step_to_the_right() -> None:
    ramp = np.tile(np.arange(9, dtype=np.uint8) * 20, (8, 1))
    assert dhash(encoded(Image.fromarray(ramp))) == 2**64 - 1
    assert dhash(encoded(Image.fromarray(ramp[:, ::-1]))) == 0
    single = np.zeros((8, 9), np.uint8)
    single[0, 1] = 255
    assert dhash(encoded(Image.fromarray(single))) == 1 << 63


def test_copies_are_near_and_strangers_are_not() -> None:
    photos = [picture(seed) for seed in range(40)]
    hashes = [dhash(encoded(photo)) for photo in photos]
    for photo, value in zip(photos, hashes, strict=True):
        for copy in (encoded(photo, "JPEG", quality=40), encoded(photo.resize((80, 60)))):
            assert (dhash(copy) ^ value).bit_count() <= NEAR_BITS
    distances = [(a ^ b).bit_count() for i, a in enumerate(hashes) for b in hashes[:i]]
    assert min(distances) > NEAR_BITS


def test_a_lone_modest_correction_has_no_marks(store: FeedbackStore) -> None:
    number = correct(store, "a", encoded(picture(1)))
    correct(store, "b", encoded(picture(2)))
    assert marks_of(store)[number] == Marks()


def test_duplicates_near_duplicates_and_conflicts_are_marked(store: FeedbackStore) -> None:
    first = correct(store, "a", archive_png(encoded(picture(1))))
    same = correct(store, "b", archive_png(encoded(picture(1))))
    near = correct(store, "c", archive_png(encoded(picture(1), "JPEG", quality=60)), label="wolf")
    marks = marks_of(store)
    assert marks[first] == Marks(duplicate_of=(same,), near_duplicate_of=(near,), conflict_with=(near,))
    assert marks[same] == Marks(duplicate_of=(first,), near_duplicate_of=(near,), conflict_with=(near,))
    assert marks[near] == Marks(near_duplicate_of=(first, same), conflict_with=(first, same))


def test_a_confirmation_contradicts_a_correction_and_a_rejected_one_does_not(store: FeedbackStore) -> None:
    number = correct(store, "a", b"not even an image")
    confirmed = correct(store, "b", b"not even an image", correct=True, label=None)
    rejected = correct(store, "c", b"not even an image", label="frog")
    store.set_state([rejected], "rejected")
    assert marks_of(store)[number] == Marks(duplicate_of=(confirmed, rejected), conflict_with=(confirmed,))


@pytest.mark.parametrize(
    ("changes", "suspected"),
    [
        ({"probability": 0.95}, True),
        ({"probability": 0.94}, False),
        ({"probability": 0.99, "in_distribution": False, "predicted_label": "unknown"}, False),
        ({"probability": 0.99, "label": "cat", "predicted_label": "unknown"}, False),
        ({"probability": 0.99, "label": "cat", "best_guess": "Cat", "predicted_label": "unknown"}, False),
        ({"probabilities": {"Dog": 0.009, "cat": 0.6}}, True),
        ({"probabilities": {"Dog": 0.011, "cat": 0.6}}, False),
        ({"probabilities": {"Dog": 0.001, "cat": 0.6}, "in_distribution": False, "predicted_label": "unknown"}, True),
        ({"probabilities": {"Dog": 0.001, "cat": 0.6}, "label": "wolf"}, False),
    ],
)
def test_an_answer_that_leaves_the_class_unlikely_makes_a_correction_suspect(
    store: FeedbackStore, changes: dict[str, Any], suspected: bool
) -> None:
    number = correct(store, "a", None, **changes)
    assert marks_of(store)[number].suspected_mislabel is suspected


def test_unreadable_photos_are_marked_also_after_their_hash_was_kept(store: FeedbackStore) -> None:
    gone = correct(store, "a", encoded(picture(1)))
    damaged = correct(store, "b", encoded(picture(2)))
    assert not any(marks.names for marks in marks_of(store).values())
    rows = {row.id: str(row.image_sha256) for row in store.pending()}
    store.images.delete(rows[gone])
    store.images.path(rows[damaged]).write_bytes(b"")
    unreadable = Marks(photo_unreadable=True)
    assert marks_of(store) == {gone: unreadable, damaged: unreadable}


def test_hashes_are_computed_once(store: FeedbackStore) -> None:
    correct(store, "a", encoded(picture(1)))
    marks_of(store)
    (row,) = store.photographed()
    assert row.dhash == f"{dhash(encoded(picture(1))):016x}"
    correct(store, "a", encoded(picture(2)))
    (row,) = store.photographed()
    assert row.dhash is None, "another photo needs another hash"


def test_the_list_shows_people_what_they_need(
    store: FeedbackStore, command: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    number = correct(store, "a", encoded(picture(1)), note="it\u202ebarks\nloudly", probability=0.97)
    correct(store, "b", None, label="frog")
    assert command("--limit", "1") == 0
    out = capsys.readouterr().out
    (row,) = store.pending(limit=1)
    photo = str(store.images.path(str(row.image_sha256)))
    for expected in (
        str(number),
        "cat 0.97",
        "dog",
        "suspected mislabel",
        "note: it barks loudly",
        photo,
        "1 of 2 pending",
    ):
        assert expected in out
    assert "frog" not in out


def test_an_empty_list_says_so(command: Run, capsys: pytest.CaptureFixture[str]) -> None:
    assert command() == 0
    assert capsys.readouterr().out == "No corrections await review.\n"


def test_the_list_for_machines(store: FeedbackStore, command: Run, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [correct(store, name, encoded(picture(1))) for name in ("a", "b")]
    assert command("--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert report["pending"] == 2
    assert [item["id"] for item in report["items"]] == ids
    assert report["items"][0]["marks"] == ["duplicate_of"]
    assert report["items"][0]["duplicate_of"] == [ids[1]]
    assert Path(report["items"][0]["photo"]).read_bytes() == encoded(picture(1))


def test_accept_reject_and_relabel(store: FeedbackStore, command: Run, capsys: pytest.CaptureFixture[str]) -> None:
    ids = [correct(store, f"p{seed}", encoded(picture(seed))) for seed in range(4)]
    assert command("--accept", str(ids[0]), str(ids[1])) == 0
    assert command("--accept", str(ids[2]), "--label", "Wolf") == 0
    assert command("--reject", str(ids[3]), "--json") == 0
    assert capsys.readouterr().out == 'Accepted 2.\nAccepted 1.\n{"rejected": 1}\n'
    assert [(one.id, one.label) for one in store.accepted()] == [(ids[0], "dog"), (ids[1], "dog"), (ids[2], "wolf")]
    assert store.counts() == {"confirmed": 0, "pending": 0, "accepted": 3, "rejected": 1}


def test_accept_all_leaves_marked_ones_for_a_person(
    store: FeedbackStore, command: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    clean = correct(store, "a", encoded(picture(1)))
    for name in ("b", "c"):
        correct(store, name, encoded(picture(2)))
    assert command("--accept-all") == 0
    assert "Accepted 1. 2 carry marks and were skipped" in capsys.readouterr().out
    assert [one.id for one in store.accepted()] == [clean]
    assert command("--accept-all", "--include-marked", "--json") == 0
    assert json.loads(capsys.readouterr().out) == {"accepted": 2, "marked": 2, "skipped": 0}
    assert store.counts()["pending"] == 0


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--accept", "1", "--reject", "2"), "Choose one"),
        (("--accept-all", "--reject", "2"), "Choose one"),
        (("--label", "dog"), "exactly one ID"),
        (("--accept", "1", "2", "--label", "dog"), "exactly one ID"),
        (("--accept", "1", "--label", "x" * 65), "1 to 64"),
        (("--include-marked",), "--accept-all"),
        (("--limit", "0"), "--limit"),
        (("--limit", "99999999999999999999"), "--limit"),
        (("--accept", "1", "999"), "No correction has the ID 999; nothing was changed."),
        (("--reject", "2"), "No correction has the ID 2"),
        (("--accept", "99999999999999999999"), "positive number"),
    ],
)
def test_bad_input_is_one_line_and_changes_nothing(
    store: FeedbackStore, command: Run, capsys: pytest.CaptureFixture[str], words: tuple[str, ...], sentence: str
) -> None:
    assert correct(store, "a", None) == 1
    assert correct(store, "b", None, correct=True, label=None) == 2
    assert command(*words) == 2
    out, err = capsys.readouterr()
    assert (out, err[:8], err.count("\n")) == ("", "review: ", 1)
    assert sentence in err
    assert store.counts() == {"confirmed": 1, "pending": 1, "accepted": 0, "rejected": 0}


def test_a_store_that_cannot_be_used_is_exit_code_3(
    command: Run, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "feedback.db").write_bytes(b"this is not a database" * 500)
    assert command() == 3
    assert "review: Feedback cannot be stored or read right now" in capsys.readouterr().err
