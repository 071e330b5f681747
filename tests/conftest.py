"""Fixtures that all rooms share: pictures of our own making, the data root, a store with the starter models."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from settings import Settings, configure_environment

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
def prepared(data_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The dataset of the shipped classes, made once: the folder that `CIFAR_VAR/dataset` would be."""
    from settings import ROOT
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
