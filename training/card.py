"""`python -m training.card`: write the results in README.md and MODEL_CARD.md anew, from what `models/` ships."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from pydantic import ValidationError

from generated import MarkerError, filled
from runners.store import RECORD, STARTERS, StarterRecord, StoreError, read_record
from settings import ROOT
from training.config import TrainConfig, origin
from training.evaluate import GATE, Evaluation
from training.robustness import SEVERITIES

EVALUATION = "evaluation.json"
PART = "results"
SOURCES = {"cifar10": "CIFAR-10", "cifar100": "CIFAR-100", "folder": "captured"}
MOST_PAIRS = 5


class CardError(Exception):
    """Results that cannot be written; the message says which file and what to do."""


def read(folder: Path = STARTERS) -> tuple[StarterRecord, Evaluation]:
    """The record of the shipped pair and its evaluation.

    Raises:
        CardError: one is missing or damaged, or they are of two different pairs.
        StoreError: the record cannot be read.
    """
    record, path = read_record(folder), folder / EVALUATION
    try:
        evaluation = Evaluation.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise CardError(
            f"{path}: not readable ({type(error).__name__}); `python -m training register --export {folder.name}` "
            "writes it"
        ) from error
    numbers = evaluation.headline()
    differing = [name for name, value in record.metrics.items() if abs(numbers.get(name, np.inf) - value) > 2e-6]
    if differing:
        raise CardError(f"{path}: of another pair than {RECORD}, {differing[0]} differs; export both again")
    return record, evaluation


def readme(record: StarterRecord, evaluation: Evaluation) -> str:
    """The short table of the front page."""
    size, fast = evaluation.size, evaluation.speed
    single, *_, many = fast.rates
    rows = [
        [f"right of {evaluation.images:,} test photos of all {len(evaluation.classes)} classes", _right(evaluation)]
    ]
    for name, s in evaluation.sources.items():
        if s.classes < len(evaluation.classes):
            share = f"{_percent(s.accuracy_within)} ({_interval(s.accuracy_within_interval)})"
            rows.append(
                [f"right of {s.images:,} {_title(name)} photos, answering among its {s.classes} classes", share]
            )
    rows += [
        ["calibration error (ECE)", _percent(evaluation.calibrated.ece)],
        [f"good photos refused, where {100 * evaluation.refuse_share:g} % is allowed", _percent(evaluation.refused)],
        ["size", f"{size.parameters:,} parameters, {size.gflop:.3f} GFLOP a photo"],
        [
            f"speed on {fast.machine}",
            f"{single.milliseconds:.1f} ms a photo, {many.images_per_second:,.0f} photos/s in calls of {many.batch}",
        ],
    ]
    return _table(["the starter pair", "as served (95 % interval)"], rows) + (
        f"\nOne run, seed {record.seed}; training, temperature and threshold saw no test photo. The "
        "[model card](MODEL_CARD.md) has the rest, and where test photos had a say."
    )


def model_card(record: StarterRecord, evaluation: Evaluation) -> str:
    """All of the model card that is measured."""
    config = TrainConfig.model_validate({k: v for k, v in record.config.items() if k in TrainConfig.model_fields})
    return "\n".join(
        [
            f"`{record.tags['cifar_cnn']}`, {origin(config)}, made by `{record.command}` at commit "
            f"`{record.commit[:12]}`, seed {record.seed}, on data `{record.data_digest[:12]}`. One run: each share "
            "stands with its 95 % interval (Wilson).\n",
            "### Right answers\n",
            _sources(evaluation),
            "The last column restricts the answer to the classes of the source, as others do who report it.\n",
            _weak_spots(evaluation),
            "### Probabilities\n",
            _calibration(evaluation),
            "### Gate\n",
            _gate(evaluation),
            *(["### Unknown photos\n", _unknown(evaluation)] if evaluation.unknown else []),
            "### Damaged photos\n",
            _robustness(evaluation),
            "### Size and speed\n",
            _speed(evaluation),
            "### Classes\n",
            _classes(evaluation),
        ]
    ).rstrip("\n")


FILES: dict[str, Callable[[StarterRecord, Evaluation], str]] = {"README.md": readme, "MODEL_CARD.md": model_card}


def main() -> int:
    try:
        record, evaluation = read()
        for name, write in FILES.items():
            path = ROOT / name
            path.write_text(filled(path, PART, write(record, evaluation)))
            print(f"{name}: written")
    except (CardError, MarkerError, StoreError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _sources(evaluation: Evaluation) -> str:
    rows = [["all", f"{evaluation.images:,}", f"{len(evaluation.classes)}", _right(evaluation), ""]]
    for name, s in evaluation.sources.items():
        free = f"{_percent(s.accuracy)} ({_interval(s.accuracy_interval)})"
        within = f"{_percent(s.accuracy_within)} ({_interval(s.accuracy_within_interval)})"
        rows.append([_title(name), f"{s.images:,}", f"{s.classes}", free, within])
    return _table(["test photos", "number", "classes", "right", "right among its classes"], rows)


def _weak_spots(evaluation: Evaluation) -> str:
    pairs = ", ".join(
        f"{pair.classes[0]} and {pair.classes[1]} ({sum(pair.mistakes):,})"
        for pair in evaluation.hardest_pairs[:MOST_PAIRS]
    )
    weakest = sorted(evaluation.classes.items(), key=lambda item: item[1].f1)[:3]
    names = ", ".join(f"{name} ({c.f1:.2f})" for name, c in weakest)
    return f"Most often taken for each other, with the number of photos: {pairs}. Lowest F1: {names}.\n"


def _calibration(evaluation: Evaluation) -> str:
    pairs = {
        "as the network gives them": evaluation.uncalibrated,
        f"as served, temperature {evaluation.temperature:.3f}": evaluation.calibrated,
    }
    rows = [[name, _percent(c.ece, 2), f"{c.brier:.4f}", f"{c.nll:.4f}"] for name, c in pairs.items()]
    return _table(["probabilities", "ECE, 15 equal-mass bins", "Brier", "NLL, nats"], rows)


def _gate(evaluation: Evaluation) -> str:
    rows = [["all", _percent(evaluation.refused)]]
    rows += [[_title(name), _percent(source.refused)] for name, source in evaluation.sources.items()]
    allowed = f"{100 * evaluation.refuse_share:g} %"
    return _table(["good test photos", f"refused, where {allowed} is allowed"], rows) + (
        f"\nOf the photos that it accepts {_percent(evaluation.accuracy_accepted)} are right.\n"
    )


def _unknown(evaluation: Evaluation) -> str:
    rows = [
        [name, _percent(scores[GATE]["auroc"]), _percent(scores[GATE]["fpr95"])]
        for name, scores in evaluation.unknown.items()
        if GATE in scores
    ]
    return _table(["unknown photos", "AUROC of the gate", "FPR95"], rows) + (
        "\nFPR95: share of good photos refused where 95 % of the unknown are. `python -m training ood` compares the "
        "gate with other scores.\n"
    )


def _robustness(evaluation: Evaluation) -> str:
    found = evaluation.robustness
    rows = [
        [name, *(_percent(cell.accuracy) for cell in cells), _percent(float(np.mean([c.accuracy for c in cells])))]
        for name, cells in found.corruptions.items()
    ]
    return _table(["right at severity", *map(str, SEVERITIES), "mean"], rows) + (
        f"\nOn {found.images:,} test photos, of which {_percent(found.clean.accuracy)} are right undamaged; the mean "
        f"over all damage is {_percent(found.mean_accuracy)}. Kinds and strengths are those of CIFAR-10-C.\n"
    )


def _speed(evaluation: Evaluation) -> str:
    size = evaluation.size
    rows = [
        [f"{rate.batch}", f"{rate.milliseconds:.2f}", f"{rate.images_per_second:,.0f}"]
        for rate in evaluation.speed.rates
    ]
    views = ", its mirror image included" if size.mirrored else ""
    return _table(["photos in a call", "ms", "photos/s"], rows) + (
        f"\n{size.parameters:,} parameters, {size.gflop:.3f} GFLOP for a photo{views}. Network and gate on "
        f"{evaluation.speed.machine} with {evaluation.speed.engine}, without decoding and HTTP.\n"
    )


def _classes(evaluation: Evaluation) -> str:
    rows = [
        [name, f"{c.support:,}", _percent(c.precision), recall, f"{c.f1:.3f}"]
        for name, c in evaluation.classes.items()
        for recall in (f"{_percent(c.recall)} ({_interval(c.recall_interval)})",)
    ]
    return _table(["class", "test photos", "precision", "recall", "F1"], rows)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def _right(evaluation: Evaluation) -> str:
    return f"{_percent(evaluation.accuracy)} ({_interval(evaluation.accuracy_interval)})"


def _percent(share: float, digits: int = 1) -> str:
    return f"{100 * share:.{digits}f} %"


def _interval(bounds: tuple[float, float]) -> str:
    return f"{100 * bounds[0]:.1f} to {100 * bounds[1]:.1f}"


def _title(source: str) -> str:
    return SOURCES.get(source, source)


if __name__ == "__main__":
    sys.exit(main())
