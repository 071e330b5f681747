"""The command line on a tiny made-up dataset: all steps end to end, resume, rollback, errors of one line."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from monitoring.tracking import client
from settings import ROOT, Settings

CONFIG = """
name: tiny
widths: [8, 8, 8]
epochs: 3
batch_size: 64
least_images: 1024
learning_rate: 0.2
gate_trees: 20
"""
COLOURS = {"brick": (170, 70, 60), "grass": (60, 150, 50), "sky": (80, 140, 220)}


def training(var: Path, *arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "BENTOML_HOME"}
    ours = {"CIFAR_VAR": str(var), "CIFAR_DATA_DIR": str(var / "photos"), **extra}
    return subprocess.run(
        [sys.executable, "-m", "training", *arguments],
        cwd=ROOT,
        env={**clean, **ours},
        capture_output=True,
        text=True,
        timeout=1200,
    )


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A person's own three classes: folders of photos, a classes file with nothing else, a tiny configuration."""
    folder = tmp_path_factory.mktemp("training")
    rng = np.random.default_rng(0)
    for name, colour in COLOURS.items():
        (folder / "photos" / name).mkdir(parents=True)
        for number in range(120):
            noise = rng.normal(0, 40, (40, 56, 3)) + np.array(colour) + rng.normal(0, 15, 3)
            Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / "photos" / name / f"{number:03d}.png")
    (folder / "photos" / "sky" / "broken.jpg").write_bytes(b"no photo")
    lines = "".join(f"  {name}: {name}\n" for name in COLOURS)
    (folder / "classes.yaml").write_text(f"folders:\n{lines}")
    (folder / "tiny.yaml").write_text(CONFIG)
    return folder


def test_all_steps_make_a_served_pair_and_rollback_goes_back(var: Path) -> None:
    options = ("--classes", str(var / "classes.yaml"), "--config", str(var / "tiny.yaml"))
    done = training(var, "all", *options, "--json")
    assert done.returncode == 0, done.stderr[-3000:]
    result = json.loads(done.stdout)
    assert result["test_accuracy"] > 0.9
    assert set(result["classes"]) == set(COLOURS)
    assert sum(result["classes"]["sky"].values()) == 120  # the broken one is set aside, and nothing else is
    assert Path(result["report"]).read_text().startswith("<!doctype html>")
    page = re.sub(r'base64,[^"]+', "", Path(result["report"]).read_text())
    assert "http" not in page.replace("http-equiv", "")
    settings = Settings(var=var)
    logged = client(settings).get_run(result["mlflow_run"])
    [photos] = logged.inputs.dataset_inputs
    assert result["digest"].startswith(photos.dataset.digest)
    assert logged.data.metrics["test_accuracy"] == pytest.approx(result["test_accuracy"])
    again = training(var, "train", "--config", str(var / "tiny.yaml"))
    assert again.returncode == 0
    assert "images/s" not in again.stderr  # a finished run is not trained again
    nothing = training(var, "rollback")
    assert (nothing.returncode, nothing.stderr.splitlines()[-1]) == (
        1,
        "error: there is no earlier model to go back to",
    )
    (var / "other.yaml").write_text(
        CONFIG.replace("name: tiny", "name: other\nseed: 1").replace("epochs: 3", "epochs: 1")
    )
    for step in ("train", "ood", "evaluate", "register"):  # each alone
        second = training(var, step, "--config", str(var / "other.yaml"), "--json")
        assert second.returncode == 0, second.stderr[-3000:]
    onward = CONFIG.replace("name: tiny", f"name: onward\nstart: {result['cnn']}").replace("epochs: 3", "epochs: 1")
    (var / "onward.yaml").write_text(onward.replace("learning_rate: 0.2", "learning_rate: 1.0e-6\npeak_rate: 0.2"))
    third = training(var, "train", "--config", str(var / "onward.yaml"), "--json")
    assert third.returncode == 0, third.stderr[-3000:]
    right = json.loads(third.stdout)["validation_accuracy"]
    assert right > 0.9, "so low a rate teaches nothing: it goes on from the network that it names"
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


@pytest.mark.parametrize("wanted", ["start: cifar_cnn:lost", "teachers: [cifar_cnn:lost]"])
def test_to_learn_from_what_is_not_there_is_one_line(var: Path, tmp_path: Path, wanted: str) -> None:
    (tmp_path / "lost.yaml").write_text(CONFIG.replace("name: tiny", f"name: lost\n{wanted}"))
    done = training(var, "train", "--config", str(tmp_path / "lost.yaml"))
    assert done.returncode == 1
    assert "no model cifar_cnn:lost" in done.stderr.splitlines()[-1]


def test_steps_out_of_order_and_missing_data_say_what_to_do(var: Path, tmp_path: Path) -> None:
    (tmp_path / "fresh.yaml").write_text(CONFIG.replace("name: tiny", "name: fresh"))
    done = training(var, "ood", "--config", str(tmp_path / "fresh.yaml"))
    assert done.returncode == 1
    assert "run `python -m training train` first" in done.stderr
    proxies = dict.fromkeys(("HTTPS_PROXY", "https_proxy"), "http://127.0.0.1:9")
    (tmp_path / "ten.yaml").write_text("cifar10: all\n")
    offline = training(tmp_path / "empty", "prepare", "--classes", str(tmp_path / "ten.yaml"), **proxies)
    assert offline.returncode == 1
    assert "cifar-10-python.tar.gz" in offline.stderr.splitlines()[-1]
