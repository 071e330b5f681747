"""Has the traffic changed since the model was made? One decision per window with a stated false-alarm rate.

Each tested column gives a p-value: numeric columns by the two-sample Kolmogorov-Smirnov test on the quantile sketches,
categorical ones by a test that is exact at any count. Holm's correction then bounds the chance that *any* column of an
unchanged window alarms by ``alpha``. Three things would break that promise and are taken care of:

- The sketches are approximate above 16,384 rows: the bound of their rank error is subtracted from the KS distance.
- Small expected counts and classes that the reference never saw: no chi-square approximation, but Fisher's exact test
  for two values and a Monte-Carlo test with fixed margins for more.
- A gate that refuses another share than in the reference: its verdicts are then reported, not tested.

The chance of a false alarm is fixed for any window size without a table of thresholds: the law of the KS distance does
not depend on the data, and the Monte Carlo test draws windows of the very size that is judged. Where there is enough
feedback, a fifth of ``alpha`` goes to `monitoring.concept`. Of the rest a fifth goes to `monitoring.tail` on the gate's
score, which finds a few unknown objects, and four fifths to the columns.

What remains assumed: rows are independent. A user who sends one photo a hundred times is a change, and alarms.
"""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from monitoring import tail
from monitoring.concept import ClassAccuracy, Counts, compare, holm, reference_counts
from monitoring.effects import glass_delta, total_variation
from monitoring.profiles import Categorical, Numeric, Profile
from monitoring.rows import COLUMNS, Column, Kind

SMALLEST_ALPHA = 0.001
CONCEPT_SHARE = 0.2
"""What the comparison of feedback may spend of the false-alarm rate, where there is enough of it."""
TAIL_SHARE = 0.2
"""What the test of the gate's score for a few unknown objects spends of what is left."""
TAILED = "ood_score"
_BARS = 12
_SEED = 7
_FIRST_DRAWS, _EXCEEDANCES = 1_000, 20

Verdict = Literal["drift", "no drift", "cannot judge"]


class Bar(BaseModel):
    """One bin or class of a column: its share of the reference and of the window, 0..1."""

    model_config = ConfigDict(frozen=True)

    label: str
    reference: float
    window: float


class ColumnDrift(BaseModel):
    """One column of the comparison. ``p_value`` and ``adjusted_p_value`` (Holm) are None where it is not tested.

    ``statistic``: KS distance, G or the tail test's standard score. ``effect``: numeric, shift of the mean in standard
    deviations of the reference (Glass's delta); categorical, total variation distance (share of rows that would have to
    change their value).
    ``interval``: the effect's, at 95 %.
    """

    model_config = ConfigDict(frozen=True)

    name: str
    kind: Kind
    description: str
    test: str
    statistic: float | None = None
    p_value: float | None = None
    adjusted_p_value: float | None = None
    effect: float | None = None
    interval: tuple[float, float] | None = None
    drifted: bool = False
    bars: tuple[Bar, ...] = ()


class DriftResult(BaseModel):
    """The decision on one window, and what it rests on."""

    model_config = ConfigDict(frozen=True)

    verdict: Verdict
    reason: str
    alpha: float
    reference_rows: int
    window_rows: int
    start: str | None = None
    end: str | None = None
    since: str | None = None
    input_drift: bool = False
    prediction_drift: bool = False
    concept_drift: bool = False
    estimated_accuracy: float | None = None
    reference_accuracy: float | None = None
    columns: tuple[ColumnDrift, ...] = ()
    feedback: tuple[ClassAccuracy, ...] = ()

    @property
    def smallest_p(self) -> float:
        """The smallest adjusted p-value of a column, 1 where none was tested."""
        return min((c.adjusted_p_value for c in self.columns if c.adjusted_p_value is not None), default=1.0)


