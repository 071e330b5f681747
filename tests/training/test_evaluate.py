"""The evaluation of a made-up pair whose answers are known, its page and its figures."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runners.gate import Gate
from runners.pipeline import Pipeline
from training.calibrate import ece, nll
from training.config import TrainConfig
from training.evaluate import Evaluation, Size, evaluate, summary
from training.report import plots_folder, write_report
from training.report_figures import READING
from training.robustness import CORRUPTIONS
from training.runs import Run
from training.speed import BATCHES, speed

NAMES = ("red", "green", "blue", "grey & <dark>")
PER_CLASS = 30
HISTORY = [
    {"epoch": e, "rate": 0.1 / e, "loss": 1 / e, "accuracy": 1 - 1 / (e + 1), "val_loss": 1 / e, "val_accuracy": 0.5}
    for e in range(1, 4)
]
CONFIG = TrainConfig(
    name="made",
    widths=(8, 8, 8),
    epochs=3,
    batch_size=8,
    learning_rate=0.1,
    start="cifar_cnn:before",
    teachers=("cifar_cnn:one", "cifar_cnn:two"),
)


class MadeGate:
    """Refuses photos by their brightness."""

    def score(self, logits: NDArray[np.float32], embedding: NDArray[np.float32]) -> tuple[NDArray[np.float32], ...]:
        dark = (embedding.mean(axis=1) < 40).astype(np.float32)
        return dark, 1 - dark


def network(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Answers with the strongest colour; never with the last class."""
    colour = pixels.mean(axis=(1, 2)).astype(np.float32)
    return np.column_stack([colour / 40, np.full(len(colour), -9, np.float32)]), colour


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    gate: Gate = MadeGate()  # type: ignore[assignment]
    return Pipeline(network, gate, NAMES, 0.5, "cnn:1", "forest:1")


@pytest.fixture(scope="module")
def test_photos() -> tuple[NDArray[np.uint8], NDArray[np.int64], NDArray[np.str_]]:
    """The first three classes are right by their colour, but for five red photos that look blue; the fourth is dark."""
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(4), PER_CLASS)
    shown = labels.copy()
    shown[:5] = 2
    pixels = rng.integers(0, 60, (len(labels), 32, 32, 3), dtype=np.uint8)
    for row, colour in enumerate(shown):
        if colour < 3:
            pixels[row, ..., colour] += 120
    sources = np.where(labels < 3, "colours", "darkness")
    return pixels, labels, sources


@pytest.fixture(scope="module")
def evaluation(pipeline: Pipeline, test_photos: tuple[NDArray, NDArray, NDArray]) -> Evaluation:
    pixels, labels, sources = test_photos
    size = Size(parameters=1234, gflop=0.5, mirrored=True)
    unknown = {"noise": {"isolation_forest": {"auroc": 0.9, "fpr95": 0.25}}}
    return evaluate(pipeline, (pixels, labels), sources, 0.05, size, unknown, HISTORY, lambda *_, **__: None)


def test_accuracy_refusals_and_confusions_are_counted_right(evaluation: Evaluation) -> None:
    assert evaluation.accuracy == pytest.approx(85 / 120)
    assert evaluation.accuracy_interval[0] < 85 / 120 < evaluation.accuracy_interval[1]
    assert evaluation.refused == pytest.approx(30 / 120)
    assert evaluation.accuracy_accepted == pytest.approx(85 / 90)
    assert np.sum(evaluation.confusion, axis=1).tolist() == [PER_CLASS] * 4
    assert evaluation.confusion[0][2] == 5
    assert evaluation.classes["red"].recall == pytest.approx(25 / 30)
    assert evaluation.classes["green"].precision == pytest.approx(
        30 / sum(row[1] for row in evaluation.confusion)
    )  # dark photos are called one of the three
    assert evaluation.classes["grey & <dark>"].f1 == 0


def test_within_its_own_classes_a_source_is_answered_among_them(evaluation: Evaluation) -> None:
    assert evaluation.sources["darkness"].accuracy == 0
    assert evaluation.sources["darkness"].accuracy_within == 1  # it has only one
    assert evaluation.sources["darkness"].refused == 1
    assert evaluation.sources["colours"].accuracy_within == pytest.approx(85 / 90)
    assert evaluation.sources["colours"].accuracy_within_interval[1] < 1


def test_calibration_is_of_the_logits_before_and_of_the_served_probabilities_after(
    evaluation: Evaluation, pipeline: Pipeline, test_photos: tuple[NDArray, NDArray, NDArray]
) -> None:
    pixels, labels, _ = test_photos
    served = pipeline.score(pixels).probabilities
    assert evaluation.calibrated.nll == pytest.approx(nll(served, labels), rel=1e-6)
    assert evaluation.calibrated.ece == pytest.approx(ece(served, labels), rel=1e-6)
    logits = network(pixels)[0].astype(float)
    plain = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    assert evaluation.uncalibrated.nll == pytest.approx(nll(plain, labels), rel=1e-5)
    assert len(evaluation.calibrated.reliability) == 15
    assert sum(count for *_, count in evaluation.calibrated.reliability) == len(labels)


