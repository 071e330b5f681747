"""The shipped network on the test photos: what must not change its answer, what must, and that both engines agree.

The behaviours are those of Ribeiro et al. 2020 (CheckList): invariance, direction, minimum functionality.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runners.pipeline import Pipeline, Scores
from runners.store import Served, open_pair
from training import dataset
from training.sources import Labelled

Pixels = NDArray[np.uint8]


@pytest.fixture(scope="module")
def pipeline(starter_pair: Served) -> Pipeline:
    return open_pair(starter_pair, "openvino")[0]


@pytest.fixture(scope="module")
def photos(prepared: Path) -> Labelled:
    """All test photos, (n, 32, 32, 3) and (n,)."""
    return dataset.load(prepared)["test"]


@pytest.fixture(scope="module")
def sample(photos: Labelled) -> Labelled:
    rows = np.random.default_rng(0).permutation(len(photos[1]))[:1000]
    return photos[0][rows], photos[1][rows]


def probabilities(pipeline: Pipeline, pixels: Pixels) -> NDArray[np.float32]:
    return pipeline.score(pixels, batch=250).probabilities


def test_a_mirrored_photo_keeps_its_class(pipeline: Pipeline, sample: Labelled) -> None:
    straight, mirrored = (probabilities(pipeline, pixels) for pixels in (sample[0], sample[0][:, :, ::-1]))
    same = straight.argmax(axis=1) == mirrored.argmax(axis=1)
    assert same.mean() >= 0.999  # the rounding of bfloat16 may turn a tie
    assert np.abs(straight - mirrored).max() < 0.05


def test_a_shift_by_two_pixels_changes_the_probability_little(pipeline: Pipeline, sample: Labelled) -> None:
    before = probabilities(pipeline, sample[0])
    best = before.argmax(axis=1)
    changes = []
    for rows, columns in ((2, 0), (-2, 0), (0, 2), (0, -2)):
        padded = np.pad(sample[0], ((0, 0), (2, 2), (2, 2), (0, 0)), mode="reflect")
        moved = padded[:, 2 + rows : 34 + rows, 2 + columns : 34 + columns]
        after = probabilities(pipeline, moved)
        changes.append(np.abs(after - before)[np.arange(len(best)), best])
        assert (after.argmax(axis=1) == best).mean() > 0.93
    assert np.mean(changes) < 0.06


def test_noise_lowers_confidence(pipeline: Pipeline, sample: Labelled) -> None:
    rng = np.random.default_rng(1)
    confidence = []
    for deviation in (0, 5, 10, 20, 40):
        noisy = (sample[0] + rng.normal(0, deviation, sample[0].shape)).clip(0, 255).astype(np.uint8)
        confidence.append(float(probabilities(pipeline, noisy).max(axis=1).mean()))
    assert confidence == sorted(confidence, reverse=True)
    assert confidence[-1] < confidence[0] - 0.1


def test_every_class_is_found_among_its_own_test_photos(
    pipeline: Pipeline, photos: Labelled, shipped_scores: Scores
) -> None:
    best = shipped_scores.best
    for label, name in enumerate(pipeline.labels):
        mine = photos[1] == label
        assert mine.any(), name
        assert (best[mine] == label).mean() > 0.6, name


def test_both_engines_give_the_same_answer(starter_pair: Served, photos: Labelled, shipped_scores: Scores) -> None:
    """OpenVINO computes in bfloat16 where the processor has it, TensorFlow in float32."""
    pixels, ours = photos[0][:5_000], shipped_scores.probabilities[:5_000]
    theirs = open_pair(starter_pair, "tensorflow")[0].score(pixels, batch=250).probabilities
    difference = np.abs(ours - theirs).max(axis=1)
    assert (ours.argmax(axis=1) == theirs.argmax(axis=1)).mean() >= 0.995
    assert difference.mean() <= 0.005
    assert np.quantile(difference, 0.95) <= 0.02
