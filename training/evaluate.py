"""What the served pair is worth: accuracy, calibration and refusals on the test set, read once, at the end."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from monitoring.intervals import wilson
from runners.artifacts import KERAS_FILE
from runners.gate import Floats, softmax
from runners.pipeline import Pipeline, Scores
from training.calibrate import brier, ece, nll, reliability
from training.report_examples import Example, HardPair, hardest_pairs, surest_right, surest_wrong
from training.robustness import Robustness, robustness
from training.sources import Labelled, Progress
from training.speed import Speed, speed

CHUNK = 1_000
"""Photos between two signs of progress."""
GATE = "isolation_forest"
"""The gate's name among the scores on unknown photos."""


class PerClass(BaseModel):
    """One class of the test set; every share 0..1, the interval is that of the recall."""

    model_config = ConfigDict(frozen=True)

    precision: float
    recall: float
    recall_interval: tuple[float, float]
    f1: float
    support: int


class PerSource(BaseModel):
    """The test photos of one source. ``accuracy_within``: with the answer restricted to the ``classes`` that it has."""

    model_config = ConfigDict(frozen=True)

    images: int
    classes: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    accuracy_within: float
    accuracy_within_interval: tuple[float, float]
    refused: float


class Calibration(BaseModel):
    """How far probabilities are from what they claim.

    ``ece``: over 15 bins of equal mass. ``nll`` in nats. ``reliability``: mean probability, share right and photos of
    each bin.
    """

    model_config = ConfigDict(frozen=True)

    ece: float
    brier: float
    nll: float
    reliability: list[tuple[float, float, int]]


class Size(BaseModel):
    """What the network costs: weights, and GFLOP for one photo, with its mirror image where ``mirrored``."""

    model_config = ConfigDict(frozen=True)

    parameters: int
    gflop: float
    mirrored: bool


class Evaluation(BaseModel):
    """All that the report shows but the pictures. Shares 0..1, intervals are Wilson's at 95 %.

    ``calibrated`` is what is served, ``uncalibrated`` the same without the temperature. ``confusion``: counts, rows are
    the truth. ``unknown``: set of unknown photos -> score -> AUROC and others, of the step `ood`. ``history``: the
    epochs of the fit.
    """

    model_config = ConfigDict(frozen=True)

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    temperature: float
    uncalibrated: Calibration
    calibrated: Calibration
    refuse_share: float
    refused: float
    accuracy_accepted: float
    classes: dict[str, PerClass]
    sources: dict[str, PerSource]
    confusion: list[list[int]]
    hardest_pairs: list[HardPair]
    surest_right: list[Example]
    surest_wrong: list[Example]
    robustness: Robustness
    speed: Speed
    size: Size
    unknown: dict[str, dict[str, dict[str, float]]]
    history: list[dict[str, float]]

    def headline(self) -> dict[str, float]:
        """The numbers that MLflow and the record keep."""
        numbers = {
            "test_accuracy": self.accuracy,
            "test_ece_before": self.uncalibrated.ece,
            "test_ece": self.calibrated.ece,
            "test_nll_before": self.uncalibrated.nll,
            "test_nll": self.calibrated.nll,
            "test_brier_before": self.uncalibrated.brier,
            "test_brier": self.calibrated.brier,
            "temperature": self.temperature,
            "test_refused": self.refused,
            "test_accuracy_accepted": self.accuracy_accepted,
            "test_accuracy_corrupted": self.robustness.mean_accuracy,
        }
        for source, result in self.sources.items():
            numbers[f"test_accuracy_{source}"] = result.accuracy
            numbers[f"test_accuracy_within_{source}"] = result.accuracy_within
            numbers[f"test_refused_{source}"] = result.refused
        for name, scores in self.unknown.items():
            if GATE in scores:
                plain = re.sub(r"[^\w. -]", "_", name)  # what MLflow takes in a name
                numbers[f"auroc/{plain}"] = scores[GATE]["auroc"]
        numbers |= {"parameters": float(self.size.parameters), "gflop": self.size.gflop}
        return {name: round(value, 6) for name, value in numbers.items()}


def evaluate(
    pipeline: Pipeline,
    test: Labelled,
    sources: NDArray[np.str_],
    refuse_share: float,
    size: Size,
    unknown: dict[str, dict[str, dict[str, float]]],
    history: list[dict[str, float]],
    progress: Progress,
) -> Evaluation:
    """Score the test set with the pair exactly as it is served; ``sources`` (n,) are those of its photos."""
    pixels, labels = test
    names = pipeline.labels
    scores = _scores(pipeline, pixels, progress)
    # The logits up to a constant in each row, which no softmax sees: the network need not run again.
    logits = np.log(np.maximum(scores.probabilities, np.finfo(np.float32).tiny)) * np.float32(pipeline.temperature)
    guess, accepted = scores.best, scores.ood_p_value > refuse_share
    right = guess == labels
    return Evaluation(
        images=len(labels),
        accuracy=float(right.mean()),
        accuracy_interval=wilson(int(right.sum()), len(labels)),
        temperature=pipeline.temperature,
        uncalibrated=calibration(softmax(logits, 1.0), labels),
        calibrated=calibration(scores.probabilities, labels),
        refuse_share=refuse_share,
        refused=float(1 - accepted.mean()),
        accuracy_accepted=float(right[accepted].mean()) if accepted.any() else 0.0,
        classes=per_class(guess, labels, names),
        sources={s: _per_source(scores, labels, accepted, sources == s) for s in sorted(set(sources.tolist()))},
        confusion=confusion(guess, labels, len(names)).tolist(),
        hardest_pairs=hardest_pairs(scores, labels, accepted, names),
        surest_right=surest_right(scores, labels, accepted, names),
        surest_wrong=surest_wrong(scores, labels, accepted, names),
        robustness=robustness(pipeline, test, refuse_share, progress),
        speed=speed(pipeline, pixels),
        size=size,
        unknown=unknown,
        history=history,
    )


