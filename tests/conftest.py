"""Fixtures that all rooms share: pictures of our own making, the data root, a store with the starter models."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from settings import ROOT, Settings, configure_environment

if TYPE_CHECKING:
    from runners.store import Served

configure_environment(Settings())


@pytest.fixture
def picture() -> Image.Image:
    """A colourful 48×40 picture, the same each time."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 48, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.fixture(scope="session")
def starter_pair(tmp_path_factory: pytest.TempPathFactory) -> Served:
    """The shipped pair, imported into a store of its own."""
    from runners.store import Served

    var = tmp_path_factory.mktemp("starters")
    own = {**os.environ, "CIFAR_VAR": str(var), "BENTOML_HOME": str(var / "bentoml")}
    subprocess.run([sys.executable, "-m", "runners", "starters"], cwd=ROOT, env=own, check=True, capture_output=True)
    store = var / "bentoml" / "models"
    cnn, forest = (next((store / name).glob("*/*.json")).parent for name in ("cifar_cnn", "ood_forest"))
    return Served("cnn", "forest", cnn, forest)


@pytest.fixture(scope="session")
def prepared(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the shipped classes, made once: the folder that `CIFAR_VAR/dataset` would be."""
    from training.prepare import prepare

    folder = tmp_path_factory.mktemp("prepared") / "dataset"
    prepare(ROOT / "training" / "classes.yaml", data_root, folder, lambda *_, **__: None)
    return folder


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The data root; its absence skips, but fails where CI says that nothing may be skipped."""
    root = os.environ.get("CIFAR_DATA_DIR")
    if root and Path(root).is_dir():
        return Path(root)
    if os.environ.get("CI") == "true":
        pytest.fail("CIFAR_DATA_DIR names no data root, and with CI=true nothing may be skipped")
    pytest.skip("set CIFAR_DATA_DIR to run this on real photos")
