"""Do a few rows lie too far out? A one-sided test for a small share of unknown objects among known ones.

The two-sample Kolmogorov-Smirnov distance of 5 % strangers is at most 0.05, wherever they lie. The mean of -ln(p), p
being a row's upper-tail rank, grows with how far out they lie: Savage, Ann. Math. Stat. 27 (1956), which is Fisher's
combination of the rows' p-values. It does not depend on the data's law.
"""

from __future__ import annotations

import numpy as np

from monitoring.profiles import SKETCH_K, Floats, Numeric

NAME = "Savage, one-sided"


def savage(reference: Numeric, window: Numeric) -> tuple[float, float]:
    """Standard score of the window's mean -ln(rank from above / rows), and the p-value that it is not larger.

    The score's law is that of a draw without replacement from the pooled ranks: its mean, variance and skewness are
    exact, and a gamma law (Pearson's type III) has those. Above `SKETCH_K` rows the score is lowered by what the
    sketches may err.
    """
    from scipy.stats import pearson3

    n, m = window.count, reference.count
    if min(n, m) < 2:
        return 0.0, 1.0
    values, weights, own = [], [], []
    for column in (window, reference):
        steps = min(column.count, SKETCH_K)
        values.append(column.quantiles((np.arange(steps) + 0.5) / steps))
        weights.append(np.full(steps, column.count / steps))
        own.append(np.full(steps, column is window))
    weight = np.concatenate(weights)
    scores = -np.log(_share_above(np.concatenate(values), weight))
    total = n + m
    mean = float(weight @ scores) / total
    centred = scores - mean
    variance, third = (float(weight @ centred**power) / total for power in (2, 3))
    if variance < 1e-12:  # one value only; else it is about 1
        return 0.0, 1.0
    of_window = np.concatenate(own)
    error = (window.rank_error + reference.rank_error) * (1 + np.log(total))
    excess = float(weight[of_window] @ centred[of_window]) / n - error
    score = excess / np.sqrt(variance * m / (n * (total - 1)))
    skewness = third / variance**1.5 * (m - n) * np.sqrt(total - 1) / ((total - 2) * np.sqrt(n * m))
    return float(score), float(pearson3.sf(score, skewness))


def _share_above(values: Floats, weights: Floats) -> Floats:
    """Share of the weight that lies above each value, half of what lies on it included, in (0, 1)."""
    _, where = np.unique(values, return_inverse=True)
    at = np.bincount(where, weights)
    above = at[::-1].cumsum()[::-1] - at / 2
    share: Floats = (above / at.sum())[where]
    return share
