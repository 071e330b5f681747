"""What is exported answers as the network does, with and without the mirror image, whatever back end trained it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from runners.network import load_network
from settings import ROOT
from training.export import export_network
from training.network import build, whitening_kernel

LABELS = ("a", "b", "c")


def exported(folder: Path, *, mirror: bool) -> None:
    """A small untrained network."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (100, 32, 32, 3), dtype=np.uint8)
    model = build((8, 8, 8), 3, whitening_kernel(pixels), seed=0)
    model.get_layer("logits").set_weights([rng.normal(size=(8, 3)).astype(np.float32)])
    export_network(model, folder, LABELS, (pixels, rng.integers(0, 3, 100)), {}, mirror=mirror)


def differences(folder: Path) -> list[float]:
    """The largest ones between OpenVINO's and Keras' logits and embedding."""
    pixels = np.random.default_rng(1).integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    served, kept = load_network(folder)(pixels), load_network(folder, "tensorflow")(pixels)
    return [float(np.abs(ours - theirs).max()) for ours, theirs in zip(served, kept, strict=True)]


@pytest.mark.parametrize("mirror", [True, False])
def test_the_engine_answers_as_the_network(tmp_path: Path, *, mirror: bool) -> None:
    exported(tmp_path, mirror=mirror)
    assert max(differences(tmp_path)) < 0.05
    rng = np.random.default_rng(1)
    pixels = rng.integers(0, 256, (16, 32, 32, 3), dtype=np.uint8)
    same = np.abs(load_network(tmp_path)(pixels)[0] - load_network(tmp_path)(pixels[:, :, ::-1])[0]).max() < 0.05
    assert same == mirror


def test_a_network_of_another_back_end_is_exported_by_tensorflow(tmp_path: Path) -> None:
    code = (
        "import os, sys; from pathlib import Path; from runners.network import import_openvino; import_openvino();"
        "import keras; assert keras.backend.backend() == 'openvino';"
        "from tests.training.test_export import exported; os.chdir(sys.argv[1]); exported(Path(), mirror=True)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env={**os.environ, "KERAS_BACKEND": "openvino"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert max(differences(tmp_path)) < 0.05
