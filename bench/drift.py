"""`python -m bench.drift`: how often the drift check alarms on unchanged traffic, and how often on changed traffic.

Reference and windows come from disjoint random halves of one pool of photos, split anew in every round. whylogs' own
drift scores, with its default thresholds, judge the same windows; its verdict is "drift" where any column's is.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import uniform_filter
from scipy.special import logsumexp, softmax
from scipy.stats import binom

from monitoring import drift, profiles
from monitoring.rows import COLUMNS, Table, rows
from runners.pipeline import Scores
from settings import Settings, configure_environment

Pixels = NDArray[np.uint8]
ROUNDS, WINDOWS = 8, 25
"""Splits of the pool, and windows of each size in a split."""
SIZES = (50, 200, 1000)
POOL, CHANGED = 8_000, 2_000
ALPHA, REFUSE_SHARE, WANTED_POWER = 0.01, 0.05, 0.95

SHIFTS: dict[str, Callable[[NDArray[np.float64]], NDArray[np.float64]]] = {
    "brightness +0.10": lambda x: x + 25.5,
    "contrast x 0.7": lambda x: 0.7 * (x - 127.5) + 127.5,
    "noise sd 0.05": lambda x: x + np.random.default_rng(4).normal(0, 12.75, x.shape),
    "blur 2 x 2": lambda x: uniform_filter(x, (1, 2, 2, 1)),
}


@dataclass(frozen=True)
class Source:
    """Photos, and the model that scores them."""

    name: str
    pixels: Pixels
    score: Callable[[Pixels], Scores]
    labels: Sequence[str]

    def table(self, pixels: Pixels) -> Table:
        """The profiled table of ``pixels``, all of them 32x32 originals."""
        batches = [self.score(pixels[at : at + 256]) for at in range(0, len(pixels), 256)]
        whole = Scores(*(np.concatenate([getattr(b, f) for b in batches]) for f in Scores.__slots__))
        return rows(pixels, np.full((len(pixels), 2), 32), whole, self.labels, REFUSE_SHARE)


def main() -> int:
    settings = Settings()
    configure_environment(settings)
    source = real(settings) or synthetic()
    print(f"drift check on {source.name}; {ROUNDS * WINDOWS} windows a cell, alpha {ALPHA}\n")
    rng = np.random.default_rng(3)
    unchanged = source.table(source.pixels[:POOL])
    changed = {
        name: source.table(_apply(shift, source.pixels[POOL : POOL + CHANGED])) for name, shift in SHIFTS.items()
    }
    alarms = _measure(unchanged, changed, rng)
    _print_table(alarms)
    return _print_targets(alarms)


def real(settings: Settings) -> Source | None:
    """CIFAR-10's test photos and the served model; None, with the reason on stderr, where either is missing."""
    try:
        from runners.store import load_pipeline
        from training.sources import load_cifar10

        pipeline = load_pipeline(settings)
        pixels, _ = load_cifar10(settings.data_root, "test")
    except Exception as error:  # no model, no data or no training packages: the bench still runs, and says so
        print(f"no real photos: {error}", file=sys.stderr)
        return None
    order = np.random.default_rng(0).permutation(len(pixels))
    return Source("CIFAR-10 test photos and the served model", pixels[order], pipeline.score, pipeline.labels)


def synthetic() -> Source:
    """Smooth random photos and a random two-layer network, whose scores respond to the photo as a real one's do."""
    rng = np.random.default_rng(0)
    coarse = rng.normal(128, 60, (POOL + CHANGED, 4, 4, 3)).repeat(8, axis=1).repeat(8, axis=2)
    photos = uniform_filter(coarse, (0, 3, 3, 0)) + rng.normal(0, 6, coarse.shape)
    photos = np.clip(photos + rng.normal(0, 30, (len(photos), 1, 1, 3)), 0, 255).astype(np.uint8)
    first, second = rng.normal(size=(3072, 64)) / np.sqrt(3072), rng.normal(size=(64, 10))

    def outputs(pixels: Pixels) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
        hidden = np.maximum(0, (pixels.reshape(len(pixels), -1) / 64.0 - 2) @ first)
        logits = hidden @ second
        return hidden, logits, -np.asarray(logsumexp(logits, axis=1))

    calm = np.sort(outputs(photos)[2])

    def score(pixels: Pixels) -> Scores:
        hidden, logits, energy = outputs(pixels)
        p_value = 1 - np.searchsorted(calm, energy) / (len(calm) + 1)
        fields = (softmax(logits, axis=1), hidden, energy, energy, p_value)
        return Scores(*(np.asarray(f, np.float32) for f in fields))

    return Source("synthetic photos and a random network", photos, score, [f"class {i}" for i in range(10)])


