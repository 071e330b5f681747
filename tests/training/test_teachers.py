"""Networks that teach: what a student is told, and what it makes of it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runners.gate import Floats, softmax
from runners.network import Network
from runners.store import Served, open_pair
from tests.training.test_fit import colour, config, silent
from training.fit import fit, history
from training.runs import RunError
from training.sources import Labelled
from training.steps import teacher
from training.teachers import softened


def always(label: int, seen: list[NDArray[np.uint8]] | None = None) -> Network:
    """A teacher who says ``label`` of everything, with odds of e² to one against each of two others."""

    def judge(pixels: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        if seen is not None:
            seen.append(pixels.copy())
        return np.tile(2 * np.eye(3, dtype=np.float32)[label], (len(pixels), 1)), np.zeros((len(pixels), 8), np.float32)

    return judge


def test_a_label_is_partly_what_the_teacher_says() -> None:
    labels, images = np.eye(3, dtype=np.float32)[[0, 1]], np.zeros((2, 32, 32, 3), np.uint8)
    rng = np.random.default_rng(0)
    assert softened(labels, images, (), 0.7, rng) is labels
    told = softened(labels, images, [always(2)], 0.7, rng)
    says = softmax(np.array([[0.0, 0.0, 2.0]]), 1.0)
    assert told.dtype == np.float32
    assert told == pytest.approx(0.3 * labels + 0.7 * says, abs=1e-6)


def test_each_teacher_has_a_turn_and_in_the_mean_they_are_averaged() -> None:
    labels, images = np.zeros((1, 3), np.float32), np.zeros((1, 32, 32, 3), np.uint8)
    teachers = [always(0), always(1), always(2)]
    told = [softened(labels, images, teachers, 1.0, np.random.default_rng(seed))[0] for seed in range(600)]
    assert np.bincount(np.argmax(told, axis=1), minlength=3).min() > 150
    assert np.mean(told, axis=0) == pytest.approx(np.full(3, 1 / 3), abs=0.05)


def test_a_student_learns_what_its_labels_do_not_say(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    truth = np.arange(240) % 3
    pixels = (
        (rng.normal(120, 40, (240, 32, 32, 3)) + 40 * np.eye(3)[truth][:, None, None]).clip(0, 255).astype(np.uint8)
    )
    wrong: Labelled = (pixels, rng.integers(0, 3, 240))
    right: Labelled = (pixels, truth.astype(np.int64))
    tiny = config("muon", "float32", teacher_share=1.0, epochs=8)
    fit(tiny, wrong, right, 3, tmp_path / "taught", silent, None, [colour])
    fit(tiny, wrong, right, 3, tmp_path / "alone", silent)
    assert history(tmp_path / "taught")[-1]["val_accuracy"] > 0.9
    assert history(tmp_path / "alone")[-1]["val_accuracy"] < 0.7


def test_the_teacher_judges_the_students_photo_whole_in_size_and_without_noise(tmp_path: Path) -> None:
    seen: list[NDArray[np.uint8]] = []
    flat: Labelled = (np.full((240, 32, 32, 3), 200, np.uint8), np.arange(240) % 3)
    tiny = config("muon", "float32", epochs=1, noise=60.0, first_side=24, full_side_from=0.9)
    fit(tiny, flat, flat, 3, tmp_path, silent, None, [always(0, seen)])
    assert {photos.shape for photos in seen} == {(40, 32, 32, 3)}
    assert set(np.unique(seen)) == {120, 200}, "the photo's grey, and that of the square that is blanked"


def test_a_pair_teaches_the_classes_it_knows(starter_pair: Served) -> None:
    pipeline, _ = open_pair(starter_pair, "openvino")
    teaches = teacher(starter_pair, config("muon", "float32"), pipeline.labels)
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    both = (teaches(pixels)[0] + teaches(pixels[:, :, ::-1])[0]) / 2
    assert both == pytest.approx(pipeline.network(pixels)[0], abs=0.05), "a photo and its mirror image, as served"
    with pytest.raises(RunError, match=r"cannot teach: its classes are not those of the dataset"):
        teacher(starter_pair, config("muon", "float32"), pipeline.labels[::-1])
