"""Generated traffic, and settings whose MLflow store is migrated once per session and copied."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from monitoring import tracking
from monitoring.rows import Table, rows
from runners.pipeline import Scores
from settings import Settings
from tests.postgres import Postgres, server

LABELS = tuple(f"class {i}" for i in range(10))
Traffic = tuple[NDArray[np.uint8], NDArray[np.int64], Scores]


def make_traffic(n: int, seed: int = 0, brightness: float = 0.0) -> Traffic:
    """n photos of one colour and noise, with scores of ten classes that do not depend on them."""
    rng = np.random.default_rng(seed)
    colour = rng.uniform(60, 190, (n, 1, 1, 3)) + 255 * brightness
    pixels = np.clip(colour + rng.normal(0, 20, (n, 32, 32, 3)), 0, 255).astype(np.uint8)
    probabilities = rng.dirichlet(np.full(10, 0.2), n).astype(np.float32)
    normal = rng.normal(size=(n, 34)).astype(np.float32)
    p_values = 1 - rng.uniform(size=n).astype(np.float32)
    sizes = rng.integers(32, 4000, (n, 2))
    return pixels, sizes, Scores(probabilities, normal[:, 2:], normal[:, 0], normal[:, 1], p_values)


@pytest.fixture
def labels() -> tuple[str, ...]:
    return LABELS


@pytest.fixture
def traffic() -> Callable[..., Traffic]:
    return make_traffic


@pytest.fixture
def table() -> Callable[..., Table]:
    """`make_traffic` as the table of `monitoring.rows`."""

    def make(n: int, seed: int = 0, brightness: float = 0.0, refuse_share: float = 0.05) -> Table:
        pixels, sizes, scores = make_traffic(n, seed, brightness)
        return rows(pixels, sizes, scores, LABELS, refuse_share)

    return make


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    with server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings of an empty feedback store in either database, with photos below ``tmp_path``."""
    url = request.getfixturevalue("postgres").empty_database() if request.param == "postgresql" else None
    return Settings(var=tmp_path / "var", database_url=url, image_store=None, retention_days=30)


@pytest.fixture(scope="session")
def migrated_mlflow(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow database with all its tables and no experiment of ours."""
    var = tmp_path_factory.mktemp("mlflow")
    tracking.client(Settings(var=var, _env_file=None))  # type: ignore[call-arg]
    return var / "mlflow.db"


@pytest.fixture
def tracked(tmp_path: Path, migrated_mlflow: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Settings]:
    """Settings with a store of their own under a fresh folder; the working directory is another fresh folder."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    var = tmp_path / "var"
    var.mkdir()
    shutil.copy(migrated_mlflow, var / "mlflow.db")

    def make(**fields: Any) -> Settings:
        return Settings(**{"var": var, "_env_file": None, **fields})

    return make
