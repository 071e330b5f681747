"""What the served pair is worth: accuracy, calibration and refusals on the test set, read once, at the end."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from runners.gate import softmax
from runners.pipeline import Pipeline, Scores
from training.calibrate import brier, ece, nll, reliability
from training.export import outputs
from training.sources import Labelled


class PerClass(BaseModel):
    """One class of the test set; every share 0..1."""

    model_config = ConfigDict(frozen=True)

    precision: float
    recall: float
    f1: float
    support: int


class PerSource(BaseModel):
    """The test photos of one source. ``accuracy_within``: with the answer restricted to the classes that it has."""

    model_config = ConfigDict(frozen=True)

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    accuracy_within: float
    refused: float


class Evaluation(BaseModel):
    """The numbers of the report. Shares 0..1, ``accuracy_interval`` is Wilson's at 95 %, NLL in nats."""

    model_config = ConfigDict(frozen=True)

    images: int
    accuracy: float
    accuracy_interval: tuple[float, float]
    ece_before: float
    ece: float
    nll_before: float
    nll: float
    brier: float
    temperature: float
    refused: float
    accuracy_accepted: float
    classes: dict[str, PerClass]
    sources: dict[str, PerSource]
    confusion: list[list[int]]
    reliability: list[tuple[float, float, int]]
    parameters: int
    gflop: float

    def headline(self) -> dict[str, float]:
        """The numbers that MLflow and the record keep."""
        names = ("accuracy", "ece_before", "ece", "nll", "brier", "temperature", "refused", "accuracy_accepted")
        numbers = {f"test_{n}" if n != "temperature" else n: float(getattr(self, n)) for n in names}
        for source, result in self.sources.items():
            numbers[f"test_accuracy_{source}"] = result.accuracy
            numbers[f"test_accuracy_within_{source}"] = result.accuracy_within
            numbers[f"test_refused_{source}"] = result.refused
        numbers |= {"parameters": float(self.parameters), "gflop": self.gflop}
        return {name: round(value, 6) for name, value in numbers.items()}


def evaluate(
    pipeline: Pipeline,
    test: Labelled,
    sources: NDArray[np.str_],
    refuse_share: float,
    parameters: int,
    gflop: float,
) -> Evaluation:
    """Score the test set with the pair exactly as it is served; ``sources`` (n,) are those of its photos."""
    pixels, labels = test
    logits, _ = outputs(pipeline.network, pixels)
    plain = softmax(logits, 1.0)
    scores = pipeline.score(pixels, batch=250)
    guess, accepted = scores.best, scores.ood_p_value > refuse_share
    right = guess == labels
    return Evaluation(
        images=len(labels),
        accuracy=float(right.mean()),
        accuracy_interval=wilson(int(right.sum()), len(labels)),
        ece_before=ece(plain, labels),
        ece=ece(scores.probabilities, labels),
        nll_before=nll(plain, labels),
        nll=nll(scores.probabilities, labels),
        brier=brier(scores.probabilities, labels),
        temperature=pipeline.temperature,
        refused=float(1 - accepted.mean()),
        accuracy_accepted=float(right[accepted].mean()) if accepted.any() else 0.0,
        classes=per_class(guess, labels, pipeline.labels),
        sources={s: _per_source(scores, labels, accepted, sources == s) for s in sorted(set(sources.tolist()))},
        confusion=confusion(guess, labels, len(pipeline.labels)).tolist(),
        reliability=reliability(scores.probabilities, labels),
        parameters=parameters,
        gflop=gflop,
    )


def _per_source(
    scores: Scores, labels: NDArray[np.int64], accepted: NDArray[np.bool_], rows: NDArray[np.bool_]
) -> PerSource:
    probabilities, truth = scores.probabilities[rows], labels[rows]
    right = int((probabilities.argmax(axis=1) == truth).sum())
    its = np.unique(truth)
    return PerSource(
        images=len(truth),
        accuracy=right / len(truth),
        accuracy_interval=wilson(right, len(truth)),
        accuracy_within=float((its[probabilities[:, its].argmax(axis=1)] == truth).mean()),
        refused=float(1 - accepted[rows].mean()),
    )


def accuracy(pipeline: Pipeline, data: Labelled) -> tuple[float, tuple[float, float]]:
    """Share of right answers (refusals not counted apart) and its Wilson interval at 95 %."""
    right = pipeline.score(data[0], batch=250).best == data[1]
    return float(right.mean()), wilson(int(right.sum()), len(right))


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """95 % score interval of a share (Wilson 1927)."""
    from scipy.stats import binomtest

    interval = binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    return float(interval.low), float(interval.high)


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
        result[name] = PerClass(precision=precision, recall=recall, f1=f1, support=there)
    return result


def generated_unknowns(count: int, seed: int = 0) -> dict[str, NDArray[np.uint8]]:
    """Pictures of nothing, uint8 (count, 32, 32, 3) each: uniform noise, one flat colour, a linear gradient."""
    rng = np.random.default_rng(seed)
    start, end = rng.uniform(0, 255, (2, count, 1, 1, 3))
    ramp = np.linspace(0, 1, 32)[None, None, :, None]
    return {
        "noise": rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8),
        "flat": np.broadcast_to(start, (count, 32, 32, 3)).astype(np.uint8),
        "gradient": np.broadcast_to(start + (end - start) * ramp, (count, 32, 32, 3)).astype(np.uint8),
    }


def summary(evaluation: Evaluation, ood: dict[str, Any]) -> str:
    """A few lines for people."""
    low, high = evaluation.accuracy_interval
    lines = [
        f"test accuracy {evaluation.accuracy:.2%} (95 % interval {low:.2%} to {high:.2%})",
        f"ECE {evaluation.ece:.2%} ({evaluation.ece_before:.2%} before temperature {evaluation.temperature:.3f})",
        f"refused {evaluation.refused:.2%} of test photos; {evaluation.accuracy_accepted:.2%} of the others right",
        f"{evaluation.parameters:,} parameters, {evaluation.gflop:.3f} GFLOP per image",
    ]
    for name, source in evaluation.sources.items():
        low, high = source.accuracy_interval
        lines.append(
            f"{name}: {source.accuracy:.2%} of {source.images:,} ({low:.2%} to {high:.2%}; among its own classes "
            f"{source.accuracy_within:.2%}), {source.refused:.2%} refused"
        )
    for name, table in ood.items():
        lines.append(f"unknown: {name}: AUROC of the gate {table['isolation_forest']['auroc']:.1%}")
    return "\n".join(lines)
