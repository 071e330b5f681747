"""AUROC, AUPR and FPR95: cases worked by hand, scikit-learn's numbers, intervals that hold the truth."""

from __future__ import annotations

import numpy as np
import pytest

from training.ood_metrics import auroc, compare, fpr95, metrics


def test_cases_worked_by_hand() -> None:
    assert auroc(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 1.0
    assert auroc(np.array([1.0, 1.0]), np.array([1.0, 1.0])) == 0.5
    assert auroc(np.array([0.0, 2.0]), np.array([1.0, 3.0])) == 0.75
    assert fpr95(np.array([0.0, 1.0]), np.array([2.0, 3.0])) == 0.0
    assert fpr95(np.array([0.0, 2.0]), np.array([1.0, 3.0])) == 0.5
    assert fpr95(np.array([5.0, 5.0, 5.0]), np.array([5.0])) == 1.0


def test_they_equal_scikit_learn() -> None:
    from sklearn.metrics import average_precision_score, roc_auc_score

    rng = np.random.default_rng(0)
    known, unknown = rng.normal(size=700).round(1), rng.normal(0.7, 1.3, 400).round(1)  # with ties
    truth, scores = np.repeat([0, 1], [700, 400]), np.concatenate([known, unknown])
    found = metrics(known, unknown)
    assert found["auroc"] == pytest.approx(roc_auc_score(truth, scores))
    assert found["aupr_unknown"] == pytest.approx(average_precision_score(truth, scores))
    assert found["aupr_known"] == pytest.approx(average_precision_score(1 - truth, -scores))
    threshold = np.sort(unknown)[::-1][int(np.ceil(0.95 * 400)) - 1]
    assert found["fpr95"] == pytest.approx((known >= threshold).mean())


def test_intervals_hold_the_truth_about_as_often_as_they_say() -> None:
    truth, hits = 0.7602, 0  # P(N(1, 1) > N(0, 1)) = Phi(1 / sqrt 2)
    for seed in range(60):
        rng = np.random.default_rng(seed)
        row = compare(rng.normal(size=400), {"set": rng.normal(1.0, 1.0, 200)}, seed)["set"]
        low, high = row["auroc_interval"]
        assert low < row["auroc"] < high
        hits += low <= truth <= high
    assert hits >= 51  # 0.1 % quantile of a binomial with 95 %


def test_draws_of_known_photos_are_shared_between_sets() -> None:
    rng = np.random.default_rng(0)
    known, unknown = rng.normal(size=50), rng.normal(1.0, 1.0, 5000)
    rows = compare(known, {"one": unknown, "two": unknown[::-1]})
    together = np.corrcoef(rows["one"]["samples"]["auroc"], rows["two"]["samples"]["auroc"])[0, 1]
    assert together > 0.9