def network_size(folder: Path) -> Size:
    """The size of the network in ``folder``, a run's `cnn` or a `cifar_cnn` model."""
    import keras

    from training.network import is_mirrored, macs

    model = keras.saving.load_model(folder / KERAS_FILE, compile=False)
    return Size(parameters=model.count_params(), gflop=2 * macs(model) / 1e9, mirrored=is_mirrored(model))


def _scores(pipeline: Pipeline, pixels: NDArray[np.uint8], progress: Progress) -> Scores:
    parts = []
    for start in range(0, len(pixels), CHUNK):
        parts.append(pipeline.score(pixels[start : start + CHUNK], batch=250))
        progress("test set", start + len(parts[-1]), len(pixels))
    return Scores.concatenate(parts)


def calibration(probabilities: Floats, labels: NDArray[np.int64]) -> Calibration:
    """``probabilities`` (n, classes) against ``labels`` (n,)."""
    return Calibration(
        ece=ece(probabilities, labels),
        brier=brier(probabilities, labels),
        nll=nll(probabilities, labels),
        reliability=reliability(probabilities, labels),
    )


def _per_source(
    scores: Scores, labels: NDArray[np.int64], accepted: NDArray[np.bool_], rows: NDArray[np.bool_]
) -> PerSource:
    probabilities, truth = scores.probabilities[rows], labels[rows]
    right = int((probabilities.argmax(axis=1) == truth).sum())
    within = int(right_within(probabilities, truth).sum())
    return PerSource(
        images=len(truth),
        classes=len(np.unique(truth)),
        accuracy=right / len(truth),
        accuracy_interval=wilson(right, len(truth)),
        accuracy_within=within / len(truth),
        accuracy_within_interval=wilson(within, len(truth)),
        refused=float(1 - accepted[rows].mean()),
    )


def right_within(scores: Floats, truth: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which answers are right when only the classes that occur in ``truth`` (n,) may be answered, (n,).

    ``scores`` (n, classes): probabilities or logits.
    """
    its = np.unique(truth)
    found: NDArray[np.bool_] = its[scores[:, its].argmax(axis=1)] == truth
    return found


def accuracy(pipeline: Pipeline, data: Labelled) -> tuple[float, tuple[float, float]]:
    """Share of right answers (refusals not counted apart) and its Wilson interval at 95 %."""
    right = pipeline.score(data[0], batch=250).best == data[1]
    return float(right.mean()), wilson(int(right.sum()), len(right))


def confusion(guess: NDArray[np.intp], labels: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """Counts, (classes, classes): rows are the truth, columns the answer."""
    return np.bincount(labels * classes + guess, minlength=classes * classes).reshape(classes, classes)


def per_class(guess: NDArray[np.intp], labels: NDArray[np.int64], names: tuple[str, ...]) -> dict[str, PerClass]:
    table = confusion(guess, labels, len(names))
    result = {}
    for i, name in enumerate(names):
        hit, answered, there = int(table[i, i]), int(table[:, i].sum()), int(table[i].sum())
        precision, recall = hit / max(answered, 1), hit / max(there, 1)
        f1 = 2 * precision * recall / max(precision + recall, 1e-12)
        interval = wilson(hit, there) if there else (0.0, 1.0)
        result[name] = PerClass(precision=precision, recall=recall, recall_interval=interval, f1=f1, support=there)
    return result


def summary(evaluation: Evaluation) -> str:
    """A few lines for people."""
    low, high = evaluation.accuracy_interval
    before, after, size = evaluation.uncalibrated, evaluation.calibrated, evaluation.size
    lines = [
        f"test accuracy {evaluation.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%})",
        f"ECE {after.ece:.2%} ({before.ece:.2%} before temperature {evaluation.temperature:.3f})",
        f"refused {evaluation.refused:.2%} of test photos; {evaluation.accuracy_accepted:.2%} of the others right",
        f"{size.parameters:,} parameters, {size.gflop:.3f} GFLOP per image",
    ]
    for name, source in evaluation.sources.items():
        low, high = source.accuracy_interval
        lines.append(
            f"{name}: {source.accuracy:.2%} of {source.images:,} ({low:.2%} to {high:.2%}; among its own classes "
            f"{source.accuracy_within:.2%}), {source.refused:.2%} refused"
        )
    lines.append(f"corrupted photos: {evaluation.robustness.mean_accuracy:.2%}, mean of six kinds at five severities")
    lines += [
        f"{rate.batch} at once: {rate.milliseconds:.2f} ms, {rate.images_per_second:,.0f} images/s"
        for rate in evaluation.speed.rates
    ]
    for name, scores in evaluation.unknown.items():
        if GATE in scores:
            lines.append(f"unknown: {name}: AUROC of the gate {scores[GATE]['auroc']:.1%}")
    return "\n".join(lines)
