"""The first pair: warm when it is asked for, and what is wrong with it is told."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from runners import opening
from runners.artifacts import ArtifactError
from runners.opening import FirstPair
from runners.store import Served, StoreError
from settings import Settings


def test_the_first_pair_scores_once_it_is_warm(starter_pair: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(opening, "served", lambda _: starter_pair)
    first = FirstPair(Settings(max_batch=2), None, None, here=True)
    assert first.pipeline
    assert len(first.pipeline.result(60).score(np.zeros((3, 32, 32, 3), np.uint8))) == 3
    assert (first.pair, first.fixed) == (starter_pair, False)
    assert FirstPair(Settings(), None, None, here=False).pipeline is None


def test_a_damaged_pair_is_refused(starter_pair: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(starter_pair.cnn_path, tmp_path / "cnn")
    (tmp_path / "cnn" / "network.bin").write_bytes(b"damaged")
    monkeypatch.setattr(opening, "served", lambda _: replace(starter_pair, cnn_path=tmp_path / "cnn"))
    with pytest.raises(ArtifactError, match="damaged"):
        FirstPair(Settings(), None, None, here=True)


def test_without_a_pair_there_is_nothing_to_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(_: Settings) -> Served:
        raise StoreError("no model")

    monkeypatch.setattr(opening, "served", none)
    with pytest.raises(StoreError, match="no model"):
        FirstPair(Settings(var=tmp_path), None, None, here=True)
