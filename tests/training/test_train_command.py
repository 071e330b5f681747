"""The command line on a tiny made-up dataset: all steps end to end, resume, rollback, errors of one line."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from settings import ROOT

CONFIG = """
name: tiny
widths: [8, 8, 8]
epochs: 4
batch_size: 64
learning_rate: 0.1
gate_trees: 20
"""


def training(var: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    ours = {
        "CIFAR_VAR": str(var),
        "BENTOML_HOME": str(var / "bentoml"),
        "CIFAR_DATA_DIR": str(var / "nothing"),
        **extra,
    }
    return subprocess.run(
        [sys.executable, "-m", "training", *arguments],
        cwd=ROOT,
        env={**os.environ, **ours},
        capture_output=True,
        text=True,
        timeout=400,
    )


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a prepared dataset of ten colours and a tiny configuration."""
    from training.dataset import SPLITS, build

    folder = tmp_path_factory.mktemp("training")
    rng = np.random.default_rng(0)
    colours = rng.integers(30, 226, (10, 1, 1, 3))

    def photos(count: int) -> tuple[np.ndarray, np.ndarray]:
        labels = rng.integers(0, 10, count)
        return (colours[labels] + rng.integers(-30, 30, (count, 32, 32, 3))).astype(np.uint8), labels

    from training.sources import CIFAR10_LABELS

    data = build(photos(1500), photos(300), CIFAR10_LABELS)
    (folder / "dataset").mkdir()
    for name in SPLITS:
        pixels, labels = data[name]
        np.savez(folder / "dataset" / f"{name}.npz", pixels=pixels, labels=labels)
    (folder / "dataset" / "manifest.json").write_text(json.dumps({"labels": data.labels, **data.summary()}))
    (folder / "tiny.yaml").write_text(CONFIG)
    return folder


def test_all_steps_make_a_served_pair_and_rollback_goes_back(var: Path) -> None:
    done = training(var, "all", "--config", str(var / "tiny.yaml"), "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert result["test_accuracy"] > 0.3
    assert Path(result["report"]).read_text().startswith("<!doctype html>")
    assert "http" not in Path(result["report"]).read_text().replace("http-equiv", "")
    again = training(var, "train", "--config", str(var / "tiny.yaml"))
    assert again.returncode == 0
    assert "images/s" not in again.stderr  # a finished run is not trained again
    nothing = training(var, "rollback")
    assert (nothing.returncode, nothing.stderr.splitlines()[-1]) == (
        1,
        "error: there is no earlier model to go back to",
    )
    (var / "other.yaml").write_text(CONFIG.replace("name: tiny", "name: other\nseed: 1"))
    second = training(var, "all", "--config", str(var / "other.yaml"), "--json")
    assert second.returncode == 0, second.stderr[-3000:]
    back = training(var, "rollback", "--json")
    assert back.returncode == 0, back.stderr
    assert json.loads(back.stdout)["cnn"].split("-")[1] == result["cnn"].split("-")[1]


@pytest.mark.parametrize(
    ("text", "message"),
    [("name: x\nwidths: [1, 2]\n", "widths"), ("name: [", "not YAML"), (CONFIG + "colour: red\n", "colour")],
)
def test_a_bad_configuration_is_one_line(var: Path, tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "bad.yaml").write_text(text)
    done = training(var, "train", "--config", str(tmp_path / "bad.yaml"))
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert message in done.stderr


def test_steps_out_of_order_and_missing_data_say_what_to_do(var: Path, tmp_path: Path) -> None:
    (tmp_path / "fresh.yaml").write_text(CONFIG.replace("name: tiny", "name: fresh"))
    done = training(var, "ood", "--config", str(tmp_path / "fresh.yaml"))
    assert done.returncode == 1
    assert "run `python -m training train` first" in done.stderr
    offline = training(tmp_path / "empty", "prepare", HTTPS_PROXY="http://127.0.0.1:9")
    assert offline.returncode == 1
    assert "cifar-10-python.tar.gz" in offline.stderr.splitlines()[-1]
