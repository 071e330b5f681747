"""Effects: their intervals hold the true value as often as they say, and a change is dated."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitoring import profiles
from monitoring.effects import glass_delta, total_variation
from monitoring.profiles import Categorical, Numeric
from monitoring.since import Timeline


def numeric(values: np.ndarray) -> Numeric:
    return Numeric(len(values), float(values.mean()), float(values.std(ddof=1)), None)


@pytest.mark.parametrize(("shift", "spread"), [(0.0, 1.0), (0.8, 1.0), (0.3, 2.0)])
def test_the_interval_of_a_shift_holds_it(shift, spread):
    rng = np.random.default_rng(1)
    held = 0
    for _ in range(400):
        delta, low, high = glass_delta(numeric(rng.normal(size=500)), numeric(rng.normal(shift, spread, 80)))
        assert low < delta < high
        held += low <= shift <= high
    assert 0.92 <= held / 400 <= 0.99


@pytest.mark.parametrize("moved", [0.0, 0.2])
@pytest.mark.parametrize("rows", [50, 1_000])
def test_the_interval_of_a_share_holds_it(moved, rows):
    rng = np.random.default_rng(2)
    shares = np.full(20, 0.05)
    now = shares.copy()
    now[0], now[1:5] = now[0] + moved, now[1:5] - moved / 4
    held = 0
    for _ in range(60):
        sides = [
            Categorical({str(i): int(n) for i, n in enumerate(rng.multinomial(n, p))})
            for n, p in ((3_000, shares), (rows, now))
        ]
        value, low, high = total_variation(*sides)
        assert 0 <= low <= value <= high <= 1
        held += low <= moved <= high
    assert held >= 56


def test_what_has_no_effect_has_none():
    assert glass_delta(numeric(np.ones(5)), numeric(np.ones(5))) is None
    assert total_variation(Categorical({}), Categorical({"a": 1})) is None


@pytest.mark.parametrize("column", ["brightness", "label"])
@pytest.mark.parametrize("first", [0, 7, 19])
def test_a_change_is_dated_to_its_window(table, column, first):
    reference = profiles.profile(table(2_000, seed=99))
    timeline, noon = Timeline(reference), datetime(2026, 3, 1, 12, tzinfo=UTC)
    windows = []
    for number in range(20):
        made = table(100, seed=number, brightness=0.1 if column == "brightness" and number >= first else 0.0)
        if column == "label" and number >= first:
            made["label"][:60] = "class 3"
        windows.append(profiles.profile(made, start=(noon + timedelta(hours=number)).isoformat()))
    assert len(list(timeline.watch(windows))) == 20
    assert timeline.since([column]) == (noon + timedelta(hours=first)).isoformat()
    assert timeline.since([]) is None
