"""The fit: it learns, tells how far it is, and an interrupted run ends as an uninterrupted one does."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from runners.gate import Floats
from runners.network import Network
from training.config import TrainConfig
from training.fit import fit, history, side
from training.sources import Labelled


def silent(*_: object) -> None:
    pass


@pytest.fixture(scope="module")
def photos() -> Labelled:
    """Three classes that differ in colour, with much noise."""
    rng = np.random.default_rng(0)
    labels = np.arange(240) % 3
    pixels = rng.normal(120, 40, (240, 32, 32, 3)) + 40 * np.eye(3)[labels][:, None, None, :]
    return pixels.clip(0, 255).astype(np.uint8), labels.astype(np.int64)


def colour(pixels: NDArray[np.uint8]) -> tuple[Floats, Floats]:
    """A network that knows which of three colours a photo has most of."""
    return pixels.mean(axis=(1, 2), dtype=np.float32) / 10, np.zeros((len(pixels), 8), np.float32)


def config(optimizer: str, precision: str, **others: object) -> TrainConfig:
    return TrainConfig.model_validate(
        {
            "name": "tiny",
            "widths": (8, 8, 8),
            "epochs": 3,
            "batch_size": 40,
            "least_images": 240,
            "learning_rate": 0.1,
            "cutout": 4,
            "optimizer": optimizer,
            "precision": precision,
            **others,
        }
    )


@pytest.mark.parametrize(
    ("tiny", "teachers"),
    [
        (config("muon", "float32"), []),
        (config("muon", "mixed_bfloat16"), []),
        (config("sgd", "float32"), []),
        (config("muon", "float32", first_side=24, full_side_from=0.7, noise=10.0), []),
        (config("muon", "float32", noise=10.0), [colour, lambda pixels: colour(255 - pixels)]),
    ],
    ids=["muon", "bfloat16", "sgd", "growing photos", "teachers"],
)
def test_an_interrupted_fit_ends_as_an_uninterrupted_one(
    photos: Labelled, tmp_path: Path, tiny: TrainConfig, teachers: list[Network]
) -> None:
    told: list[tuple[int, int, str]] = []

    def note(_: str, done: int, total: int, detail: str) -> None:
        told.append((done, total, detail))

    whole = fit(tiny, photos, photos, 3, tmp_path / "whole", note, None, teachers)
    assert [detail for *_, detail in told[::6]] == ["epoch 1/3", "epoch 2/3", "epoch 3/3"]
    assert told[-1][:2] == (720, 720)

    def interrupt(_: str, done: int, *__: object) -> None:
        if done > 500:  # in the third epoch
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fit(tiny, photos, photos, 3, tmp_path / "parts", interrupt, None, teachers)
    assert len(history(tmp_path / "parts")) == 2
    parts = fit(tiny, photos, photos, 3, tmp_path / "parts", silent, None, teachers)
    for one, other in zip(whole.get_weights(), parts.get_weights(), strict=True):
        assert np.array_equal(one, other)
    assert history(tmp_path / "parts") == history(tmp_path / "whole")
    curve = history(tmp_path / "whole")
    assert curve[-1]["loss"] < curve[0]["loss"]
    assert {"epoch", "rate", "loss", "accuracy", "val_loss", "val_accuracy"} <= set(curve[0])
    assert fit(tiny, photos, photos, 3, tmp_path / "whole", interrupt) is not None, (
        "a finished run is not trained again"
    )


def test_the_photos_grow_to_their_full_side() -> None:
    growing = config("muon", "float32", epochs=10, first_side=20, full_side_from=0.6)
    assert [side(growing, epoch) for epoch in range(10)] == [20, 20, 24, 24, 28, 28, 32, 32, 32, 32]
    assert {side(config("muon", "float32"), epoch) for epoch in range(3)} == {32}