def _measure(unchanged: Table, changed: dict[str, Table], rng: np.random.Generator) -> dict[tuple[str, str, int], int]:
    """Alarms by (traffic, judge, window size)."""
    alarms: dict[tuple[str, str, int], int] = {}
    for round_ in range(ROUNDS):
        order = rng.permutation(POOL)
        half = _take(unchanged, order[: POOL // 2])
        reference, theirs = profiles.profile(half), _whylogs_view(half)
        for size in SIZES:
            for _ in range(WINDOWS):
                traffic = {"unchanged": _take(unchanged, rng.choice(order[POOL // 2 :], size, replace=False))}
                traffic |= {n: _take(t, rng.choice(CHANGED, size, replace=False)) for n, t in changed.items()}
                for name, table in traffic.items():
                    found = drift.check(reference, profiles.profile(table), ALPHA).verdict == "drift"
                    alarms[name, "ours", size] = alarms.get((name, "ours", size), 0) + found
                peer = _whylogs_alarms(_whylogs_view(traffic["unchanged"]), theirs)
                alarms["unchanged", "whylogs", size] = alarms.get(("unchanged", "whylogs", size), 0) + peer
        print(f"round {round_ + 1} of {ROUNDS}", file=sys.stderr)
    return alarms


def _whylogs_view(table: Table) -> Any:
    import pandas as pd
    from whylogs.core import DatasetProfile

    tested = [c.name for c in COLUMNS if c.kind != "context"]
    made = DatasetProfile()
    made.track(pandas=pd.DataFrame({name: table[name] for name in tested}))
    return made.view()


def _whylogs_alarms(window: Any, reference: Any) -> bool:
    import whylogs

    package = types.ModuleType("whylogs.viz")  # its own __init__ wants IPython, for notebooks
    package.__path__ = [f"{whylogs.__path__[0]}/viz"]
    sys.modules.setdefault("whylogs.viz", package)
    from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

    scores = calculate_drift_scores(target_view=window, reference_view=reference, with_thresholds=True)
    return any(s is not None and s["drift_category"] == "DRIFT" for s in scores.values())


def _apply(shift: Callable[[NDArray[np.float64]], NDArray[np.float64]], pixels: Pixels) -> Pixels:
    return np.clip(np.rint(shift(pixels.astype(np.float64))), 0, 255).astype(np.uint8)


def _take(table: Table, index: NDArray[np.int64]) -> Table:
    return {name: values[index] for name, values in table.items()}


def _print_table(alarms: dict[tuple[str, str, int], int]) -> None:
    print(f"{'share of windows that alarm':<34}" + "".join(f"{f'{size} rows':>12}" for size in SIZES))
    for name, judge in dict.fromkeys((name, judge) for name, judge, _ in alarms):
        cells = "".join(f"{alarms[name, judge, size] / (ROUNDS * WINDOWS):>12.3f}" for size in SIZES)
        print(f"{f'{name}, {judge}':<34}{cells}")
    print()


def _print_targets(alarms: dict[tuple[str, str, int], int]) -> int:
    windows = ROUNDS * WINDOWS * len(SIZES)
    false = sum(alarms["unchanged", "ours", size] for size in SIZES)
    most = int(binom.ppf(0.995, windows, ALPHA))
    targets = [
        ("drift_false_alarms", f"{false} of {windows}", f"<= {most} (99 % interval of {ALPHA:g})", false <= most),
        *(
            (f"drift_power_200_rows[{name}]", f"{share:.3f}", f">= {WANTED_POWER}", share >= WANTED_POWER)
            for name in SHIFTS
            for share in [alarms[name, "ours", 200] / (ROUNDS * WINDOWS)]
        ),
    ]
    for name, measured, wanted, met in targets:
        print(f"target {name}: measured {measured}, wanted {wanted}, {'met' if met else 'missed'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
