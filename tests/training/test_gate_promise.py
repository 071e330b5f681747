"""The promise on real photos: of fresh known ones the shipped gate refuses the chosen share, of every source."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from monitoring.intervals import wilson
from runners.pipeline import Scores
from training import dataset

SHARE = 0.05


@pytest.fixture(scope="module")
def scored(prepared: Path, shipped_scores: Scores) -> tuple[NDArray[np.bool_], NDArray[np.str_]]:
    """Whether the shipped pair refuses fresh known photos, and their sources."""
    return shipped_scores.ood_p_value <= SHARE, dataset.load(prepared).sources["test"]


def test_the_share_of_fresh_photos_that_is_refused_is_the_chosen_one(
    scored: tuple[NDArray[np.bool_], NDArray[np.str_]],
) -> None:
    refused, sources = scored
    official = refused[sources != "folder"]  # all in the proportion in which they come
    assert SHARE - 0.01 <= official.mean() <= SHARE + 0.01


def test_captured_photos_are_not_refused_far_more_often(scored: tuple[NDArray[np.bool_], NDArray[np.str_]]) -> None:
    """There are 74: the 95 % Wilson interval of their share must reach down to twice the promise."""
    refused, sources = scored
    for source in np.unique(sources):
        mine = refused[sources == source]
        low, _ = wilson(int(mine.sum()), len(mine))
        assert low <= 2 * SHARE, f"{source}: {mine.mean():.1%} of {len(mine)} refused"
