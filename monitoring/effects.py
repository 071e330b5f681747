"""How large a change is, with a 95 % interval: it says what a p-value doesn't."""

from __future__ import annotations

import numpy as np

from monitoring.profiles import Categorical, Numeric

Effect = tuple[float, float, float]
"""Value, lower and upper end of its interval."""
_Z = 1.959964
_DRAWS, _SEED = 400, 7


def glass_delta(reference: Numeric, window: Numeric) -> Effect | None:
    """Shift of the mean in standard deviations of the reference; None where a side is empty or the reference constant.

    Interval: the normal approximation of Hedges and Olkin, "Statistical Methods for Meta-Analysis", 1985, chapter 5.
    """
    if not reference.count or not window.count or not reference.deviation > 0:
        return None
    delta = (window.mean - reference.mean) / reference.deviation
    ratio = window.deviation / reference.deviation if window.count > 1 else 1.0
    error = np.sqrt(ratio**2 / window.count + 1 / reference.count + delta**2 / (2 * reference.count))
    return float(delta), float(delta - _Z * error), float(delta + _Z * error)


def total_variation(reference: Categorical, window: Categorical) -> Effect | None:
    """Share of rows that would have to change their value, 0..1; None where a side is empty.

    The estimate errs by no more than both samples' distances from their own laws (triangle inequality). The interval is
    the 95 % quantile of that sum in a parametric bootstrap, so it holds 0 for unchanged traffic of any size.
    """
    if not reference.count or not window.count:
        return None
    values = sorted(set(reference.counts) | set(window.counts))
    rng = np.random.default_rng(_SEED)
    shares, spread = [], np.zeros(_DRAWS)
    for side in (reference, window):
        counts = np.array([side.counts.get(v, 0) for v in values])
        likely = (counts + 0.5) / (side.count + 0.5 * len(values))  # a value that was not drawn may be drawn next time
        spread += np.abs(rng.multinomial(side.count, likely, _DRAWS) / side.count - likely).sum(axis=1) / 2
        shares.append(counts / side.count)
    distance = float(np.abs(shares[0] - shares[1]).sum() / 2)
    error = float(np.quantile(spread, 0.95))
    return distance, max(0.0, distance - error), min(1.0, distance + error)
