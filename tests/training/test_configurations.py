"""The configurations and the notebook that ship: they can be read, they fit the budget, their commands exist."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import numpy as np
import pytest
import yaml

from settings import ROOT
from training.__main__ import _parser
from training.config import read_config
from training.network import build, macs, served_form

CONFIGS = sorted(path for path in (ROOT / "training").glob("*.yaml") if path.name not in ("classes.yaml", "cifar.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_what_is_served_fits_the_budget(path: Path) -> None:
    config = read_config(path)
    assert config.name == path.stem
    trained = build(config.widths, 27, np.zeros((2, 2, 3, 24), np.float32), 0, depths=config.depths)
    model = served_form(trained, mirror=config.mirror)
    assert model.count_params() <= 2_500_000
    assert 2 * macs(model) <= 0.3e9


def test_there_is_one_for_every_machine() -> None:
    assert {path.stem for path in CONFIGS} == {
        "quick",
        "standard",
        "best",
        "best-cpu",
        "robust",
        "distilled",
        "retrain",
    }


def test_the_classes_without_folders_are_those_of_the_product() -> None:
    ours = yaml.safe_load((ROOT / "training" / "classes.yaml").read_text())
    assert yaml.safe_load((ROOT / "training" / "cifar.yaml").read_text()) == {
        name: section for name, section in ours.items() if name != "folders"
    }


def test_the_notebook_runs_commands_that_exist() -> None:
    cells = json.loads((ROOT / "training" / "kaggle.ipynb").read_text())["cells"]
    lines = "".join(line for cell in cells if cell["cell_type"] == "code" for line in (*cell["source"], "\n"))
    [command] = re.findall(r"python -m training (.*)", lines)
    arguments = _parser().parse_args(shlex.split(command))
    assert arguments.command == "all"
    assert (ROOT / arguments.config).is_file()
    assert (ROOT / arguments.classes).is_file()
    assert re.findall(r"-r (\S+)", lines) == ["requirements.lock"]
    pinned = re.findall(r"^tensorflow==([\d.]+)", (ROOT / "requirements.txt").read_text(), re.M)
    assert pinned == re.findall(r"tensorflow\[and-cuda\]==([\d.]+)", lines)
