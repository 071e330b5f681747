"""`python -m bench.drift`: how often the drift check alarms on unchanged traffic, and how soon on changed traffic.

Held-out photos and the served model; whylogs and Evidently judge the same windows by their own defaults, where "any"
means that any column drifted. Needs a prepared dataset (`python -m training prepare`) and a model. `--windows N` sets
the windows a cell. Scoring the photos takes minutes and is done once per model.
"""

from __future__ import annotations

import argparse
import sys
import types
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binom

from bench import drift_peers
from bench import drift_sequential as sequential
from bench.drift_traffic import Change, Photos, Rows, stored, take
from monitoring import drift, profiles
from monitoring.rows import COLUMNS, Table
from settings import configure_environment, read_settings

ALPHA = 0.01
FALSE_SIZES = {50: 1.0, 300: 1.0, 1_000: 0.6, 5_000: 0.5, 50_000: 0.1}
"""Rows of unchanged windows -> their number as a share of `--windows`."""
POWER_SIZES, LOOKS = (50, 300, 1_000), (30, 50, 100, 200, 300, 1_000)
"""Rows at which the power is given, and numbers of changed images at which the delay looks."""
REFERENCES = 8
ANCHOR_EVERY, ANCHOR = 150, 12.7
"""The published delay of an online MMD detector with one false alarm in 150 images, on data of its own."""
SLOW = ("new camera", "brightness 3", "contrast 2", "pixelate 2", "unknown objects 20%")
TESTED = tuple(c.name for c in COLUMNS if c.kind != "context")
PARTS = ("estimate", "sequential", "false-alarms", "power")
Pairs = list[tuple[Table, Table]]
"""References and windows."""
Verdicts = NDArray[np.bool_]
Judge = Callable[[Pairs], Verdicts]


def main() -> int:
    parser = argparse.ArgumentParser(description="False alarms, power and delay of the drift check.")
    parser.add_argument("--windows", type=int, default=100, help="unchanged windows of 50 rows (default 100)")
    parser.add_argument("--runs", type=int, default=16, help="windows of each change and size (default 16)")
    parser.add_argument("--evidently", type=Path, default=Path("var/drift-peers/bin/python"), metavar="PYTHON")
    parser.add_argument("--changes", default="", metavar="TEXT", help="power: only changes with this in their names")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, help="only these (default all)")
    arguments = parser.parse_args()
    settings = read_settings()
    configure_environment(settings)
    population, changes = stored(settings)
    judges: dict[str, Judge] = {"ours": _ours, "whylogs, any": _whylogs}
    if arguments.evidently.exists():
        evidently = _Evidently(arguments.evidently)
        judges |= {f"Evidently, {rule}": partial(evidently.judge, rule) for rule in ("any", "half")}
    print(f"{len(population):,} held-out photos; alpha {ALPHA}; references of {sequential.REFERENCE_ROWS:,} rows\n")
    parts: dict[str, Callable[[], Rows]] = {
        "estimate": lambda: _estimate(population, changes),
        "sequential": lambda: _sequential(population, changes),
        "false-alarms": lambda: _false_alarms(population, judges, arguments.windows),
        "power": lambda: _power(
            population, [c for c in changes if arguments.changes in c.name], judges, arguments.runs
        ),
    }
    targets = [row for name in PARTS if name in arguments.parts for row in parts[name]()]
    for name, measured, wanted, met in targets:
        print(f"target {name}: measured {measured}, wanted {wanted}, {'met' if met else 'missed'}")
    return 0


def _false_alarms(population: Photos, judges: dict[str, Judge], windows: int) -> Rows:
    rng = np.random.default_rng(1)
    counts = {size: max(2, round(windows * share)) for size, share in FALSE_SIZES.items()}
    # A reference for each window: large windows tell an unlucky reference, which would then alarm with each of them.
    pairs = [
        (take(population, rng, sequential.REFERENCE_ROWS), take(population, rng, size))
        for size, count in counts.items()
        for _ in range(count)
    ]
    found = {name: np.split(judge(pairs), np.cumsum(list(counts.values()))) for name, judge in judges.items()}
    print(f"{'share of unchanged windows that alarm':<40}" + "".join(f"{name:>18}" for name in judges))
    for i, (size, count) in enumerate(counts.items()):
        cells = "".join(f"{parts[i].mean():>18.3f}" for parts in found.values())
        print(f"{f'{count} windows of {size:,} rows':<40}{cells}")
    print(flush=True)
    ours, total = int(sum(part.sum() for part in found["ours"])), len(pairs)
    most = int(binom.ppf(0.995, total, ALPHA))
    return [("drift_false_alarms", f"{ours} of {total}", f"<= {most} (99 % interval of {ALPHA:g})", ours <= most)]


