"""Which rows an epoch shows: every photo, small classes as often as the floor says, small datasets repeated."""

from __future__ import annotations

import numpy as np
import pytest

from training.augment import vary
from training.balance import Balance, epoch_rows, is_small, sample_weights

LABELS = np.repeat([0, 1, 2], [1000, 300, 7])


def counts(balance: Balance, floor: float = 0.2, least: int = 1, seed: int = 0) -> np.ndarray:
    rows = epoch_rows(LABELS, balance, floor, least, np.random.default_rng(seed))
    assert set(rows) == set(range(len(LABELS)))
    return np.bincount(LABELS[rows])


@pytest.mark.parametrize("balance", ["plain", "weight"])
def test_plain_and_weight_show_every_photo_once(balance: Balance) -> None:
    assert counts(balance).tolist() == [1000, 300, 7]


@pytest.mark.parametrize("balance", ["oversample", "augment"])
def test_small_classes_are_repeated_up_to_the_floor_and_evenly(balance: Balance) -> None:
    assert counts(balance).tolist() == [1000, 300, 200]
    rows = epoch_rows(LABELS, balance, 0.2, 1, np.random.default_rng(0))
    each = np.bincount(rows, minlength=len(LABELS))[1300:]
    assert each.max() - each.min() <= 1


def test_the_length_of_an_epoch_does_not_depend_on_chance() -> None:
    assert len({len(epoch_rows(LABELS, "augment", 0.37, 5000, np.random.default_rng(s))) for s in range(5)}) == 1


def test_a_small_dataset_is_repeated() -> None:
    assert counts("plain", least=5000).sum() == 4 * 1307


def test_weights_have_mean_one_and_lift_small_classes_to_the_floor() -> None:
    weights = sample_weights(LABELS, "weight", 0.2)
    assert weights.mean() == pytest.approx(1, abs=1e-5)
    assert weights[-1] / weights[0] == pytest.approx(200 / 7, rel=1e-4)
    assert np.all(sample_weights(LABELS, "plain", 0.2) == 1)


def test_which_classes_are_small() -> None:
    assert np.unique(LABELS[is_small(LABELS, 0.2)]).tolist() == [2]


def test_varied_photos_stay_photos_and_differ() -> None:
    photos = np.random.default_rng(0).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    once, again = (vary(photos, np.random.default_rng(seed)) for seed in (1, 2))
    assert once.dtype == np.uint8
    assert once.shape == photos.shape
    assert not np.array_equal(once, again)
    assert np.array_equal(once, vary(photos, np.random.default_rng(1)))
    grey = np.full((4, 32, 32, 3), 128, np.uint8)
    assert np.abs(vary(grey, np.random.default_rng(0)).astype(int) - 128).max() < 128 * 0.35