def check(
    reference: Profile, window: Profile, alpha: float = 0.01, min_rows: int = 30, feedback: Counts | None = None
) -> DriftResult:
    """Compare a window of traffic, and the ``feedback`` on it, with the reference.

    On unchanged data the verdict is "drift" with probability at most ``alpha`` (family-wise over all columns and
    classes; in [0.001, 0.5)). It is "cannot judge" where either side has fewer than ``min_rows`` rows and no feedback
    says "drift".

    Raises:
        ValueError: for an ``alpha`` outside its range.
    """
    if not SMALLEST_ALPHA <= alpha < 0.5:
        raise ValueError(f"alpha must lie in [{SMALLEST_ALPHA}, 0.5), not {alpha}.")
    comparable = _same_gate(reference, window)
    shared = [c for c in COLUMNS if c.name in reference.columns and c.name in window.columns]
    enough = min(reference.rows, window.rows) >= min_rows
    tested = [c for c in shared if c.kind != "context" and (comparable or c.name not in ("label", "refused"))]
    concept = compare(reference_counts(reference.metadata), feedback or {}, CONCEPT_SHARE * alpha, min_rows)
    judged = any(c.adjusted_p_value is not None for c in concept)
    level = alpha * (1 - CONCEPT_SHARE) if judged else alpha
    share = (1 - TAIL_SHARE) * level / max(len(tested), 1)
    columns = [_compare(c, reference, window, share, enough and c in tested) for c in shared]
    columns = [_tailed(c, reference, window, level) for c in _adjusted(columns, level)]
    drifted = [c for c in columns if c.drifted]
    wrong = [c for c in concept if c.drifted]
    possible = judged or (enough and bool(tested))
    verdict: Verdict = "drift" if drifted or wrong else "no drift" if possible else "cannot judge"
    return DriftResult(
        verdict=verdict,
        reason=_reason(verdict, drifted, wrong, reference.rows, window.rows, min_rows, comparable),
        alpha=alpha,
        reference_rows=reference.rows,
        window_rows=window.rows,
        start=window.metadata.get("start"),
        end=window.metadata.get("end"),
        input_drift=any(c.kind == "input" for c in drifted),
        prediction_drift=any(c.kind == "prediction" for c in drifted),
        concept_drift=bool(wrong),
        estimated_accuracy=_accuracy(window),
        reference_accuracy=_accuracy(reference),
        columns=tuple(columns),
        feedback=concept,
    )


def kolmogorov_smirnov(reference: Numeric, window: Numeric) -> tuple[float, float]:
    """Two-sample KS distance and p-value (scipy's `ks_2samp`, mode "asymp"), reduced by both sketches' rank errors."""
    from scipy.stats import kstwo

    few, many = sorted((reference, window), key=lambda column: column.count)
    if not few.count:
        return 0.0, 1.0
    # Between two values of one sample its CDF is flat and the other's rises, so the supremum lies at those values.
    at = few.support
    distance = max(
        float(np.abs(few.cdf(at, inclusive=side) - many.cdf(at, inclusive=side)).max()) for side in (True, False)
    )
    sure = max(0.0, distance - few.rank_error - many.rank_error)
    effective = max(1, round(few.count * many.count / (few.count + many.count)))
    return distance, float(kstwo.sf(sure, effective))


def homogeneity(reference: Categorical, window: Categorical, level: float) -> tuple[str, float, float]:
    """Name of the test, G statistic and p-value that both samples come from one distribution; exact at small counts.

    Two values: Fisher's exact test. More: draws with both margins fixed, stopped early where the p-value is plainly
    above ``level`` (Besag and Clifford 1991, "Sequential Monte Carlo p-values"); the seed is fixed, so equal windows
    give equal answers. A class absent from one side counts like any other.
    """
    from scipy.stats import fisher_exact

    values = sorted(set(reference.counts) | set(window.counts))
    table = np.array([[side.counts.get(v, 0) for v in values] for side in (reference, window)], dtype=np.int64)
    if len(values) < 2 or not table.sum(axis=1).all():
        return "none (one value)", 0.0, 1.0
    statistic = float(_g(table[1:], table.sum(axis=0))[0])
    if len(values) == 2:
        return "Fisher exact", statistic, float(fisher_exact(table).pvalue)
    return "G, Monte Carlo", statistic, _monte_carlo(table, statistic, level)


def _monte_carlo(table: NDArray[np.int64], statistic: float, level: float) -> float:
    rng = np.random.default_rng(_SEED)
    pooled, size = table.sum(axis=0), int(table[1].sum())
    most = math.ceil(20 / level)
    drawn = exceeded = 0
    while drawn < most:
        count = min(drawn or _FIRST_DRAWS, most - drawn)
        drawn_g = _g(rng.multivariate_hypergeometric(pooled, size, count, method="marginals"), pooled)
        hits = np.flatnonzero(drawn_g >= statistic * (1 - 1e-9))
        if exceeded + len(hits) >= _EXCEEDANCES:
            return float(_EXCEEDANCES / (drawn + hits[_EXCEEDANCES - exceeded - 1] + 1))
        exceeded, drawn = exceeded + len(hits), drawn + count
    return (exceeded + 1) / (most + 1)


def _g(windows: NDArray[np.int64], pooled: NDArray[np.int64]) -> NDArray[np.float64]:
    """G = 2 sum O ln(O/E) of 2 x k tables with second rows ``windows`` (m, k) and column sums ``pooled`` (k,)."""
    total, size = pooled.sum(), windows.sum(axis=1, keepdims=True)
    g = np.zeros(len(windows))
    for observed, rows in ((windows, size), (pooled - windows, total - size)):
        expected = rows * pooled / total
        ratio = np.divide(observed, expected, out=np.ones_like(expected), where=observed > 0)
        g += 2 * (observed * np.log(ratio)).sum(axis=1)
    return g


