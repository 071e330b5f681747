"""`make mlflow`: MLflow's pages follow the settings, and the windows of a model are a curve over time there."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import pytest

from monitoring import profiles, tracking
from settings import ROOT, Settings
from tests.live import PATIENCE, environment, free_port, wait_until_answered

MAKE = ["make", "--no-print-directory", "mlflow"]
NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
TAG = "cifar_cnn:abc"


@contextmanager
def pages(var: Path, log: Path) -> Iterator[httpx.Client]:
    """A client of the REST interface that the pages read, once it answers."""
    port = free_port()
    with log.open("wb") as file:
        process = subprocess.Popen(
            [*MAKE, f"MLFLOW_PORT={port}"],
            cwd=ROOT,
            env=environment(var),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_until_answered(client, "/health", process, log)
            yield client
    finally:
        os.killpg(process.pid, signal.SIGKILL)  # make, MLflow and its worker
        process.wait()


def test_they_open_before_the_first_run_and_then_draw_what_a_model_was_sent_over_time(tmp_path: Path) -> None:
    settings = Settings(var=tmp_path / "var", mlflow_uri=None)
    ends = [NOON + timedelta(minutes=5 * i) for i in range(3)]
    with pages(settings.var, tmp_path / "log") as client:
        assert "<title>MLflow</title>" in client.get("/").text
        run_id = tracking.model_run(settings, TAG)
        for number, end in enumerate(ends):
            window = profiles.profile({"brightness": np.full(10, number / 10)})
            tracking.log_window(settings, run_id, window, end=end, replica="pod-1")
        rest = "/api/2.0/mlflow"
        experiments = client.post(f"{rest}/experiments/search", json={"max_results": 10}).json()["experiments"]
        [monitoring] = [e["experiment_id"] for e in experiments if e["name"] == tracking.MONITORING]
        [run] = client.post(f"{rest}/runs/search", json={"experiment_ids": [monitoring]}).json()["runs"]
        assert (run["info"]["run_id"], run["info"]["run_name"]) == (run_id, TAG)
        asked = {"run_id": run_id, "metric_key": "mean_brightness"}
        points = client.get(f"{rest}/metrics/get-history", params=asked).json()["metrics"]
        drawn = sorted((p["step"], p["timestamp"], pytest.approx(p["value"])) for p in points)
    seconds = [int(end.timestamp()) for end in ends]
    assert drawn == [(at, 1000 * at, number / 10) for number, at in enumerate(seconds)]


def test_a_server_of_its_own_is_named_and_a_busy_port_too(tmp_path: Path) -> None:
    def make(*arguments: str, **extra: str) -> subprocess.CompletedProcess[str]:
        variables = environment(tmp_path, **extra)
        return subprocess.run(
            [*MAKE, *arguments], cwd=ROOT, env=variables, capture_output=True, text=True, timeout=PATIENCE
        )

    done = make(CIFAR_MLFLOW_URI="http://mlflow.example:5000")
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
    assert "http://mlflow.example:5000" in done.stdout
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = make(f"MLFLOW_PORT={port}")
    assert done.returncode != 0
    assert f"error: port {port} is taken" in done.stderr
    assert not any(tmp_path.iterdir())
