"""`python -m bench.closed_loop`: traffic shifts, drift is flagged, corrections are reviewed, a challenger learns.

The champion is the served pair. Traffic is the held-out photos of the prepared dataset, a tenth of it as a new camera
would take them; test photos only report. Wrong corrections are made on purpose, and the reviewer is simulated: what
carries no mark is accepted unseen, what carries one is looked at and decided rightly.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from bench.closed_loop_feedback import NAMES, Given, give, reviewed
from monitoring import drift, profiles
from monitoring.feedback import FeedbackStore
from monitoring.rows import Table, rows
from runners.pipeline import Pipeline
from runners.progress import progress_bar
from runners.store import StoreError, import_starters, open_pair, served
from settings import ROOT, Settings, configure_environment, read_settings
from training import dataset
from training.config import read_config
from training.corrections import collect
from training.dataset import Dataset
from training.retrain import Comparison, Verdict, compare
from training.sources import Labelled

SHIFTED_SHARE, STREAM, STEP, STREAMS = 0.1, 1_000, 100, 20
"""A stream of traffic is so long; drift is looked for after each step, over all of it so far."""
POOL = 2_000
"""Held-out photos that the new camera takes; they are taken out of the splits that the challenger is fitted on."""
MOST_LOSS = 0.003


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.closed_loop", description=__doc__)
    parser.add_argument("--base-images", type=int, help="retrain on a sample of the base data (default: all of it)")
    parser.add_argument("--test-photos", type=int, help="report on a sample of the test photos (default: all)")
    parser.add_argument("--scenarios", nargs="+", choices=NAMES, default=NAMES, help="which corrections to retrain on")
    arguments = parser.parse_args()
    settings = read_settings()
    configure_environment(settings)
    try:
        pair = served(settings)
    except StoreError:
        import_starters()
        pair = served(settings)
    champion, _ = open_pair(pair, "openvino")
    data, pool = _parts(dataset.load(settings.var / "dataset"), arguments.test_photos)
    shifted = (new_camera(pool[0]), pool[1])
    test, test_shifted = data["test"], (new_camera(data["test"][0]), data["test"][1])
    base = arguments.base_images or len(data["train"][1])
    print(f"champion {pair.cnn_tag}; {len(test[1]):,} test photos; retrained on {base:,} base photos\n", flush=True)
    reference = profiles.from_bytes((pair.cnn_path / "reference.bin").read_bytes())
    calm, alarms = _delays(champion, reference, data.held_out()[0][0], shifted[0], settings)
    found = sorted(alarms)
    print(f"{'photos until drift is flagged':<44}{'median':>8}{'slowest':>9}")
    median = found[len(found) // 2]
    print(f"{f'a tenth from a new camera, {STREAMS} streams':<44}{_count(median):>8}{_count(found[-1]):>9}")
    false = sum(delay <= STREAM for delay in calm)
    print(f"{f'unchanged, {STREAMS} streams':<44}{false:>8} alarmed\n", flush=True)
    targets = [
        (
            "closed_loop_drift_delay",
            _count(median),
            f"<= {STREAM} photos",
            median <= STREAM,
        ),
        ("closed_loop_false_alarms", f"{false} of {STREAMS}", "<= 2", false <= 2),
    ]
    for name in arguments.scenarios:
        own = Settings(var=settings.var / "closed-loop" / name, monitoring=False)
        shutil.rmtree(own.images, ignore_errors=True)
        own.var.mkdir(parents=True, exist_ok=True)
        for file in own.var.glob("feedback.db*"):
            file.unlink()
        store = FeedbackStore.open(own)
        given = give(name, store, champion, shifted, pool)
        kept = reviewed(store, given, looks_at_marked=name == "reviewed")
        verdict, results = _challenge(own, store, data, champion, arguments.base_images, (test, test_shifted))
        targets += _report(name, given, kept, verdict, results)
    print()
    for name, measured, wanted, met in targets:
        print(f"target {name}: measured {measured}, wanted {wanted}, {'met' if met else 'missed'}")
    return 0


def new_camera(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Photos uint8 (n, 32, 32, 3) as a cheap camera in lamplight takes them: dim and yellow."""
    return np.rint(pixels * np.array([0.6, 0.45, 0.25], np.float32)).astype(np.uint8)


