"""The lab on made-up outputs: it chooses on one half, reports on the other, and writes a page of its own."""

from __future__ import annotations

import json
import re
from html import escape
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from runners.gate import FEATURES
from training import ood_lab
from training.gate import fit_gate
from training.ood_known import Fitting, KnownPhotos, fit_known
from training.ood_lab import Choice, Lab, Measured
from training.ood_page import page
from training.ood_scores import CANDIDATES, forest_scores, single_scores
from training.readers import CIFAR10_LABELS
from training.unknowns import Group, Half

Outputs = tuple[NDArray[np.float32], NDArray[np.float32]]
CENTRES = np.random.default_rng(99).normal(size=(10, 24))
TREES = 10


def outputs(count: int, seed: int) -> tuple[Outputs, NDArray[np.int64]]:
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.arange(count) % 10)
    embedding = (CENTRES[labels] + 0.7 * rng.normal(size=(count, 24))).astype(np.float32)
    return ((embedding @ CENTRES.T).astype(np.float32), embedding), labels


def between(count: int, seed: int, part: float) -> Outputs:
    """Photos between two classes; the smaller ``part``, the farther from both."""
    rng = np.random.default_rng(seed)
    mixed = part * (CENTRES[rng.integers(0, 10, count)] + CENTRES[rng.integers(0, 10, count)]) / 2
    embedding = (mixed + 0.7 * rng.normal(size=(count, 24))).astype(np.float32)
    return (embedding @ CENTRES.T).astype(np.float32), embedding


@pytest.fixture(scope="module")
def photos() -> KnownPhotos:
    train, labels = outputs(400, 0)
    held_out, calibration = outputs(400, 1)[0], outputs(400, 2)[0]
    known = fit_known(train, labels, held_out, 1.0, 10)
    return KnownPhotos(Fitting(train, labels, held_out, 1.0, known), calibration)


@pytest.fixture(scope="module")
def unknown() -> list[Measured]:
    sets: list[tuple[str, Group, float]] = [
        ("CIFAR-100", "near", 1.0),
        ("textures", "far", 0.4),
        ("noise", "generated", 0.0),
    ]
    halves: tuple[Half, Half] = ("choosing", "reporting")
    return [
        Measured(name, group, half, between(150, 10 + 2 * i + j, part), ("x",))
        for i, (name, group, part) in enumerate(sets)
        for j, half in enumerate(halves)
    ]


@pytest.fixture(scope="module")
def result(photos: KnownPhotos, unknown: list[Measured]) -> dict[str, Any]:
    choice = ood_lab.choose(photos, unknown, TREES, 0)
    fitting = photos.fitting
    gate = fit_gate(fitting.held_out, fitting.known, photos.calibration, choice.names, TREES, 0)
    test, labels = outputs(500, 3)
    sources = np.where(labels < 5, "cifar10", "folder")
    return ood_lab.report(Lab(photos, unknown, test, sources, CIFAR10_LABELS, TREES, 0), gate, choice, 0.05)


def test_the_result_has_every_score_on_every_reporting_set(result: dict[str, Any]) -> None:
    rows = {row["name"]: row for row in result["scores"]}
    singles = {score.name for score in single_scores()}
    assert singles | {"isolation_forest", "p_value"} | {s.name for s in forest_scores(TREES, 0)} <= set(rows)
    assert len(rows) == len(result["scores"]) == len(singles) + 2 + len(CANDIDATES) + 7
    for row in rows.values():
        assert set(row["sets"]) == {"CIFAR-100", "textures", "noise"}
        assert set(row["means"]) == {"near", "far", "generated", "far and generated", "near and far"}
        for values in (*row["sets"].values(), *row["means"].values()):
            low, high = values["auroc_interval"]
            assert 0 <= low <= values["auroc"] + 0.02
            assert high <= 1
        assert set(row["protocol"]) == {"CIFAR-100", "textures", "noise", "near", "far"} - {"noise"}
    assert rows["energy"]["sets"]["textures"]["auroc"] > 0.9
    assert tuple(result["features"]) in CANDIDATES
    assert json.loads(json.dumps(result))["features"] == result["features"]


def test_the_gate_is_as_good_as_the_best_single_score(result: dict[str, Any]) -> None:
    for target in result["targets"]:
        assert target["measured"] > target["wanted"] - 0.02, target  # ten trees only


def test_reporting_photos_do_not_choose(photos: KnownPhotos, unknown: list[Measured], result: dict[str, Any]) -> None:
    """With other photos to report on, the choice and its table stay."""
    swapped = [s if s.half == "choosing" else Measured(s.name, s.group, s.half, s.outputs[::-1], ()) for s in unknown]
    assert ood_lab.choose(photos, swapped, TREES, 0) == Choice(tuple(result["features"]), result["choice"])


def test_without_photos_to_choose_by_the_default_features_are_taken(
    photos: KnownPhotos, unknown: list[Measured]
) -> None:
    alone = [s for s in unknown if s.group == "generated"]
    choice = ood_lab.choose(photos, alone, TREES, 0)
    assert choice == Choice(FEATURES, {})
    fitting = photos.fitting
    gate = fit_gate(fitting.held_out, fitting.known, photos.calibration, choice.names, TREES, 0)
    test, _ = outputs(60, 4)
    lab = Lab(photos, alone, test, np.array(["folder"] * 60), tuple("abcdefghij"), TREES, 0)
    result = ood_lab.report(lab, gate, choice, 0.05)
    assert result["targets"] == []
    assert set(ood_lab.brief(result)) == {"noise", "mean generated", "mean far and generated"}
    assert "default features" in page("x", result)


def test_the_brief_has_the_gate_and_the_best_single_scores(result: dict[str, Any]) -> None:
    brief = ood_lab.brief(result)
    assert {"CIFAR-100", "textures", "noise", "mean near", "mean far"} <= set(brief)
    for scores in brief.values():
        assert {"isolation_forest", "p_value"} < set(scores)
        assert set(scores["isolation_forest"]) == {"auroc", "aupr_unknown", "aupr_known", "fpr95"}


def test_the_page_needs_no_network_and_names_every_score(result: dict[str, Any]) -> None:
    text = page("a <b> run", result)
    assert text.startswith("<!doctype html>")
    assert "a &lt;b&gt; run" in text
    assert not re.search(r"(src|href)=|https?://|<script", text)
    for row in result["scores"]:
        assert escape(row["title"]) in text
    assert "OpenOOD" in text