def _power(population: Photos, changes: list[Change], judges: dict[str, Judge], runs: int) -> Rows:
    rng = np.random.default_rng(2)
    references = [take(population, rng, sequential.REFERENCE_ROWS) for _ in range(REFERENCES)]
    known = [profiles.profile(reference) for reference in references]
    alarms = {change.name: dict.fromkeys(POWER_SIZES, 0) for change in changes}
    delays: dict[str, list[float]] = {change.name: [] for change in changes}
    pairs, theirs_of_each = [], max(2, runs // 4)
    for change in changes:
        for run in range(runs):
            stream, first = change.draw(population, LOOKS[-1], rng), np.inf
            for look in LOOKS:
                if look in POWER_SIZES or first == np.inf:
                    window = profiles.profile({name: values[:look] for name, values in stream.items()})
                    alarm = drift.check(known[run % REFERENCES], window, ALPHA).verdict == "drift"
                    first = min(first, look if alarm else np.inf)
                    if look in POWER_SIZES:
                        alarms[change.name][look] += alarm
            delays[change.name].append(first)
            if run < theirs_of_each:
                pairs.append((references[run % REFERENCES], {name: values[:300] for name, values in stream.items()}))
        print(change.name, file=sys.stderr)
    theirs = {n: judge(pairs).reshape(-1, theirs_of_each).mean(axis=1) for n, judge in judges.items() if n != "ours"}
    sizes = ", ".join(map(str, POWER_SIZES))
    print(f"share of changed windows that alarm: ours, {runs} of {sizes} rows; others, {theirs_of_each} of 300 rows;")
    print(f"images: median of ours, looking after {', '.join(map(str, LOOKS))} changed images")
    print(f"{'':<24}" + "".join(f"{f'{n} rows':>10}" for n in POWER_SIZES) + f"{'images':>8}", end="")
    print("".join(f"{name:>18}" for name in theirs))
    for i, change in enumerate(changes):
        median = float(np.median(delays[change.name]))
        shown = f"{median:.0f}" if np.isfinite(median) else "> 1000"
        print(f"{change.name:<24}" + "".join(f"{n / runs:>10.2f}" for n in alarms[change.name].values()), end="")
        print(f"{shown:>8}" + "".join(f"{shares[i]:>18.2f}" for shares in theirs.values()))
    print(flush=True)
    return []


def _sequential(population: Photos, changes: list[Change]) -> Rows:
    by_name = {change.name: change for change in changes}
    print(f"images until an alarm of single-row detectors, sudden change, one false alarm in {ANCHOR_EVERY} images")
    calm = sequential.scores_of(population, None, 0, 0, 1_000, 100, 1)
    detectors = sequential.detectors(calm)
    levels = {name: sequential.threshold(run(calm), ANCHOR_EVERY) for name, run in detectors.items()}
    best = {}
    for name in (*SLOW, "Gaussian noise 1", "30 % cats"):
        scores = sequential.scores_of(population, by_name[name], 0, 20, 400, 60, 2)
        found = {
            k: float(np.nanmean(sequential.first_alarm(run(scores), levels[k], 20))) for k, run in detectors.items()
        }
        best[name] = found["e-detector"]
        print(f"{name:<24}" + ", ".join(f"{k} {v:.1f}" for k, v in found.items()), flush=True)
    print("\nthe same, the change coming slowly over 10,000 images, one false alarm in 30,000 images")
    _slow(population, [by_name[name] for name in SLOW])
    met = best["new camera"] <= ANCHOR
    return [("anchor_delay_new_camera_e_detector", f"{best['new camera']:.1f} images", f"<= {ANCHOR} images", met)]


def _slow(population: Photos, changes: list[Change], every: int = 30_000, size: int = 300, time: int = 12_000) -> None:
    calm = sequential.scores_of(population, None, 0, 0, time, 60, 1)
    rows = sequential.detectors(calm)
    windows = {f"CUSUM of windows {k}": partial(sequential.cusum, allowance=k) for k in (0.5, 1.0, 2.0)}
    level = {name: sequential.threshold(run(calm), every) for name, run in rows.items()}
    level |= {
        k: sequential.threshold(run(sequential.window_means(calm, size)), every // size) for k, run in windows.items()
    }
    for change in changes:
        scores = sequential.scores_of(population, change, 10_000, 0, time, 30, 2)
        means = sequential.window_means(scores, size)
        found = {k: np.nanmean(sequential.first_alarm(run(scores), level[k], 0)) for k, run in rows.items()}
        found |= {k: size * np.nanmean(sequential.first_alarm(run(means), level[k], 0)) for k, run in windows.items()}
        check = sequential.check_delay(population, change, 10_000, size, size / every, time, 8)
        found[f"check of {size}"] = np.nanmean(check)
        print(f"{change.name:<24}" + ", ".join(f"{k} {v:.0f}" for k, v in found.items()), flush=True)
    print()


def _estimate(population: Photos, changes: list[Change]) -> Rows:
    """The label-free estimate of accuracy beside the truth, on what the gate accepts."""
    print(f"{'accuracy of accepted photos':<24}{'accepted':>12}{'true':>12}{'estimated':>12}{'error':>12}")
    errors = {}
    for name, photos in [("unchanged", population), *((c.name, c.photos) for c in changes if c.share == 1)]:
        accepted = photos.table["refused"] == "no"
        if photos.right is None or not accepted.any():
            continue
        true, estimated = photos.right[accepted].mean(), photos.table["confidence"][accepted].mean()
        errors[name] = float(estimated - true)
        _line(name, [accepted.mean(), true, estimated, errors[name]], 24)
    print()
    changed = np.abs([error for name, error in errors.items() if name != "unchanged"])
    print(f"error of the estimate on changed photos: {changed.mean():.3f} on average, {changed.max():.3f} at worst\n")
    calm = abs(errors["unchanged"])
    return [("label_free_error_unchanged", f"{calm:.3f}", "<= 0.02", calm <= 0.02)]


def _ours(pairs: Pairs) -> Verdicts:
    known = {id(reference): profiles.profile(reference) for reference, _ in pairs}
    return np.array([drift.check(known[id(r)], profiles.profile(w), ALPHA).verdict == "drift" for r, w in pairs])


def _whylogs(pairs: Pairs) -> Verdicts:
    known = {id(reference): _whylogs_view(reference) for reference, _ in pairs}
    return np.array([_whylogs_alarms(_whylogs_view(window), known[id(reference)]) for reference, window in pairs])


class _Evidently:
    """Both of its rules from one run, since starting it takes longer than a hundred windows."""

    def __init__(self, python: Path) -> None:
        self._python = python
        self._pairs: Pairs | None = None
        self._found: list[dict[str, bool]] = []

    def judge(self, rule: str, pairs: Pairs) -> Verdicts:
        if self._pairs is not pairs:
            tested = [({n: old[n] for n in TESTED}, {n: new[n] for n in TESTED}) for old, new in pairs]
            self._pairs, self._found = pairs, drift_peers.judge(self._python, tested)
        return np.array([found[rule] for found in self._found])


def _whylogs_view(table: Table) -> Any:
    import pandas as pd
    from whylogs.core import DatasetProfile

    made = DatasetProfile()
    made.track(pandas=pd.DataFrame({name: table[name] for name in TESTED}))
    return made.view()


def _whylogs_alarms(window: Any, reference: Any) -> bool:
    import whylogs

    package = types.ModuleType("whylogs.viz")  # its own __init__ wants IPython, for notebooks
    package.__path__ = [f"{whylogs.__path__[0]}/viz"]
    sys.modules.setdefault("whylogs.viz", package)
    from whylogs.viz.drift.column_drift_algorithms import calculate_drift_scores

    scores = calculate_drift_scores(target_view=window, reference_view=reference, with_thresholds=True)
    return any(s is not None and s["drift_category"] == "DRIFT" for s in scores.values())


def _line(name: str, values: list[float], width: int = 40) -> None:
    print(f"{name:<{width}}" + "".join(f"{value:>12.3f}" for value in values), flush=True)


if __name__ == "__main__":
    sys.exit(main())
