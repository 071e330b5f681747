"""The gate on made-up outputs: the promise on fresh photos, in every group; unknown outputs; bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binomtest

from runners.gate import WEIGHT_OF_ALL, Gate
from training.gate import calibration_groups, fit_gate, mirrored, scales
from training.isolation import fit_forest, to_arrays
from training.ood_known import GateError, fit_known

CLASSES = 6
RARE = 5  # a class of few photos, of which the network is less sure


def outputs(count: int, seed: int) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Logits, embedding and labels of photos of five common classes and a rare one that excites the network less."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(CLASSES, count, p=[0.195] * 5 + [0.025])
    centres = np.random.default_rng(99).normal(size=(CLASSES, 16))
    strength = np.where(labels == RARE, 0.7, 1.0)[:, None]
    embedding = (strength * centres[labels] + 0.4 * rng.normal(size=(count, 16))).astype(np.float32)
    return (2.0 * embedding @ centres.T).astype(np.float32), embedding, labels


@pytest.fixture(scope="module")
def gate() -> Gate:
    logits, embedding, labels = outputs(1200, 0)
    held, calibration = outputs(1500, 1)[:2], outputs(3000, 2)[:2]
    known = fit_known((logits, embedding), labels, held, 1.0, CLASSES)
    return fit_gate(held, known, calibration, ("gen", "energy", "cosine"), trees=60, seed=0)


def test_of_fresh_known_photos_the_promised_share_is_refused_in_every_group(gate: Gate) -> None:
    logits, embedding, labels = outputs(20_000, 3)
    refused = gate.score(logits, embedding)[1] <= 0.05
    assert 0.04 <= refused.mean() <= 0.06
    for label in range(CLASSES):
        mine = refused[labels == label]
        low, _ = binomtest(int(mine.sum()), len(mine)).proportion_ci(0.99)
        assert low <= 0.09, label  # the predicted class, not the true one, decides the group
    one_group = replace(gate, groups=np.zeros(CLASSES, np.intp), class_scale=np.ones(CLASSES))
    calibration = outputs(3000, 2)[:2]
    again = gate.forest.score(gate.features(*calibration))
    one_group = replace(one_group, calibration=np.sort(one_group.conformity(again, calibration[0].argmax(axis=1))))
    rare = labels == RARE
    unfair = one_group.score(logits, embedding)[1] <= 0.05
    assert unfair[rare].mean() > 2 * refused[rare].mean()  # what the groups are for


def test_p_values_of_a_group_worked_by_hand(gate: Gate) -> None:
    logits, embedding, _ = outputs(50, 4)
    scores, p_values = gate.score(logits, embedding)
    exact = gate.forest.score(gate.features(logits, embedding))
    for row, score in enumerate(exact):
        guess = logits[row].argmax()
        mine = gate.calibration[np.floor(gate.calibration) == gate.groups[guess]] - gate.groups[guess]
        unusual = gate.conformity(np.array([score]), np.array([guess]))[0]
        every = gate.calibration - np.floor(gate.calibration)
        within = (1 + (mine >= unusual - 1e-12).sum()) / (len(mine) + 1)
        among_all = (1 + (every >= unusual - 1e-12).sum()) / (len(every) + 1)
        wanted = min(within / (1 - WEIGHT_OF_ALL), among_all / WEIGHT_OF_ALL, 1.0)
        assert p_values[row] == pytest.approx(wanted, abs=1e-6)
    assert scores == pytest.approx(exact, abs=1e-6)


def test_weak_and_overexcited_outputs_get_small_p_values(gate: Gate) -> None:
    rng = np.random.default_rng(5)
    weak = (0.3 * rng.normal(size=(200, CLASSES))).astype(np.float32), rng.normal(size=(200, 16)).astype(np.float32)
    assert np.median(gate.score(*weak)[1]) < 0.05
    loud = outputs(200, 6)[1] + 40 * rng.normal(size=(200, 16)).astype(np.float32)
    confident = (50.0 * np.eye(CLASSES)[rng.integers(0, CLASSES, 200)]).astype(np.float32)
    assert np.median(gate.score(confident, loud)[1]) < 0.05


def test_classes_of_about_the_same_size_share_a_group_that_is_large_enough() -> None:
    assert calibration_groups(np.array([240, 30, 7, 25, 8, 250, 9])).tolist() == [2, 1, 0, 1, 0, 2, 0]
    assert calibration_groups(np.array([300, 30, 7, 25, 3])).tolist() == [1, 0, 0, 0, 0]  # 10 photos are too few
    assert calibration_groups(np.array([3, 0, 5])).tolist() == [0, 0, 0]
    assert calibration_groups(np.array([15, 15, 2])).tolist() == [0, 0, 0]


def test_scales_are_exponential_on_photos_like_these_and_go_on_beyond() -> None:
    rng = np.random.default_rng(0)
    knots, levels = scales(rng.normal(size=(4000, 1)).astype(np.float32))
    fresh = np.interp(rng.normal(size=20_000), knots[0], levels)
    assert fresh.mean() == pytest.approx(1.0, abs=0.05)
    assert (fresh > np.log(20)).mean() == pytest.approx(0.05, abs=0.01)
    beyond = np.interp([5.0, 10.0, 20.0], knots[0], levels)
    assert beyond[0] < beyond[1] < beyond[2]
    constant, levels = scales(np.ones((30, 2), np.float32))
    assert np.isfinite(constant).all()
    assert np.interp(2.0, constant[0], levels) > levels[-2]


def test_an_ordinary_photo_is_the_least_unusual_because_features_are_mirrored() -> None:
    features = np.random.default_rng(0).exponential(size=(1000, 2)).astype(np.float32)
    line = np.linspace(0, 6, 13, dtype=np.float32)[:, None].repeat(2, axis=1)
    score = fit_forest(mirrored(features, 0), 100, 0).score(line)
    assert score[0] < score[2] < score[4] < score[8]
    edge = fit_forest(features, 100, 0).score(line)
    assert edge[0] > edge[1]  # the fault that mirroring cures


def test_scores_equal_scikit_learn() -> None:
    from sklearn.ensemble import IsolationForest

    rng = np.random.default_rng(0)
    model = IsolationForest(n_estimators=50, random_state=0).fit(rng.normal(size=(700, 5)).astype(np.float32))
    forest = to_arrays(model)
    anywhere = rng.normal(size=(300, 5), scale=2)
    borders = rng.choice(forest.threshold, size=(300, 5))  # rounded to float32, to either side of where a node divides
    rows = np.concatenate([anywhere, borders]).astype(np.float32)
    assert forest.score(rows) == pytest.approx(-model.score_samples(rows), abs=1e-6)
    alone = np.concatenate([forest.score(row[None]) for row in rows])  # by another way through the trees
    assert np.array_equal(alone, forest.score(rows))
    assert forest.score(rows[:0]).shape == (0,)


def test_bad_input_is_one_clear_error() -> None:
    logits, embedding, labels = outputs(300, 7)
    train, empty = (logits, embedding), (logits[:0], embedding[:0])
    known = fit_known(train, labels, (logits, embedding), 1.0, CLASSES)
    with pytest.raises(GateError, match="held-out photos and calibration photos"):
        fit_gate(train, known, empty, ("energy",), 10, 0)
    with pytest.raises(GateError, match="held-out photos"):
        fit_known(train, labels, empty, 1.0, CLASSES)
    with pytest.raises(GateError, match="two classes"):
        fit_known(train, np.zeros(300, np.int64), (logits, embedding), 1.0, 1)
    with pytest.raises(GateError, match="class 6 has no training photo"):
        fit_known(train, labels, (logits, embedding), 1.0, CLASSES + 1)
    for bad in (np.nan, np.inf):
        broken = logits.copy()
        broken[0, 0] = bad
        with pytest.raises(GateError, match="NaN or infinite"):
            fit_known((broken, embedding), labels, (logits, embedding), 1.0, CLASSES)
        with pytest.raises(GateError, match="NaN or infinite"):
            fit_gate((broken, embedding), known, train, ("energy",), 10, 0)
        with pytest.raises(GateError, match="NaN or infinite"):
            fit_gate(train, known, (broken, embedding), ("energy",), 10, 0)


def test_a_gate_can_be_fitted_on_very_few_photos() -> None:
    logits, embedding, labels = outputs(60, 8)
    logits, embedding = logits[labels < 3, :3], embedding[labels < 3]
    few = (logits[:12], embedding[:12])
    known = fit_known((logits, embedding), labels[labels < 3], few, 1.0, 3)
    gate = fit_gate(few, known, few, ("gen", "energy", "knn", "relative_mahalanobis"), 10, 0)
    score, p_value = gate.score(logits, embedding)
    assert np.isfinite(score).all()
    assert ((p_value > 0) & (p_value <= 1)).all()