def _parts(data: Dataset, test_photos: int | None) -> tuple[Dataset, Labelled]:
    """The dataset without the photos of the pool, and the pool: a random part of both held-out splits."""
    rng = np.random.default_rng(0)
    splits, sources, pool = dict(data.splits), dict(data.sources), []
    for split in ("validation", "calibration"):
        (pixels, labels), order = data[split], rng.permutation(len(data[split][1]))
        mine, rest = order[: POOL // 2], np.sort(order[POOL // 2 :])
        pool.append((pixels[mine], labels[mine]))
        splits[split], sources[split] = (pixels[rest], labels[rest]), data.sources[split][rest]
    if test_photos is not None and test_photos < len(data["test"][1]):
        rows_ = np.sort(rng.choice(len(data["test"][1]), test_photos, replace=False))
        splits["test"] = (data["test"][0][rows_], data["test"][1][rows_])
        sources["test"] = data.sources["test"][rows_]
    pixels, labels = (np.concatenate(side) for side in zip(*pool, strict=True))
    return replace(data, splits=splits, sources=sources), (pixels, labels)


def _delays(
    champion: Pipeline,
    reference: profiles.Profile,
    ordinary: NDArray[np.uint8],
    shifted: NDArray[np.uint8],
    settings: Settings,
) -> tuple[list[int], list[int]]:
    """Photos until drift is flagged in unchanged and in shifted streams; one step more than a stream where never."""
    rng = np.random.default_rng(1)
    tables = [_table(champion, pixels, settings.refuse_share) for pixels in (ordinary, shifted)]
    found: tuple[list[int], list[int]] = ([], [])
    for _ in range(STREAMS):
        for delays, share in zip(found, (0.0, SHIFTED_SHARE), strict=True):
            old = rng.choice(len(ordinary), STREAM, replace=False)
            new = rng.choice(len(shifted), STREAM, replace=False)
            chosen = rng.random(STREAM) < share
            stream = {name: np.where(chosen, tables[1][name][new], tables[0][name][old]) for name in tables[0]}
            delays.append(_delay(stream, reference, settings.false_alarm_rate))
    return found


def _delay(stream: Table, reference: profiles.Profile, alpha: float) -> int:
    for end in range(STEP, STREAM + 1, STEP):
        window = profiles.profile({name: column[:end] for name, column in stream.items()})
        if drift.check(reference, window, alpha).verdict == "drift":
            return end
    return STREAM + STEP


def _table(champion: Pipeline, pixels: NDArray[np.uint8], refuse_share: float) -> Table:
    sizes = np.full((len(pixels), 2), pixels.shape[1], np.int64)
    return rows(pixels, sizes, champion.score(pixels, batch=250), champion.labels, refuse_share)


def _challenge(
    own: Settings,
    store: FeedbackStore,
    data: Dataset,
    champion: Pipeline,
    base_images: int | None,
    report_on: tuple[Labelled, Labelled],
) -> tuple[Verdict, list[Comparison]]:
    """The verdict of the promotion gate, and both pairs on the test photos, unchanged and shifted."""
    from training.register import load_run
    from training.steps import challenge

    found = collect(store, data.labels, 30)
    config = read_config(ROOT / "training" / "retrain.yaml")
    pair = served(read_settings())
    with progress_bar() as progress:
        run, verdict = challenge(own, config, pair, data, found, progress, base_images=base_images)
    challenger = load_run(run)
    names = ("unchanged test photos", "shifted test photos")
    return verdict, [
        compare(name, champion, challenger, part, data.labels) for name, part in zip(names, report_on, strict=True)
    ]


def _report(
    name: str, given: list[Given], kept: set[int], verdict: Verdict, results: list[Comparison]
) -> list[tuple[str, str, str, bool]]:
    wrong = [g for g in given if not g.right]
    marked = sum(g.marked for g in wrong)
    through = sum(g.id in kept for g in wrong)
    print(f"\n{name}: {len(given)} corrections, {len(wrong)} of them wrong")
    print(f"  marked: {marked} of the wrong, {sum(g.marked for g in given if g.right)} of the right")
    print(f"  accepted: {len(kept)}, {through} of them wrong")
    print(f"  {verdict.reason}")
    print(f"  {'':<28}{'photos':>8}{'champion':>10}{'challenger':>12}{'difference, points':>24}")
    for c in (*verdict.comparisons, *results):
        low, high = (100 * end for end in c.interval)
        change = f"{100 * c.difference:+.2f} ({low:+.2f} to {high:+.2f})"
        print(f"  {c.name:<28}{c.photos:>8,}{c.champion:>10.2%}{c.challenger:>12.2%}{change:>24}")
    unchanged, shifted = results
    sys.stdout.flush()
    if name != "reviewed":
        share = marked / len(wrong)
        harmless = unchanged.interval[1] >= 0
        caught = f"{marked} of {len(wrong)} marked, {verdict.reason.partition(':')[0]}"
        return [
            (
                f"closed_loop_caught[{name}]",
                caught,
                "most marked, or not promoted",
                share > 0.5 or not verdict.promoted,
            ),
            (
                f"closed_loop_harm[{name}]",
                f"{100 * unchanged.difference:+.2f} points",
                "no loss beyond its interval, or not promoted",
                harmless or not verdict.promoted,
            ),
        ]
    return [
        ("closed_loop_promoted", str(verdict.promoted), "True", verdict.promoted),
        (
            "closed_loop_wrong_kept_out",
            f"{len(wrong) - through} of {len(wrong)}",
            "more than half",
            through < len(wrong) / 2,
        ),
        (
            "closed_loop_gain_shifted",
            f"{100 * shifted.difference:+.2f} points",
            "> 0 beyond its interval",
            shifted.interval[0] > 0,
        ),
        (
            "closed_loop_loss_elsewhere",
            f"{-100 * unchanged.difference:+.2f} points",
            f"< {100 * MOST_LOSS:.1f}",
            -unchanged.difference < MOST_LOSS,
        ),
    ]


def _count(photos: int) -> str:
    return str(photos) if photos <= STREAM else "never"


if __name__ == "__main__":
    sys.exit(main())
