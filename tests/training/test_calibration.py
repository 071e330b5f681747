"""Temperature, ECE and the augmentations, against cases worked by hand."""

from __future__ import annotations

import numpy as np
import pytest

from runners.gate import softmax
from training.augment import augmented, mirrored, shift
from training.calibrate import brier, ece, nll, temperature


def test_the_temperature_of_overconfident_logits_is_found() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(20_000, 5), scale=2).astype(np.float32)
    labels = (softmax(honest, 1.0).cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1).clip(0, 4)
    assert temperature(3 * honest, labels) == pytest.approx(3.0, rel=0.05)
    assert temperature(3 * honest, labels, nll) == pytest.approx(3.0, rel=0.05)
    assert ece(softmax(3 * honest, 3.0), labels) < 0.02 < ece(softmax(3 * honest, 1.0), labels)


def test_a_few_confident_mistakes_move_it_little() -> None:
    rng = np.random.default_rng(0)
    honest = rng.normal(size=(20_000, 5), scale=4).astype(np.float32)
    labels = (softmax(honest, 1.0).cumsum(axis=1) < rng.random((20_000, 1))).sum(axis=1).clip(0, 4)
    mislabelled = rng.random(20_000) < 0.01
    labels[mislabelled] = rng.integers(0, 5, mislabelled.sum())
    assert 1 < temperature(honest, labels) < 1.1 < temperature(honest, labels, nll)


def test_no_photos_and_nan_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one photo"):
        temperature(np.empty((0, 3), np.float32), np.empty(0, int))
    with pytest.raises(ValueError, match="finite"):
        temperature(np.array([[np.nan, 1]], np.float32), np.array([0]))


def test_scores_worked_by_hand() -> None:
    p, labels = np.array([[0.8, 0.2], [0.6, 0.4]], np.float32), np.array([0, 1])
    assert nll(p, labels) == pytest.approx(-(np.log(0.8) + np.log(0.4)) / 2)
    assert brier(p, labels) == pytest.approx((0.08 + 0.72) / 2)
    assert ece(p, labels, bins=1) == pytest.approx(0.2)


def test_flips_alternate_and_shifts_stay_within_bounds() -> None:
    assert np.array_equal(mirrored(100, 0, 7), ~mirrored(100, 1, 7))
    assert np.array_equal(mirrored(100, 0, 7), mirrored(100, 2, 7))
    pixels = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
    moved = shift(pixels, 2, np.random.default_rng(1))
    assert moved.shape == pixels.shape
    core = pixels[0, 8:24, 8:24]
    places = [moved[0, 8 + y : 24 + y, 8 + x : 24 + x] for y in range(-2, 3) for x in range(-2, 3)]
    assert any(np.array_equal(core, place) for place in places)
    none = augmented(pixels, np.zeros(20, bool), 0, np.random.default_rng(1))
    assert np.array_equal(none, pixels)
