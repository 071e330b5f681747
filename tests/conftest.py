"""Fixtures that all rooms share: pictures of our own making, the data root, a store with the starter models."""

from __future__ import annotations

import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from settings import ROOT, Settings, configure_environment
from tests.live import import_starters

if TYPE_CHECKING:
    from runners.pipeline import Scores
    from runners.store import Served

configure_environment(Settings())

CHROMIUM = Path("/usr/bin/chromium")


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Tests marked ``browser`` want Chromium; only where it is promised, as in CI, is it missed."""
    if item.get_closest_marker("browser") and not CHROMIUM.exists() and os.environ.get("CI") != "true":
        pytest.skip("Chromium is not installed (CI requires it)")


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

    var = import_starters(tmp_path_factory.mktemp("starters"))
    store = var / "bentoml" / "models"
    cnn, forest = (next((store / name).glob("*/*.json")).parent for name in ("cifar_cnn", "ood_forest"))
    return Served("cnn", "forest", cnn, forest)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this test run, the same one in all its processes."""
    own = tmp_path_factory.getbasetemp()
    return own.parent if "PYTEST_XDIST_WORKER" in os.environ else own


@contextmanager
def one_at_a_time(file: Path) -> Iterator[None]:
    """The processes of the run take turns: the first makes what all use."""
    with file.open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


@pytest.fixture(scope="session")
def prepared(data_root: Path, shared: Path) -> Path:
    """The dataset of the shipped classes, made once: the folder that `CIFAR_VAR/dataset` would be."""
    from training.prepare import prepare

    folder = shared / "prepared" / "dataset"
    with one_at_a_time(shared / "prepared.lock"):
        prepare(ROOT / "training" / "classes.yaml", data_root, folder, lambda *_, **__: None)
    return folder


@pytest.fixture(scope="session")
def shipped_scores(prepared: Path, starter_pair: Served, shared: Path) -> Scores:
    """What the shipped pair says of all test photos of `prepared`, asked once."""
    from runners.pipeline import Scores
    from runners.store import open_pair
    from training import dataset

    file = shared / "shipped-scores.npz"
    with one_at_a_time(shared / "shipped-scores.lock"):
        if not file.exists():
            scores = open_pair(starter_pair, "openvino")[0].score(dataset.load(prepared)["test"][0], batch=250)
            np.savez(shared / "draft.npz", **{f.name: getattr(scores, f.name) for f in fields(Scores)})
            (shared / "draft.npz").rename(file)
    with np.load(file) as arrays:
        return Scores(**arrays)


@pytest.fixture(scope="session")
def data_root() -> Path:
    """The data root; its absence skips, but fails where CI says that nothing may be skipped."""
    root = os.environ.get("CIFAR_DATA_DIR")
    if root and Path(root).is_dir():
        return Path(root)
    if os.environ.get("CI") == "true":
        pytest.fail("CIFAR_DATA_DIR names no data root, and with CI=true nothing may be skipped")
    pytest.skip("set CIFAR_DATA_DIR to run this on real photos")
