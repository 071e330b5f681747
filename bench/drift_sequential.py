"""Sequential detectors beside the check: images until an alarm, all at the same rate of false alarms.

A stream of single rows is unchanged and then changes, at once or little by little. Thresholds come from simulated
unchanged streams, in which a procedure alarms once in ``every`` images; the delay counts from the first changed image.

- *check*: the product's tests on disjoint windows, at the level that gives the same rate.
- *CUSUM*: Page, Biometrika 41 (1954), of each numeric column's normal score in both directions; the largest counts.
- *MEWMA*: Lowry, Woodall, Champ, Rigdon, Technometrics 34 (1992), of all numeric columns together.
- *e-detector*: Shin, Ramdas, Rinaldo, arXiv 2203.03532: the mean of restarted products of bets on each column.
- *CUSUM of windows*: the same CUSUM on the means of the windows that the recorder writes; it needs no single rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from bench.drift_traffic import Change, Photos, take
from monitoring import drift, profiles
from monitoring.rows import COLUMNS, Table

Floats = NDArray[np.float64]
Detector = Callable[[Floats], Floats]
"""Normal scores (runs, time, columns) -> the statistic after each row or window, (runs, time)."""
NUMERIC = tuple(c.name for c in COLUMNS if c.kind != "context" and not c.categorical)
REFERENCE_ROWS = 3_000
_BETS = (0.25, 0.5, 1.0)


def cusum(scores: Floats, allowance: float) -> Floats:
    signed = np.concatenate([scores, -scores], axis=2) - allowance
    state, out = np.zeros(signed[:, 0].shape), np.empty(scores.shape[:2])
    for t in range(scores.shape[1]):
        state = np.maximum(0, state + signed[:, t])
        out[:, t] = state.max(axis=1)
    return out


def mewma(scores: Floats, weight: float, inverse: Floats) -> Floats:
    state, out = np.zeros(scores[:, 0].shape), np.empty(scores.shape[:2])
    for t in range(scores.shape[1]):
        state = (1 - weight) * state + weight * scores[:, t]
        variance = weight / (2 - weight) * (1 - (1 - weight) ** (2 * (t + 1)))
        out[:, t] = ((state @ inverse) * state).sum(axis=1) / variance
    return out


def e_detector(scores: Floats) -> Floats:
    bets = np.array([sign * bet for bet in _BETS for sign in (1, -1)])[:, None, None]
    state, out = np.zeros((len(bets), *scores[:, 0].shape)), np.empty(scores.shape[:2])
    for t in range(scores.shape[1]):
        state = np.maximum(state, 0) + bets * scores[:, t] - bets**2 / 2
        top = state.max(axis=(0, 2))
        out[:, t] = top + np.log(np.exp(state - top[:, None]).mean(axis=(0, 2)))
    return out


def rows_of(
    population: Photos, change: Change | None, ramp: int, before: int, time: int, rng: np.random.Generator
) -> Table:
    """A stream of ``time`` rows: ``before`` unchanged ones, then the change, complete after ``ramp`` more."""
    stream = take(population, rng, time)
    if change is None:
        return stream
    after = np.arange(time) - before + 1
    share = change.share * np.clip(after / max(ramp, 1), 0, 1)
    new, other = rng.random(time) < share, take(change.photos, rng, time)
    return {name: np.where(new, other[name], values) for name, values in stream.items()}


def normal_scores(table: Table, reference: Table) -> Floats:
    """Numeric columns as normal scores of their rank in the reference, (time, columns)."""
    out = np.empty((len(table["label"]), len(NUMERIC)))
    for i, name in enumerate(NUMERIC):
        known = np.sort(reference[name])
        rank = (np.searchsorted(known, table[name], "left") + np.searchsorted(known, table[name], "right")) / 2
        out[:, i] = norm.ppf((rank + 0.5) / (len(known) + 1))
    return out


def window_means(scores: Floats, size: int) -> Floats:
    """Means of disjoint windows as standard scores, (runs, windows, columns)."""
    runs, time, columns = scores.shape
    return scores[:, : time // size * size].reshape(runs, -1, size, columns).mean(axis=2) * np.sqrt(size)


def threshold(statistic: Floats, every: int) -> float:
    """The level that unchanged streams reach for the first time after ``every`` steps on average.

    Streams shorter than that are enough: first alarms of a stationary detector come at a constant rate, so the rate is
    alarms over steps at risk.
    """
    highest = np.maximum.accumulate(statistic, axis=1)
    low, high = float(statistic.min()), float(statistic.max())
    for _ in range(40):
        middle = (low + high) / 2
        risk = int((highest < middle).sum())
        alarms = int((highest[:, -1] >= middle).sum())
        low, high = (middle, high) if alarms and (risk + alarms) / alarms < every else (low, middle)
    return high


def first_alarm(statistic: Floats, level: float, before: int) -> Floats:
    """Steps from the change to the first alarm after it, NaN where none came; alarms before it are not counted."""
    hit = statistic[:, before:] >= level
    return np.where(hit.any(axis=1), hit.argmax(axis=1) + 1.0, np.nan)


def streams(
    population: Photos, change: Change | None, ramp: int, before: int, time: int, runs: int, seed: int
) -> Iterator[tuple[Table, Table]]:
    """References and the streams that follow them."""
    for run in range(runs):
        rng = np.random.default_rng((seed, run))
        yield take(population, rng, REFERENCE_ROWS), rows_of(population, change, ramp, before, time, rng)


def scores_of(*arguments: object) -> Floats:
    return np.stack([normal_scores(stream, reference) for reference, stream in streams(*arguments)])  # type: ignore[arg-type]


def detectors(calm: Floats) -> dict[str, Detector]:
    """The detectors of single rows; ``calm`` unchanged scores (runs, time, columns) give their covariance."""
    inverse: Floats = np.asarray(np.linalg.inv(np.cov(calm.reshape(-1, calm.shape[2]).T)), np.float64)
    found: dict[str, Detector] = {f"CUSUM, allowance {k}": partial(cusum, allowance=k) for k in (0.1, 0.25, 0.5)}
    found |= {f"MEWMA, weight {w}": partial(mewma, weight=w, inverse=inverse) for w in (0.02, 0.1, 0.3)}
    return found | {"e-detector": e_detector}


def check_delay(population: Photos, change: Change, ramp: int, size: int, alpha: float, time: int, runs: int) -> Floats:
    """Images until the check on disjoint windows of ``size`` alarms."""
    found = np.full(runs, np.nan)
    for run, (reference, stream) in enumerate(streams(population, change, ramp, 0, time, runs, 5)):
        known = profiles.profile(reference)
        for start in range(0, time - size + 1, size):
            window = profiles.profile({name: values[start : start + size] for name, values in stream.items()})
            if drift.check(known, window, alpha).verdict == "drift":
                found[run] = start + size
                break
    return found
