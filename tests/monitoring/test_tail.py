"""The tail test: its law on unchanged columns, its power where a few rows lie far out, and large sketches."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from monitoring import drift, profiles, tail


def column(values: np.ndarray) -> profiles.Numeric:
    from whylogs_sketching import kll_doubles_sketch

    sketch = kll_doubles_sketch(profiles.SKETCH_K)
    sketch.update(np.asarray(values, np.float64))
    return profiles.Numeric(len(values), float(np.mean(values)), float(np.std(values, ddof=1)), sketch)


def exact(known: np.ndarray, window: np.ndarray) -> float:
    """The standard score from every value's own rank."""
    pooled = np.concatenate([window, known])
    ranks = -np.log((len(pooled) - stats.rankdata(pooled) + 0.5) / len(pooled))
    variance = ranks.var() * len(known) / (len(window) * (len(pooled) - 1))
    return float((ranks[: len(window)].mean() - ranks.mean()) / np.sqrt(variance))


@pytest.mark.parametrize(("m", "n", "runs"), [(1_000, 50, 1_500), (300, 1_000, 700)])
def test_unchanged_columns_alarm_as_often_as_the_level_says(m, n, runs):
    rng = np.random.default_rng(m)
    p = np.array([tail.savage(column(rng.normal(size=m)), column(rng.normal(size=n)))[1] for _ in range(runs)])
    for level in (0.01, 0.05, 0.2, 0.5):
        low, high = stats.binom.ppf((0.001, 0.999), runs, level)
        assert low <= (p <= level).sum() <= high, level


def test_it_is_the_mean_of_the_ranks_and_sees_one_side_only():
    rng = np.random.default_rng(1)
    known, few = rng.normal(size=3_000), np.concatenate([rng.normal(size=950), rng.normal(3, 0.5, 50)])
    score, p = tail.savage(column(known), column(few))
    assert p < 1e-4
    assert stats.ks_2samp(known, few).pvalue > 1e-3
    assert tail.savage(column(-known), column(-few))[1] > 0.5
    assert score == pytest.approx(exact(known, few))
    assert tail.savage(column(np.ones(100)), column(np.ones(50))) == (0.0, 1.0)
    assert tail.savage(column(known), profiles.Numeric(1, 0.0, 0.0, None)) == (0.0, 1.0)


def test_above_the_size_of_the_sketch_its_error_is_taken_off():
    rng = np.random.default_rng(2)
    known, window = rng.normal(size=20_000), rng.normal(size=20_000)
    window[:500] += 2
    score, p = tail.savage(column(known), column(window))
    assert 0.5 * exact(known, window) < score < exact(known, window)
    assert p < 1e-4


def test_the_check_tells_a_few_unknown_objects_by_the_gates_score():
    rng = np.random.default_rng(3)
    known, window = rng.normal(size=3_000), rng.normal(size=2_000)
    window[:100] += 2.5
    found = drift.check(profiles.profile({"ood_score": known}), profiles.profile({"ood_score": window}))
    (scored,) = found.columns
    assert (found.verdict, scored.test, scored.drifted) == ("drift", tail.NAME, True)
    assert found.smallest_p == scored.adjusted_p_value == pytest.approx((scored.p_value or 1) / drift.TAIL_SHARE)
    fewer = profiles.profile({"ood_score": rng.normal(-1, 1, 2_000)})
    (lower,) = drift.check(profiles.profile({"ood_score": known}), fewer).columns
    assert (lower.test, lower.drifted) == ("Kolmogorov-Smirnov", True)
