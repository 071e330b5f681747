"""The gate: the same scores as scikit-learn, valid p-values, pairs that stay together."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runners.gate import Gate, load_gate, save_gate
from training.gate import auroc, fit_gate, fpr95, mean_embeddings, to_arrays


def outputs(count: int, seed: int, sharpness: float = 8.0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    centres = np.random.default_rng(99).normal(size=(4, 16))
    embedding = (centres[labels] + 0.4 * rng.normal(size=(count, 16))).astype(np.float32)
    logits = (rng.normal(size=(count, 4)) + sharpness * np.eye(4)[labels]).astype(np.float32)
    return logits, embedding, labels


@pytest.fixture(scope="module")
def gate() -> Gate:
    means = mean_embeddings(*outputs(500, 0)[1:], 4)
    return fit_gate(outputs(1500, 1)[:2], means, outputs(1500, 2)[:2], 1.0, trees=100, seed=0)


def test_scores_equal_scikit_learn() -> None:
    from sklearn.ensemble import IsolationForest

    rng = np.random.default_rng(0)
    model = IsolationForest(n_estimators=50, random_state=0).fit(rng.normal(size=(700, 5)).astype(np.float32))
    rows = rng.normal(size=(300, 5), scale=2).astype(np.float32)
    assert to_arrays(model).score(rows) == pytest.approx(-model.score_samples(rows), abs=1e-6)


def test_the_refused_share_of_fresh_known_photos_is_the_promise(gate: Gate) -> None:
    logits, embedding, _ = outputs(4000, 3)
    share = float((gate.score(logits, embedding)[1] <= 0.05).mean())
    assert 0.035 <= share <= 0.065


def test_unknown_outputs_get_small_p_values(gate: Gate) -> None:
    rng = np.random.default_rng(5)
    flat, nowhere = rng.normal(size=(200, 4)).astype(np.float32), rng.normal(size=(200, 16)).astype(np.float32)
    assert np.median(gate.score(flat, nowhere)[1]) < 0.05


def test_saved_and_loaded_gates_agree(gate: Gate, tmp_path: Path) -> None:
    save_gate(tmp_path, gate)
    logits, embedding, _ = outputs(50, 4)
    for before, after in zip(gate.score(logits, embedding), load_gate(tmp_path).score(logits, embedding), strict=True):
        assert np.array_equal(before, after)


def test_nan_and_infinity_are_refused(gate: Gate) -> None:
    logits, embedding, _ = outputs(2, 6)
    for bad in (np.nan, np.inf):
        broken = logits.copy()
        broken[0, 0] = bad
        with pytest.raises(ValueError, match="NaN or infinite"):
            gate.score(broken, embedding)


def test_an_empty_calibration_set_and_one_class_are_refused() -> None:
    logits, embedding, labels = outputs(100, 7)
    means = mean_embeddings(embedding, labels, 4)
    with pytest.raises(ValueError, match="calibration photos"):
        fit_gate((logits, embedding), means, (logits[:0], embedding[:0]), 1.0, 10, 0)
    with pytest.raises(ValueError, match="two classes"):
        fit_gate((logits, embedding), means[:1], (logits, embedding), 1.0, 10, 0)
    with pytest.raises(ValueError, match="class 4 has no training photo"):
        mean_embeddings(embedding, labels, 5)


def test_auroc_and_fpr95_of_cases_worked_by_hand() -> None:
    assert auroc(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 1.0
    assert auroc(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 0.5
    assert auroc(np.array([0.0, 2.0]), np.array([1.0, 3.0])) == 0.75
    assert fpr95(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 0.0
