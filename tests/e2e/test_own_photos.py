"""Nothing but one's own folders of photos: training, gate, serving and drift, on the six captured classes."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

SIX = ("headphone", "laptop", "scissors", "soccer_ball", "umbrella", "watch")


@pytest.fixture(scope="module")
def loop() -> ModuleType:
    """The helpers of the loop's test: the server as a subprocess, and the commands."""
    spec = importlib.util.spec_from_file_location("loop", Path(__file__).with_name("test_loop.py"))
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_six_folders_of_photos_are_all_it_takes(loop: ModuleType, tmp_path: Path, data_root: Path) -> None:
    (tmp_path / "classes.yaml").write_text("folders:\n" + "".join(f"  {n}: captured/{n}\n" for n in SIX))
    (tmp_path / "small.yaml").write_text(
        "name: six\nwidths: [16, 32, 32]\nepochs: 8\nbatch_size: 128\nleast_images: 4096\n"
        "learning_rate: 0.2\nbalance: oversample\nbalance_floor: 1.0\n"
    )
    options = ("--classes", str(tmp_path / "classes.yaml"), "--config", str(tmp_path / "small.yaml"), "--json")
    done = loop.command(tmp_path, "training", "all", *options)
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert set(result["classes"]) == set(SIX)
    assert result["test_accuracy"] > 0.5  # six classes: chance is a sixth

    from training import dataset

    data = dataset.load(tmp_path / "dataset")
    pixels = np.concatenate([data[split][0] for split in ("test", "validation")])
    with loop.server(tmp_path, CIFAR_PAGE="false") as (client, _):
        assert client.get("/labels").json()["classes"] == list(SIX)
        answers = loop.send(client, pixels)
        assert all(set(answer["probabilities"]) == set(SIX) for answer in answers)
        noise = np.random.default_rng(0).integers(0, 256, (20, 32, 32, 3), dtype=np.uint8)
        loop.send(client, noise)
    loop.wait_for_windows(tmp_path, len(pixels) + 20)
    drift = loop.command(tmp_path, "monitoring", "drift", "--json")
    assert drift.returncode in (0, 1), drift.stderr  # it judges: a fifth of these rows is noise
    with loop.server(tmp_path, CIFAR_PAGE="false") as (client, _):
        loop.send(client, np.concatenate([pixels // 3] * 2))
    loop.wait_for_windows(tmp_path, 3 * len(pixels) + 20)
    drift = loop.command(tmp_path, "monitoring", "drift", "--json")
    assert drift.returncode == 1, drift.stdout[-1500:]
