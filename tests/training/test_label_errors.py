"""Confident learning finds planted errors, leaves clean labels alone and ranks the surest first."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from numpy.typing import NDArray

from training.label_errors import Suspect, examine, label_errors

CLASSES, COUNT = 6, 6000


def blobs() -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_], NDArray[np.int64]]:
    """Held-out probabilities of a classifier of Gaussian blobs that learned from equally wrong labels; 5 % are wrong.

    Gives probabilities (3000, 6), given labels, which are wrong, and the true labels. Accuracy is 92 %.
    """
    from sklearn.datasets import make_blobs
    from sklearn.linear_model import LogisticRegression

    points, true = make_blobs(COUNT, n_features=8, centers=CLASSES, cluster_std=2.5, random_state=1, center_box=(-5, 5))
    rng = np.random.default_rng(0)
    wrong = rng.random(COUNT) < 0.05
    given = np.where(wrong, (true + rng.integers(1, CLASSES, COUNT)) % CLASSES, true)
    half = COUNT // 2
    model = LogisticRegression(max_iter=500).fit(points[:half], given[:half])
    return model.predict_proba(points[half:]).astype(np.float32), given[half:], wrong[half:], true[half:]


def names(count: int) -> list[str]:
    return [f"p{i:05}" for i in range(count)]


def test_planted_errors_are_found() -> None:
    probabilities, given, wrong, true = blobs()
    ids = names(len(given))
    suspects = label_errors(probabilities, given, ids)
    found = np.array([ids.index(suspect.id) for suspect in suspects])
    assert wrong[found].sum() / wrong.sum() >= 0.80
    assert wrong[found].mean() >= 0.75
    hits = [suspect for suspect, row in zip(suspects, found, strict=True) if wrong[row]]
    right = [suspect.suggested == true[ids.index(suspect.id)] for suspect in hits]
    assert np.mean(right) >= 0.9


def test_the_surest_come_first_and_say_what_they_are() -> None:
    probabilities, given, wrong, _ = blobs()
    ids = names(len(given))
    suspects = label_errors(probabilities, given, ids)
    rows = np.array([ids.index(suspect.id) for suspect in suspects])
    margin = probabilities[rows, given[rows]] - probabilities[rows].max(axis=1)
    assert (np.diff(margin) >= 0).all()
    assert wrong[rows[: len(rows) // 2]].mean() >= 0.9 > wrong[rows].mean()
    for suspect, row in zip(suspects, rows, strict=True):
        assert suspect.given == given[row] != suspect.suggested
        assert suspect.suggested == probabilities[row].argmax()
        assert suspect.confidence == pytest.approx(probabilities[row].max())


def test_the_order_of_the_input_changes_nothing() -> None:
    probabilities, given, _, _ = blobs()
    ids = names(len(given))
    order = np.random.default_rng(0).permutation(len(given))
    mixed = label_errors(probabilities[order], given[order], [ids[i] for i in order])
    assert mixed == label_errors(probabilities, given, ids)


def test_sure_and_right_leaves_no_suspect() -> None:
    labels = np.arange(300) % 3
    probabilities = np.full((300, 3), 0.02, np.float32)
    probabilities[np.arange(300), labels] = 0.96
    assert label_errors(probabilities, labels, names(300)) == []


def test_one_wrong_label_worked_by_hand_also_where_a_class_has_no_photo() -> None:
    labels = np.arange(300) % 3
    probabilities = np.full((300, 5), 0.01, np.float32)
    probabilities[np.arange(300), labels] = 0.96
    labels[4] = 2  # the model says 1
    (suspect,) = label_errors(probabilities, labels, names(300))
    assert suspect == Suspect("p00004", 2, 1, pytest.approx(0.96))


def test_nothing_to_compare_is_no_suspect() -> None:
    assert label_errors(np.empty((0, 3), np.float32), np.empty(0, np.int64), []) == []
    assert label_errors(np.full((5, 2), 0.5, np.float32), np.zeros(5, np.int64), names(5)) == []


@pytest.mark.parametrize(
    ("probabilities", "labels", "message"),
    [
        (np.full((3, 2), 0.5), [0, 1], "do not fit"),
        (np.full(3, 0.5), [0, 1, 1], "do not fit"),
        (np.full((3, 2), 0.5), [0, 1, 2], r"0\.\.1"),
        (np.full((3, 2), 0.5), [0, -1, 1], r"0\.\.1"),
        (np.full((3, 2), 0.7), [0, 1, 1], "sum to 1"),
        (np.array([[1.5, -0.5]] * 3), [0, 1, 1], "not negative"),
        (np.full((3, 2), np.nan), [0, 1, 1], "finite"),
    ],
)
def test_what_does_not_fit_is_refused(probabilities: NDArray[np.float64], labels: list[int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        label_errors(probabilities, np.array(labels), names(len(labels)))


class Answers:
    """A pipeline that finds the probabilities of a photo in its first pixels."""

    labels = ("a", "b", "c")

    def __init__(self) -> None:
        self.largest = 0

    def score(self, pixels: NDArray[np.uint8], batch: int) -> SimpleNamespace:
        self.largest = max(self.largest, len(pixels))
        return SimpleNamespace(probabilities=(pixels[:, 0, 0, :] / 100).astype(np.float32))


def test_a_split_is_examined_batch_by_batch_and_says_whether_it_was_trained_on() -> None:
    labels = np.arange(300) % 3
    pixels = np.zeros((300, 32, 32, 3), np.uint8)
    pixels[:, 0, 0] = 2
    pixels[np.arange(300), 0, 0, labels] = 96
    labels[4] = 2
    for split, in_sample in (("train", True), ("validation", False), ("calibration", False), ("test", False)):
        pipeline = Answers()
        batches = (pixels[k : k + 70] for k in range(0, 300, 70))
        findings = examine(pipeline, split, batches, labels, names(300))
        assert (findings.split, findings.in_sample) == (split, in_sample)
        assert [suspect.id for suspect in findings.suspects] == ["p00004"]
        assert pipeline.largest == 70
    assert examine(Answers(), "test", [], np.empty(0, np.int64), []).suspects == ()
