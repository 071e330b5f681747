"""`python -m bench.closed_loop`: traffic shifts, drift is flagged, corrections are reviewed, a challenger learns.

The champion is the served pair. Traffic is the held-out photos of the prepared dataset, a tenth of it as a new camera
would take them, or of a class that the network does not know; test photos only report. Wrong corrections are made on
purpose, and the reviewer is simulated: what carries no mark is accepted unseen, what carries one is looked at and
decided rightly. An interrupted run goes on from the last finished epoch.
"""

from __future__ import annotations

import argparse
import shutil
import sys
import time
from textwrap import indent
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from bench import closed_loop_feedback as people
from bench import closed_loop_traffic as traffic
from monitoring import profiles
from monitoring.feedback import FeedbackStore
from runners.pipeline import Pipeline
from runners.progress import Progress, progress_bar
from runners.store import Served, StoreError, import_starters, open_pair, served
from settings import ROOT, Settings, configure_environment, read_settings
from training import dataset
from training.config import read_config
from training.corrections import Corrections, RetrainError, collect
from training.dataset import Dataset
from training.readers import SourceError
from training.retrain import Comparison, Verdict, compare, table
from training.sources import Labelled

BASE_IMAGES = 10_000
CLASS_PHOTOS = 30
MOST_LOSS = 0.003

Target = tuple[str, str, str, bool]


class Scenario(NamedTuple):
    """What happens, and whether the reviewer looks at marked corrections or accepts all."""

    title: str
    looks: bool


POISON = f"a new camera, a third of the corrections {people.VICTIM}s said to be {people.IMPOSTOR}s"
SCENARIOS = {
    "shifted": Scenario("a new camera, a tenth of the corrections wrong, reviewed", looks=True),
    "new-kind": Scenario(f"a new kind, {traffic.KIND}, a tenth of the corrections wrong, reviewed", looks=True),
    "tenth": Scenario("a new camera, a tenth of the corrections wrong, accepted unseen", looks=False),
    "third": Scenario(f"{POISON}, accepted unseen", looks=False),
    "third-reviewed": Scenario(f"{POISON}, reviewed", looks=True),
}


class Traffic(NamedTuple):
    """Held-out photos as they are and as the new camera takes them, and photos of the new kind."""

    plain: Labelled
    shifted: Labelled
    kind: NDArray[np.uint8]
    kind_test: NDArray[np.uint8]


def main() -> int:
    arguments = _arguments()
    started = time.monotonic()
    settings = read_settings()
    configure_environment(settings)
    try:
        pair = served(settings)
    except StoreError:
        import_starters()
        pair = served(settings)
    try:
        whole = dataset.load(settings.var / "dataset")
        with progress_bar() as progress:
            kinds = traffic.new_kind(settings.data_root, progress)
    except SourceError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    champion, _ = open_pair(pair, "openvino")
    data, pool = traffic.parts(whole, arguments.test_photos)
    base = min(arguments.base_images, len(data["train"][1]))
    print(f"champion {pair.cnn_tag}; {len(data['test'][1]):,} test photos; {base:,} base photos\n", flush=True)
    with progress_bar() as progress:
        photos = Traffic(pool, (traffic.new_camera(pool[0]), pool[1]), *kinds)
        targets = _drift(champion, pair, data.held_out()[0], photos, settings, progress)
        _suspected(champion, photos)
        for name in arguments.scenarios:
            own = Settings(var=settings.var / "closed-loop" / name, monitoring=False)
            store = _empty_store(own)
            given = people.give(store, champion, _said(name, champion, photos))
            kept = people.reviewed(store, given, looks_at_marked=SCENARIOS[name].looks)
            try:
                found = collect(store, data.labels, CLASS_PHOTOS)
            except RetrainError as error:
                targets.append(_refused(name, given, error))
                continue
            to_gain = _to_gain(name, data, photos)
            verdict, gained = _challenge(own, found, data, champion, pair, base, to_gain, progress)
            targets += _report(name, given, kept, verdict, gained)
    print(f"\n{(time.monotonic() - started) / 60:.0f} minutes in all\n")
    for name, measured, wanted, met in targets:
        print(f"target {name}: measured {measured}, wanted {wanted}, {'met' if met else 'missed'}")
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.closed_loop", description=__doc__)
    parser.add_argument(
        "--base-images",
        type=int,
        default=BASE_IMAGES,
        metavar="N",
        help=f"retrain on a sample of the base data (default {BASE_IMAGES:,})",
    )
    parser.add_argument(
        "--test-photos", type=int, metavar="N", help="report on a sample of the test photos (default all)"
    )
    parser.add_argument(
        "--scenarios", nargs="+", choices=tuple(SCENARIOS), default=tuple(SCENARIOS), help="which ones (default all)"
    )
    return parser.parse_args()


