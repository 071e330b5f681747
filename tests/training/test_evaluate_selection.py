"""The test photos choose nothing: training does without them, and the gate is the same whatever they are."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from runners.artifacts import GATE_FILE, read_network_card
from settings import Settings
from training import dataset, steps
from training.config import TrainConfig
from training.runs import Run
from training.sources import Labelled
from training.unknowns import UnknownSet

CONFIG = TrainConfig(
    name="tiny", widths=(8, 8, 8), epochs=1, batch_size=32, least_images=128, learning_rate=0.1, gate_trees=5
)
COLOURS = np.array([(170, 70, 60), (60, 150, 50), (80, 140, 220)])


def silent(*_: Any, **__: Any) -> None:
    """No progress."""


def write_split(folder: Path, split: str, photos: int, seed: int, *, scrambled: bool = False) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    rng = np.random.default_rng(seed)
    labels = np.arange(photos) % len(COLOURS)
    noise = rng.normal(0, 40, (photos, 32, 32, 3))
    pixels = (noise + (0 if scrambled else COLOURS[labels][:, None, None])).clip(0, 255).astype(np.uint8)
    rows = [
        {"id": f"{split}/{i}", "source": "folder", "label": f"class {(label + scrambled) % 3}", "pixels": p.tobytes()}
        for i, (label, p) in enumerate(zip(labels, pixels, strict=True))
    ]
    pq.write_table(pa.Table.from_pylist(rows, schema=dataset.schema()), folder / f"{split}.parquet")


class Hidden(dict[str, Labelled]):
    """The splits of a dataset, of which the test split must not be read."""

    def __getitem__(self, split: str) -> Labelled:
        assert split != "test", "the test photos were read"
        return super().__getitem__(split)


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three classes, and a network trained on it while its test photos were hidden."""
    var = tmp_path_factory.mktemp("selection")
    folder = var / "dataset"
    folder.mkdir()
    for seed, (split, photos) in enumerate({"train": 120, "validation": 60, "calibration": 60, "test": 60}.items()):
        write_split(folder, split, photos, seed)
    manifest = {"format": dataset.FORMAT, "labels": [f"class {i}" for i in range(3)], "digest": "0" * 64}
    (folder / dataset.MANIFEST).write_text(json.dumps(manifest))
    real = dataset.load

    def hidden(folder: Path) -> dataset.Dataset:
        data = real(folder)
        return dataclasses.replace(data, splits=Hidden(data.splits))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(dataset, "load", hidden)
        with pytest.raises(AssertionError, match="were read"):
            dataset.load(folder)["test"]
        steps.train(Settings(var=var), CONFIG, silent)
        run, data = steps.run_of(Settings(var=var), CONFIG)
        steps.fit_pair_gate(run, data, CONFIG)
    return var


def fitted(var: Path) -> tuple[Run, dict[str, np.ndarray]]:
    settings = Settings(var=var)
    steps.ood(settings, CONFIG)
    run, _ = steps.run_of(settings, CONFIG)
    with np.load(run.forest / GATE_FILE) as arrays:
        return run, dict(arrays)


def test_training_and_the_fit_of_the_gate_do_without_test_photos(var: Path) -> None:
    run, _ = steps.run_of(Settings(var=var), CONFIG)
    assert read_network_card(run.cnn).temperature > 0
    assert (run.forest / GATE_FILE).is_file()


def few_unknowns(*_: Any) -> list[UnknownSet]:
    """In place of the sets on disk and the generated ones: colours between those of the classes, too alike to be told
    apart without a fault, whatever the processor's rounding."""
    rng = np.random.default_rng(5)
    mixed = COLOURS[rng.integers(0, 3, (2, 40))].mean(axis=0)[:, None, None]
    pixels = (rng.normal(0, 40, (40, 32, 32, 3)) + mixed).clip(0, 255).astype(np.uint8)
    return [
        UnknownSet("mixed", "far", "choosing", pixels[:20], ("mixed",)),
        UnknownSet("other mixed", "far", "reporting", pixels[20:], ("mixed",)),
    ]


def test_other_test_photos_leave_the_gate_and_the_temperature_as_they_are(
    var: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "read_unknowns", few_unknowns)
    shutil.copytree(var, tmp_path / "var")
    write_split(tmp_path / "var" / "dataset", "test", 45, 9, scrambled=True)
    run, gate = fitted(var)
    other, other_gate = fitted(tmp_path / "var")
    scores, other_scores = (json.loads(r.ood.read_text()) for r in (run, other))
    assert scores != other_scores  # what is reported does depend on them
    assert gate.keys() == other_gate.keys()
    for name, array in gate.items():
        assert np.array_equal(array, other_gate[name]), name
    card, other_card = read_network_card(run.cnn), read_network_card(other.cnn)
    assert card.temperature == other_card.temperature
    assert card.digest == other_card.digest
