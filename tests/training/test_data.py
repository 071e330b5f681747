"""Readers and splits: official batches, hostile pickles, splits that never move."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from training.dataset import build, load, split_of
from training.sources import SourceError, load_cifar10, read_batch


def pictures(count: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    return rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, count)


def test_an_official_batch_is_read(tmp_path: Path) -> None:
    data = np.random.default_rng(0).integers(0, 256, (5, 3072), dtype=np.uint8)
    (tmp_path / "batch").write_bytes(pickle.dumps({b"data": data, b"labels": [1, 2, 3, 4, 5]}, protocol=2))
    batch = read_batch(tmp_path / "batch")
    assert np.array_equal(batch[b"data"], data)
    assert batch[b"labels"] == [1, 2, 3, 4, 5]


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("owned",)


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "batch").write_bytes(pickle.dumps({b"data": Hostile(), b"labels": []}))
    with pytest.raises(SourceError, match="not allowed"):
        read_batch(tmp_path / "batch")
    assert capsys.readouterr().out == ""


def test_a_truncated_batch_is_refused(tmp_path: Path) -> None:
    whole = pickle.dumps({b"data": np.zeros((5, 3072), np.uint8), b"labels": [0] * 5}, protocol=2)
    (tmp_path / "batch").write_bytes(whole[:-100])
    with pytest.raises(SourceError, match="not a CIFAR batch"):
        read_batch(tmp_path / "batch")


def test_missing_batches_are_named(tmp_path: Path) -> None:
    (tmp_path / "cifar-10-batches-py").mkdir()
    with pytest.raises(SourceError, match="test_batch missing"):
        load_cifar10(tmp_path, "test")


def test_adding_photos_moves_no_old_one() -> None:
    pixels, labels = pictures(400)
    before = [split_of(p) for p in pixels]
    more, _ = pictures(100, seed=9)
    assert [split_of(p) for p in np.concatenate([more, pixels])][100:] == before
    assert {"train", "validation", "calibration"} == set(before)
    assert len(labels) == 400


def test_test_photos_are_dropped_from_training_and_the_digest_is_stable() -> None:
    train, test = pictures(300), pictures(50, seed=1)
    leaky = (np.concatenate([train[0], test[0][:5]]), np.concatenate([train[1], test[1][:5]]))
    names = tuple("abcdefghij")
    clean, cleaned = build(train, test, names), build(leaky, test, names)
    assert clean.digest == cleaned.digest
    assert build(train, test, names[::-1]).digest != clean.digest


def test_an_unprepared_dataset_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="training prepare"):
        load(tmp_path)


def test_the_real_data_has_its_official_order(data_root: Path) -> None:
    pixels, labels = load_cifar10(data_root, "test")
    assert pixels.shape == (10_000, 32, 32, 3)
    assert labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert np.bincount(labels).tolist() == [1000] * 10