def _drift(
    champion: Pipeline, pair: Served, held_out: Labelled, photos: Traffic, settings: Settings, progress: Progress
) -> list[Target]:
    """Print when drift is flagged in unchanged streams, and in those that are partly new."""
    reference = profiles.from_bytes((pair.cnn_path / "reference.bin").read_bytes())
    ordinary = traffic.rows_of(champion, held_out[0], settings.refuse_share)
    print(f"{'photos until drift is flagged':<44}{'median':>8}{'slowest':>9}{'alarmed':>10}")
    targets = []
    for name, new in (("unchanged", None), ("new camera", photos.shifted[0]), ("new kind", photos.kind)):
        other = None if new is None else traffic.rows_of(champion, new, settings.refuse_share)
        found = traffic.delays(ordinary, other, reference, settings.false_alarm_rate, progress)
        median, alarms = found[len(found) // 2], sum(delay <= traffic.STREAM for delay in found)
        of = f"{alarms} of {len(found)}"
        print(f"{name:<44}{_count(median):>8}{_count(found[-1]):>9}{of:>10}", flush=True)
        if new is None:
            targets.append(("closed_loop_false_alarms", of, "<= 2", alarms <= 2))
        else:
            met, wanted = median <= traffic.STREAM, f"<= {traffic.STREAM} photos"
            targets.append((f"closed_loop_drift_delay[{name}]", _count(median), wanted, met))
    return targets


def _suspected(champion: Pipeline, photos: Traffic) -> None:
    """Print which share of right and of wrong corrections the review marks as suspected mislabels."""
    print(f"\n{'suspected mislabels among corrections':<52}{'ordinary':>9}{'photos':>8}{'shifted':>9}{'photos':>8}")
    plain, shifted = (people.shares_suspected(champion, part) for part in (photos.plain, photos.shifted))
    for kind, (count, share) in plain.items():
        more, other = shifted[kind]
        print(f"{kind:<52}{share:>9.1%}{count:>8,}{other:>9.1%}{more:>8,}", flush=True)


def _empty_store(own: Settings) -> FeedbackStore:
    shutil.rmtree(own.images, ignore_errors=True)
    own.var.mkdir(parents=True, exist_ok=True)
    for file in own.var.glob("feedback.db*"):
        file.unlink()
    return FeedbackStore.open(own)


def _said(name: str, champion: Pipeline, photos: Traffic) -> people.Said:
    if name == "new-kind":
        return people.on_new_kind(champion, traffic.KIND, photos.kind, photos.plain)
    if name.startswith("third"):
        return people.on_one_class(champion, photos.shifted, photos.plain)
    return people.on_shifted(champion, photos.shifted)


def _to_gain(name: str, data: Dataset, photos: Traffic) -> tuple[str, Labelled]:
    """The test photos that shall get better."""
    if name == "new-kind":
        return "test photos of the new kind", (photos.kind_test, np.full(len(photos.kind_test), len(data.labels)))
    return "shifted test photos", (traffic.new_camera(data["test"][0]), data["test"][1])


def _challenge(
    own: Settings,
    found: Corrections,
    data: Dataset,
    champion: Pipeline,
    pair: Served,
    base_images: int,
    to_gain: tuple[str, Labelled],
    progress: Progress,
) -> tuple[Verdict, Comparison]:
    """The verdict of the promotion gate, and both pairs on the photos that shall get better."""
    from training.register import load_run
    from training.steps import challenge

    config = read_config(ROOT / "training" / "retrain.yaml")
    run, verdict = challenge(own, config, pair, data, found, progress, base_images=base_images)
    challenger = load_run(run)
    return verdict, compare(to_gain[0], champion, challenger, to_gain[1], found.labels)


def _refused(name: str, given: list[people.Given], error: RetrainError) -> Target:
    """Nothing is trained: the corrections themselves gave it away."""
    wrong = sum(not g.right for g in given)
    print(f"\n{name}: {SCENARIOS[name].title}")
    print(f"  {len(given)} corrections, {wrong} of them wrong")
    print(f"  refused before the fit: {error}", flush=True)
    met = not SCENARIOS[name].looks
    return (f"closed_loop_caught[{name}]", "refused before the fit", "caught" if met else "trained", met)


def _report(name: str, given: list[people.Given], kept: set[int], verdict: Verdict, gained: Comparison) -> list[Target]:
    wrong = [g for g in given if not g.right]
    marked, through = sum(g.marked for g in wrong), sum(g.id in kept for g in wrong)
    print(f"\n{name}: {SCENARIOS[name].title}")
    print(f"  {len(given)} corrections, {len(wrong)} of them wrong")
    print(f"  marked: {marked} of the wrong, {sum(g.marked for g in given if g.right)} of the right")
    print(f"  accepted: {len(kept)}, {through} of them wrong")
    print(f"  {verdict.reason}")
    print(indent(table([*verdict.comparisons, gained]), "  "), flush=True)
    unchanged = next(c for c in verdict.comparisons if c.name == "test photos")
    if not SCENARIOS[name].looks:
        caught = f"{marked} of {len(wrong)} marked, {verdict.reason.partition(':')[0]}"
        met = marked > len(wrong) / 2 or not verdict.promoted
        harm = f"{100 * unchanged.difference:+.2f} points"
        harmless = unchanged.interval[1] >= 0 or not verdict.promoted
        return [
            (f"closed_loop_caught[{name}]", caught, "most marked, or not promoted", met),
            (f"closed_loop_harm[{name}]", harm, "no loss beyond its interval, or not promoted", harmless),
        ]
    out, gain = f"{len(wrong) - through} of {len(wrong)}", f"{100 * gained.difference:+.2f} points"
    loss = -unchanged.difference
    return [
        (f"closed_loop_promoted[{name}]", str(verdict.promoted), "True", verdict.promoted),
        (f"closed_loop_wrong_kept_out[{name}]", out, "more than half", through < len(wrong) / 2),
        (f"closed_loop_gain[{name}]", gain, "> 0 beyond its interval", gained.interval[0] > 0),
        (f"closed_loop_loss[{name}]", f"{100 * loss:+.2f} points", f"< {100 * MOST_LOSS:.1f}", loss < MOST_LOSS),
    ]


def _count(photos: int) -> str:
    return str(photos) if photos <= traffic.STREAM else "never"


if __name__ == "__main__":
    sys.exit(main())