def test_the_surest_photos_and_the_hardest_pairs_are_the_right_ones(evaluation: Evaluation) -> None:
    assert sorted(example.truth for example in evaluation.surest_right) == ["blue", "green", "red"]
    for example in evaluation.surest_right:
        assert example.truth == example.answer == next(iter(example.probabilities))
    wrong = evaluation.surest_wrong
    assert {example.row for example in wrong[:5]} == {0, 1, 2, 3, 4}  # bright and blue: surer than the dark ones
    assert all(example.truth != example.answer for example in wrong)
    shares = [max(example.probabilities.values()) for example in wrong]
    assert shares == sorted(shares, reverse=True)
    assert not any(example.accepted for example in wrong[5:])
    found = {pair.classes: pair for pair in evaluation.hardest_pairs}
    assert found["red", "blue"].mistakes == (5, 0)
    assert found["red", "blue"].share == pytest.approx(5 / 60)
    [example] = found["red", "blue"].examples
    assert (example.truth, example.answer) == ("red", "blue")


def test_damage_is_measured_with_the_same_pair(evaluation: Evaluation) -> None:
    found = evaluation.robustness
    assert found.images == 120
    assert found.clean.accuracy == pytest.approx(evaluation.accuracy)
    assert found.clean.refused == pytest.approx(evaluation.refused)
    assert set(found.corruptions) == set(CORRUPTIONS)
    # A blur keeps each photo's mean colour, and with it every answer; brightness lifts dark photos over the gate.
    assert found.corruptions["blur"][4].accuracy == pytest.approx(evaluation.accuracy, abs=0.02)
    assert found.corruptions["brightness"][4].refused < found.clean.refused


def test_speed_calls_the_pair_at_each_batch_size(pipeline: Pipeline) -> None:
    seen: list[int] = []

    def counting(pixels: NDArray[np.uint8]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        seen.append(len(pixels))
        return network(pixels)

    counted = Pipeline(counting, pipeline.gate, NAMES, 0.5, "cnn:1", "forest:1")
    found = speed(counted, np.zeros((3, 32, 32, 3), np.uint8), seconds=0.01)  # fewer photos than the largest batch
    assert [rate.batch for rate in found.rates] == list(BATCHES) == sorted(set(seen))
    for rate in found.rates:
        assert rate.images_per_second == pytest.approx(1000 * rate.batch / rate.milliseconds)
    assert "core" in found.machine
    assert "OpenVINO" in found.engine


def test_the_numbers_survive_json_and_the_summary_names_them(evaluation: Evaluation) -> None:
    again = Evaluation.model_validate_json(json.dumps(evaluation.model_dump(mode="json")))
    assert again == evaluation
    assert again.headline()["test_accuracy"] == pytest.approx(85 / 120, abs=1e-6)
    text = summary(evaluation)
    assert "AUROC of the gate 90.0%" in text
    assert "70.83%" in text
    assert "1,234 parameters" in text


class Page(HTMLParser):
    """Tags, links to the outside, and anchors of a page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.outside: list[str] = []
        self.ids: set[str] = set()
        self.jumps: set[str] = set()
        self.images = 0
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "href") and not (value or "").startswith(("data:", "#")):
                self.outside.append(value or "")
            if name == "id":
                self.ids.add(value or "")
            if name == "href":
                self.jumps.add((value or "").removeprefix("#"))
        self.images += tag == "img"
        assert tag != "script"


def test_the_page_stands_alone_shows_everything_and_says_how_to_read_it(
    evaluation: Evaluation, test_photos: tuple[NDArray, NDArray, NDArray], tmp_path: Path
) -> None:
    run = Run(tmp_path / "made-0123")
    run.folder.mkdir()
    for _ in range(2):  # it can be written again
        write_report(run, CONFIG, evaluation, test_photos[0])
    plots = {path.stem: path.read_bytes() for path in plots_folder(run).iterdir()}
    assert set(plots) == set(READING)
    assert all(data.startswith(b"\x89PNG") for data in plots.values())
    text = run.report.read_text()
    page = Page(text)
    assert not page.outside
    assert page.jumps == page.ids
    examples = len(evaluation.surest_right) + len(evaluation.surest_wrong)
    examples += sum(len(pair.examples) for pair in evaluation.hardest_pairs)
    assert page.images == len(plots) + examples
    for sentence in READING.values():
        assert sentence in text
    assert "grey &amp; &lt;dark&gt;" in text
    assert "<dark>" not in text
    assert "trained on from cifar_cnn:before, taught by cifar_cnn:one, cifar_cnn:two." in text
    assert len(re.findall("refused by the gate<div", text)) >= 20
    for number in ("70.83%", "90.0%", "25.0%", "1,234", "0.500 GFLOP"):
        assert number in text


def test_a_page_without_a_fit_and_without_mistakes_has_no_empty_parts(
    evaluation: Evaluation, test_photos: tuple[NDArray, NDArray, NDArray], tmp_path: Path
) -> None:
    run = Run(tmp_path / "made-4567")
    run.folder.mkdir()
    perfect = evaluation.model_copy(update={"history": [], "hardest_pairs": [], "surest_wrong": [], "unknown": {}})
    write_report(run, CONFIG.model_copy(update={"start": None, "teachers": ()}), perfect, test_photos[0])
    assert "convergence" not in {path.stem for path in plots_folder(run).iterdir()}
    text = run.report.read_text()
    assert 'id="convergence"' not in text
    assert 'id="unknown"' not in text
    assert "No answer was wrong." in text
    assert "The network was trained from scratch." in text