def _compare(column: Column, reference: Profile, window: Profile, level: float, test: bool) -> ColumnDrift:
    about: dict[str, Any] = {"name": column.name, "kind": column.kind, "description": column.description}
    if column.categorical:
        old, new = reference.categorical(column.name), window.categorical(column.name)
        shares, now = old.shares, new.shares
        values = sorted(set(shares) | set(now))
        bars = tuple(Bar(label=v, reference=shares.get(v, 0.0), window=now.get(v, 0.0)) for v in values)
        effect = total_variation(old, new)
        name, statistic, p = homogeneity(old, new, level) if test else ("not tested", None, None)
    else:
        a, b = reference.numeric(column.name), window.numeric(column.name)
        bars = _histogram(a, b)
        effect = glass_delta(a, b)
        name, (statistic, p) = (
            ("Kolmogorov-Smirnov", kolmogorov_smirnov(a, b)) if test else ("not tested", (None, None))
        )
    size, interval = (effect[0], effect[1:]) if effect else (None, None)
    return ColumnDrift(**about, test=name, statistic=statistic, p_value=p, effect=size, interval=interval, bars=bars)


def _histogram(reference: Numeric, window: Numeric) -> tuple[Bar, ...]:
    """Equal bins over the middle 98 % of both; the outer bins are open."""
    if not reference.count or not window.count:
        return ()
    ends = np.array([column.quantiles((0.01, 0.99)) for column in (reference, window)])
    edges = np.linspace(ends[:, 0].min(), ends[:, 1].max(), _BARS + 1)[1:-1]
    shares = [np.diff(np.concatenate(([0.0], column.cdf(edges), [1.0]))) for column in (reference, window)]
    labels = [f"<= {edges[0]:.3g}", *(f"<= {edge:.3g}" for edge in edges[1:]), f"> {edges[-1]:.3g}"]
    return tuple(Bar(label=t, reference=a, window=b) for t, a, b in zip(labels, *shares, strict=True))


def _adjusted(columns: list[ColumnDrift], alpha: float) -> list[ColumnDrift]:
    adjusted = holm({c.name: c.p_value for c in columns if c.p_value is not None})
    adjusted = {name: min(1.0, p / (1 - TAIL_SHARE)) for name, p in adjusted.items()}
    return [
        c.model_copy(update={"adjusted_p_value": adjusted[c.name], "drifted": adjusted[c.name] <= alpha})
        if c.name in adjusted
        else c
        for c in columns
    ]


def _tailed(column: ColumnDrift, reference: Profile, window: Profile, alpha: float) -> ColumnDrift:
    """``column`` with the result of the tail test, where that says more."""
    if column.name != TAILED or column.adjusted_p_value is None:
        return column
    statistic, p = tail.savage(reference.numeric(TAILED), window.numeric(TAILED))
    adjusted = min(1.0, p / TAIL_SHARE)
    if adjusted >= column.adjusted_p_value:
        return column
    found = {"test": tail.NAME, "statistic": statistic, "p_value": p, "adjusted_p_value": adjusted}
    return column.model_copy(update={**found, "drifted": adjusted <= alpha})


def _same_gate(reference: Profile, window: Profile) -> bool:
    shares = [p.metadata.get("refuse_share") for p in (reference, window)]
    return None in shares or shares[0] == shares[1]


def _accuracy(profile: Profile) -> float | None:
    """Label-free estimate of accuracy: mean calibrated confidence of what the gate accepts."""
    if "accepted_confidence" not in profile.columns:
        return None
    column = profile.numeric("accepted_confidence")
    return column.mean if column.count else None


def _reason(
    verdict: Verdict,
    drifted: list[ColumnDrift],
    wrong: list[ClassAccuracy],
    reference: int,
    window: int,
    min_rows: int,
    comparable: bool,
) -> str:
    if verdict == "cannot judge":
        return f"{window:,} rows of traffic and {reference:,} of the reference; {min_rows:,} of each are needed."
    note = "" if comparable else " The gate's level differs from the reference's, so its verdicts were not tested."
    if wrong:
        note = f" Fewer answers are right than in the reference: {', '.join(c.name for c in wrong)}.{note}"
    if not drifted:
        return f"No column of {window:,} rows differs from the reference beyond chance.{note}"
    names = ", ".join(c.name for c in sorted(drifted, key=lambda c: c.adjusted_p_value or 0.0))
    return f"{window:,} rows differ from the reference in {names}.{note}"
