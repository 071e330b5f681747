"""The gate's file and its behaviour at serving time: round trip, bad files, NaN, and the shipped pair on real input."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from runners.artifacts import GATE_FILE, ArtifactError
from runners.gate import Gate, load_gate, save_gate
from runners.ood_scores import FORMULAS, Seen, energy, raw_scores, softmax
from runners.store import Served, open_pair
from training.gate import fit_gate
from training.ood_known import fit_known


def outputs(count: int, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 4, count)
    centres = np.random.default_rng(99).normal(size=(4, 16))
    embedding = (centres[labels] + 0.4 * rng.normal(size=(count, 16))).astype(np.float32)
    return (2 * embedding @ centres.T).astype(np.float32), embedding, labels


@pytest.fixture(scope="module")
def gate() -> Gate:
    logits, embedding, labels = outputs(400, 0)
    known = fit_known((logits, embedding), labels, (logits, embedding), 1.0, 4)
    return fit_gate(
        outputs(400, 1)[:2], known, outputs(400, 2)[:2], ("gen", "energy", "knn", "isolation"), trees=20, seed=0
    )


def test_saved_and_loaded_gates_agree_and_hold_only_what_they_need(gate: Gate, tmp_path: Path) -> None:
    save_gate(tmp_path, gate)
    logits, embedding, _ = outputs(50, 4)
    loaded = load_gate(tmp_path)
    for before, after in zip(gate.score(logits, embedding), loaded.score(logits, embedding), strict=True):
        assert np.array_equal(before, after)
    assert loaded.names == ("gen", "energy", "knn", "isolation")
    assert loaded.known.bank.size > 0
    assert len(loaded.known.isolation.roots) == 200
    assert loaded.known.within.size == 0


def test_one_photo_scores_as_it_does_in_a_batch(gate: Gate) -> None:
    logits, embedding, _ = outputs(64, 5)
    together = gate.score(logits, embedding)
    alone = [gate.score(logits[i : i + 1], embedding[i : i + 1]) for i in range(64)]
    assert np.concatenate([a[0] for a in alone]) == pytest.approx(together[0], abs=1e-6)


def test_a_file_that_is_no_gate_is_refused(gate: Gate, tmp_path: Path) -> None:
    save_gate(tmp_path, gate)
    path = tmp_path / GATE_FILE
    with np.load(path) as arrays:
        parts = dict(arrays)
    np.savez(path, **{**parts, "version": 99})
    with pytest.raises(ArtifactError, match="version 99"):
        load_gate(tmp_path)
    np.savez(path, **{name: value for name, value in parts.items() if name != "forest_roots"})
    with pytest.raises(ArtifactError, match="not readable as a gate"):
        load_gate(tmp_path)
    np.savez(path, **{**parts, "names": np.array(["energy", "tea leaves"])})
    with pytest.raises(ArtifactError, match="tea leaves"):
        load_gate(tmp_path)
    np.savez(path, **{**parts, "names": np.array([{}], object)})  # pickled
    with pytest.raises(ArtifactError, match="not readable as a gate"):
        load_gate(tmp_path)
    np.savez(path, **{**parts, "forest_children": parts["forest_children"] + len(parts["forest_feature"])})
    with pytest.raises(ArtifactError, match="not readable as a gate"):
        load_gate(tmp_path)
    np.savez(path, **{**parts, "forest_depth": np.array(60)})  # complete trees of that depth fit no memory
    with pytest.raises(ArtifactError, match="not readable as a gate"):
        load_gate(tmp_path)
    path.write_bytes(b"no arrays")
    with pytest.raises(ArtifactError, match="not readable as a gate"):
        load_gate(tmp_path)


def test_nan_and_infinity_are_refused(gate: Gate) -> None:
    logits, embedding, _ = outputs(2, 6)
    for bad in (np.nan, np.inf):
        broken = logits.copy()
        broken[0, 0] = bad
        with pytest.raises(ValueError, match="NaN or infinite"):
            gate.score(broken, embedding)
        broken = embedding.copy()
        broken[1, 3] = bad
        with pytest.raises(ValueError, match="NaN or infinite"):
            gate.score(logits, broken)


def test_every_formula_is_higher_for_a_photo_between_all_classes(gate: Gate) -> None:
    logits, embedding, labels = outputs(400, 0)
    known = fit_known((logits, embedding), labels, (logits, embedding), 1.0, 4)
    blank = np.zeros((1, 4), np.float32), embedding.mean(axis=0, keepdims=True)
    inside = [name for name in FORMULAS if name not in ("residual", "vim", "exceedance")]  # these look for too much
    assert (
        raw_scores(inside, Seen(*blank), known)[0]
        > np.median(raw_scores(inside, Seen(logits, embedding), known), axis=0)
    ).all()
    loud = logits, embedding + 9 * np.random.default_rng(0).normal(size=embedding.shape).astype(np.float32)
    outside = ("residual", "vim", "exceedance", "mahalanobis")
    higher = raw_scores(outside, Seen(*loud), known) > raw_scores(outside, Seen(logits, embedding), known)
    assert (higher.mean(axis=0) > 0.95).all()


def test_a_mixture_of_classes_that_no_known_photo_has_is_isolated() -> None:
    logits, embedding, labels = outputs(400, 0)
    share = np.random.default_rng(1).random(400)  # what is not the first class is the third
    mixed = np.log(np.stack([0.98 * share, 0 * share + 0.01, 0.98 * (1 - share), 0 * share + 0.01], axis=1) + 1e-6)
    known = fit_known((logits, embedding), labels, (mixed.astype(np.float32), embedding), 1.0, 4)
    odd = np.log(np.array([[0.4, 0.01, 0.01, 0.58]], np.float32))
    usual = np.log(np.array([[0.58, 0.01, 0.4, 0.01]], np.float32))
    scores = raw_scores(("msp", "isolation"), Seen(np.concatenate([odd, usual]), embedding[:2]), known)
    assert scores[0, 0] == pytest.approx(scores[1, 0])
    assert scores[0, 1] > scores[1, 1] + 0.1


def test_formulas_of_cases_worked_by_hand() -> None:
    logits = np.log(np.array([[0.5, 0.25, 0.25], [1.0, 1.0, 1.0]], np.float32))
    assert softmax(logits, 1.0)[0] == pytest.approx([0.5, 0.25, 0.25])
    assert energy(logits) == pytest.approx([0.0, -np.log(3)], abs=1e-6)
    known = fit_known(
        (np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)),
        np.arange(3),
        (np.eye(3, dtype=np.float32), np.eye(3, dtype=np.float32)),
        1.0,
        3,
    )
    scores = raw_scores(
        ("msp", "max_logit", "entropy", "gen", "cosine"), Seen(logits, np.eye(3, dtype=np.float32)[:2]), known
    )
    assert scores[0, 0] == pytest.approx(-0.5)
    assert scores[0, 1] == pytest.approx(-np.log(0.5))
    assert scores[0, 2] == pytest.approx(1.5 * np.log(2), rel=1e-5)
    assert scores[0, 3] == pytest.approx(0.25**0.1 + 2 * 0.1875**0.1, rel=1e-5)
    assert scores[:, 4] == pytest.approx([0.0, 0.0], abs=1e-6)


def test_the_shipped_gate_refuses_most_flat_colours_and_noise(starter_pair: Served) -> None:
    pipeline, _ = open_pair(starter_pair, "openvino")
    rng = np.random.default_rng(0)
    flat = np.full((100, 32, 32, 3), rng.integers(0, 256, (100, 1, 1, 3)), np.uint8)
    noise = rng.integers(0, 256, (100, 32, 32, 3), dtype=np.uint8)
    for what, pictures in (("flat colour", flat), ("noise", noise)):
        refused = pipeline.score(pictures).ood_p_value <= 0.05
        assert refused.mean() > 0.5, what
