"""The drift decision: its false-alarm promise on unchanged windows, its power, and what it refuses to judge."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats
from whylogs_sketching import kll_doubles_sketch

from monitoring import drift, profiles
from monitoring.profiles import Categorical

LABELS = np.array(["airplane", "bird", "cat", "deer", "dog", "unknown"])


def draw(rng: np.random.Generator, n: int, **shift: float) -> dict[str, np.ndarray]:
    """A table of n rows in which columns depend on each other, as they do in real traffic."""
    base = rng.normal(size=(n, 3))
    confidence = stats.norm.cdf(base[:, 0] + 1 + shift.get("confidence", 0.0))
    refused = rng.uniform(size=n) < 0.05 + shift.get("refused", 0.0)
    label = np.where(refused, "unknown", rng.choice(LABELS[:-1], n, p=[0.4, 0.3, 0.2, 0.08, 0.02]))
    brightness = 0.5 + 0.15 * base[:, 1] + shift.get("brightness", 0.0)
    return {
        "brightness": brightness,
        "contrast": np.exp(0.5 * brightness + 0.1 * rng.normal(size=n)),
        "saturation": rng.beta(2, 5, n),
        "sharpness": rng.exponential(size=n) * (1 + 0.2 * base[:, 1] ** 2),
        **{f"projection_{i}": base @ rng_row + rng.normal(size=n) for i, rng_row in enumerate(np.eye(3))},
        "projection_3": rng.standard_t(4, n),
        "label": label,
        "confidence": confidence,
        "entropy": 1 - confidence + 0.01 * rng.normal(size=n),
        "energy": -5 * confidence + rng.normal(size=n),
        "ood_score": refused + rng.normal(size=n),
        "refused": np.where(refused, "yes", "no"),
        "accepted_confidence": np.where(refused, np.nan, confidence),
        "width": np.full(n, 32.0 + shift.get("width", 0.0)),
        "height": np.full(n, 32.0 + shift.get("width", 0.0)),
    }


@pytest.fixture(scope="module")
def reference():
    return profiles.profile(draw(np.random.default_rng(0), 10_000), refuse_share="0.05")


class Sketched(profiles.Profile):
    """A profile made straight from sketches: whylogs takes 20 ms for one of 50 rows, a thousand times."""

    def __init__(self, table: dict[str, np.ndarray]) -> None:
        self.metadata, self._table, self._counts = {}, table, {}

    @property
    def columns(self) -> frozenset[str]:
        return frozenset(self._table)

    @property
    def rows(self) -> int:
        return len(self._table["label"])

    def numeric(self, name: str) -> profiles.Numeric:
        if isinstance(self._table[name], np.ndarray):
            values = self._table[name][np.isfinite(self._table[name])]
            sketch = kll_doubles_sketch(profiles.SKETCH_K)
            sketch.update(values)
            sketch.get_quantiles([0.5])  # sorts it: its CDF takes forty times as long before
            self._table[name] = profiles.Numeric(len(values), values.mean(), values.std(ddof=1), sketch)
        return self._table[name]

    def categorical(self, name: str) -> Categorical:
        if name not in self._counts:
            values, counts = np.unique(self._table[name], return_counts=True)
            self._counts[name] = Categorical(dict(zip(values.tolist(), counts.tolist(), strict=True)))
        return self._counts[name]


def test_a_thousand_unchanged_windows_of_50_to_50_000_rows_alarm_as_often_as_promised(monkeypatch):
    monkeypatch.setattr(drift, "_histogram", lambda *_: ())  # a fifth of the time, and nothing that is judged
    windows = {50: 480, 300: 340, 1_000: 100, 5_000: 50, 50_000: 30}
    rng = np.random.default_rng(11)
    # As many references as largest windows: an unlucky draw of it would be the same bad luck in each of those.
    references = [Sketched(draw(rng, 10_000)) for _ in range(windows[50_000])]
    smallest = {
        rows: np.array(
            [drift.check(references[i % len(references)], Sketched(draw(rng, rows))).smallest_p for i in range(repeats)]
        )
        for rows, repeats in windows.items()
    }
    together = np.concatenate(list(smallest.values()))
    assert len(together) == 1_000
    for alpha in (0.01, 0.05, 0.2):
        alarms = int((together <= alpha).sum())
        assert alarms <= stats.binom.ppf(0.995, 1_000, alpha), f"{alarms} at {alpha}"
        for rows, p in smallest.items():  # the few large ones must not hide behind the many small ones
            alarms = int((p <= alpha).sum())
            assert alarms <= stats.binom.ppf(0.999, len(p), alpha), f"{alarms} of {len(p)} with {rows} rows at {alpha}"
    # The columns depend on each other, so Holm is conservative, but the rate is still of the promised size.
    assert (together <= 0.01).sum() >= stats.binom.ppf(0.005, 1_000, 0.01)


def test_large_windows_do_not_alarm_because_of_the_sketch():
    rng = np.random.default_rng(5)
    p_values = []
    for _ in range(10):
        old, new = (
            profiles.merge([profiles.profile({"brightness": rng.normal(size=10_000)}) for _ in range(3)])
            for _ in range(2)
        )
        p_values.append(drift.check(old, new).smallest_p)
    assert sum(p <= 0.2 for p in p_values) <= stats.binom.ppf(0.999, 10, 0.2)


@pytest.mark.parametrize(
    ("shift", "column", "of_input"),
    [
        ({"brightness": 0.1}, "brightness", True),
        ({"brightness": -0.1}, "brightness", True),
        ({"confidence": -1.0}, "confidence", False),
        ({"refused": 0.25}, "refused", False),
    ],
)
def test_changed_traffic_alarms_and_names_the_column(reference, shift, column, of_input):
    found = drift.check(reference, profiles.profile(draw(np.random.default_rng(1), 200, **shift)))
    assert found.verdict == "drift"
    assert column in {c.name for c in found.columns if c.drifted}
    assert found.input_drift if of_input else found.prediction_drift
    assert column in found.reason


def test_effects_have_the_sign_and_size_of_the_shift(reference):
    window = profiles.profile(draw(np.random.default_rng(1), 2_000, brightness=0.15))
    columns = {c.name: c for c in drift.check(reference, window).columns}
    assert columns["brightness"].effect == pytest.approx(1.0, abs=0.1)
    assert columns["label"].effect < 0.1


def test_the_size_of_the_originals_is_reported_but_never_alarms(reference):
    found = drift.check(reference, profiles.profile(draw(np.random.default_rng(2), 500, width=3_000)))
    width = next(c for c in found.columns if c.name == "width")
    assert (found.verdict, width.kind, width.p_value) == ("no drift", "context", None)
    assert width.bars


def test_too_few_rows_cannot_be_judged(reference):
    window = profiles.profile(draw(np.random.default_rng(3), 29, brightness=5))
    found = drift.check(reference, window)
    assert found.verdict == "cannot judge"
    assert not any(c.drifted for c in found.columns)
    assert drift.check(reference, window, min_rows=29).verdict == "drift"
    assert drift.check(window, reference).verdict == "cannot judge"


def test_verdicts_of_a_gate_at_another_level_are_not_tested(reference):
    window = draw(np.random.default_rng(4), 1_000, refused=0.25)
    window["ood_score"] = draw(np.random.default_rng(4), 1_000)["ood_score"]
    assert drift.check(reference, profiles.profile(window, refuse_share="0.05")).verdict == "drift"
    found = drift.check(reference, profiles.profile(window, refuse_share="0.3"))
    assert found.verdict == "no drift"
    assert {c.test for c in found.columns if c.name in ("label", "refused")} == {"not tested"}
    assert "level" in found.reason


def test_a_constant_window_of_an_unseen_class_alarms_but_one_row_of_it_does_not(reference):
    rng = np.random.default_rng(6)
    rare = draw(rng, 500)
    rare["label"] = rare["label"].astype("<U20")
    rare["label"][0] = "submarine"
    assert drift.check(reference, profiles.profile(rare)).verdict == "no drift"
    rare["label"][:60] = "submarine"
    found = drift.check(reference, profiles.profile(rare))
    assert {c.name for c in found.columns if c.drifted} == {"label"}


@pytest.mark.parametrize(("n", "m"), [(10_000, 50), (500, 400), (60, 60)])
def test_kolmogorov_smirnov_equals_scipy_where_the_sketches_are_exact(n, m):
    rng = np.random.default_rng(n)
    a, b = rng.normal(size=n).round(1), rng.normal(0.1, size=m).round(1)  # with ties
    ours = drift.kolmogorov_smirnov(*(profiles.profile({"energy": x}).numeric("energy") for x in (a, b)))
    theirs = stats.ks_2samp(a, b, method="asymp")
    assert ours == pytest.approx((theirs.statistic, theirs.pvalue), rel=1e-9)


def test_the_monte_carlo_test_agrees_with_theory_at_large_counts():
    old, new = {"a": 4000, "b": 3000, "c": 3000}, {"a": 450, "b": 275, "c": 275}
    name, statistic, p = drift.homogeneity(Categorical(old), Categorical(new), 0.001)
    theory = stats.chi2_contingency([list(old.values()), list(new.values())], lambda_="log-likelihood")
    assert name == "G, Monte Carlo"
    assert statistic == pytest.approx(theory.statistic)
    assert p == pytest.approx(theory.pvalue, rel=0.6)


def test_the_monte_carlo_test_keeps_its_level_at_tiny_counts():
    rng = np.random.default_rng(8)
    shares = np.r_[0.8, np.full(20, 0.01)]
    old = Categorical({str(i): int(n) for i, n in enumerate(rng.multinomial(10_000, shares))})
    p = np.array(
        [
            drift.homogeneity(
                old, Categorical({str(i): int(n) for i, n in enumerate(rng.multinomial(50, shares)) if n}), 0.01
            )[2]
            for _ in range(200)
        ]
    )
    assert (p <= 0.05).sum() <= stats.binom.ppf(0.995, 200, 0.05)
    assert 0.3 < np.median(p) < 0.7


def test_equal_windows_give_equal_answers(reference):
    window = profiles.profile(draw(np.random.default_rng(9), 120))
    assert drift.check(reference, window) == drift.check(reference, window)


@pytest.mark.parametrize("alpha", [0.0, 0.0001, 0.5])
def test_an_impossible_false_alarm_rate_is_refused(reference, alpha):
    with pytest.raises(ValueError, match="alpha"):
        drift.check(reference, reference, alpha=alpha)


def test_the_result_survives_json(reference):
    found = drift.check(reference, profiles.profile(draw(np.random.default_rng(9), 120)))
    assert drift.DriftResult.model_validate_json(found.model_dump_json()) == found
