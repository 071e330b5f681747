"""The real server, started by `bentoml serve`: what only its own processes can show."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from settings import ROOT
from tests.serving import photo

PATIENCE = 240
"""Seconds for a server to get ready: it imports the page and MLflow, on whatever the machine has left."""


def environment(var: Path, **extra: str) -> dict[str, str]:
    rest = {
        name: value
        for name, value in os.environ.items()
        if name not in ("BENTOML_HOME", "CIFAR_API_TOKENS", "CIFAR_ALLOW_ANONYMOUS")
    }
    return {**rest, "CIFAR_VAR": str(var), "CIFAR_PAGE": "false", **extra}


def command(port: int, *arguments: str) -> list[str]:
    bentoml = str(Path(sys.executable).parent / "bentoml")
    return [bentoml, "serve", "service:Cifar", "--port", str(port), *arguments]


def free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


@contextmanager
def server(var: Path, *arguments: str, **extra: str) -> Iterator[tuple[httpx.Client, subprocess.Popen[bytes], Path]]:
    port, log = free_port(), var / f"server-{time.monotonic_ns()}.log"
    with log.open("wb") as file:
        process = subprocess.Popen(
            command(port, *arguments),
            cwd=ROOT,
            env=environment(var, **extra),
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            wait_ready(client, process, log)
            yield client, process, log
    finally:
        if process.poll() is None:
            workers = children(process.pid)
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                for pid in (process.pid, *workers):
                    os.kill(pid, signal.SIGKILL)
                process.wait()


def wait_ready(client: httpx.Client, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()[-3000:]
        try:
            if client.get("/readyz").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.2)
    pytest.fail(log.read_text()[-3000:])


def classify(client: httpx.Client) -> int:
    """The status of one call; 0 when the connection was cut."""
    try:
        answer = client.post("/classify", files={"image": ("photo", photo())})
    except httpx.TransportError:
        return 0
    assert answer.status_code != 503 or int(answer.headers["retry-after"]) >= 1
    return answer.status_code


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("var")
    done = subprocess.run(
        [sys.executable, "-m", "runners", "starters"], cwd=ROOT, env=environment(folder), capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_it_does_not_start_open_to_others_without_a_token(var: Path) -> None:
    done = subprocess.run(
        command(free_port(), "--host", "0.0.0.0"),
        cwd=ROOT,
        env=environment(var),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "CIFAR_API_TOKENS" in line
    assert "Traceback" not in done.stderr + done.stdout


def test_it_tells_little_logs_json_and_leaves_in_time(var: Path) -> None:
    tokens = {"CIFAR_API_TOKENS": '["secret"]'}
    with server(var, "--host", "0.0.0.0", **tokens) as (client, process, log):
        for path in ("/", "/classify", "/metrics", "/schema.json", "/docs.json", "/openapi.json", "/static_content/x"):
            answer = client.get(path)
            assert answer.status_code == 401, path
            assert "bentoml" not in (answer.text + str(answer.headers)).lower()
            assert answer.headers["x-content-type-options"] == "nosniff"
        client.headers["Authorization"] = "Bearer secret"
        answer = client.post("/classify", files={"image": ("photo", photo())})
        assert answer.status_code == 200, answer.text
        metrics = client.get("/metrics").text
        assert 'cifar_requests_total{code="200",method="POST",path="/classify"} 1.0' in metrics
        assert "cifar_monitoring_rows_dropped_total 0.0" in metrics
        assert client.get("/schema.json").status_code == 404
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{")]
        [line] = [line for line in lines if line["path"] == "/classify" and line["status"] == 200]
        assert line["prediction_id"] == answer.json()["prediction_id"]
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", int(client.base_url.port or 0))) as slow:
            head = "POST /classify HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer secret\r\nContent-Length: 1000\r\n"
            slow.sendall((head + "Content-Type: multipart/form-data; boundary=b\r\n\r\n--b").encode())
            time.sleep(0.5)
            process.send_signal(signal.SIGTERM)
            process.wait(60)
        assert time.monotonic() - start < 10.5, "whoever still sends holds it up no longer"
    windows = [*(var / "spool").glob("*.bin"), *var.glob("mlflow-artifacts/**/*.bin")]
    assert windows, "the window was flushed on the way out"


def test_a_killed_runner_is_503_and_comes_back(var: Path) -> None:
    with server(var, CIFAR_RUNNERS="separate", CIFAR_MONITORING="false") as (client, process, _):
        assert classify(client) == 200
        with ThreadPoolExecutor(16) as pool:
            killed = False
            codes = []
            end = time.monotonic() + 15
            while time.monotonic() < end:
                codes += pool.map(lambda _: classify(client), range(64))
                if not killed:
                    for child in children(process.pid):
                        if b"cifar_cnn_runner" in Path(f"/proc/{child}/cmdline").read_bytes():
                            os.kill(child, signal.SIGKILL)
                            killed = True
        assert killed
        assert set(codes) <= {200, 503}, sorted(set(codes))
        wait_for_200(client)
        assert [classify(client) for _ in range(50)] == [200] * 50


def test_a_killed_worker_comes_back(var: Path) -> None:
    with server(var, CIFAR_MONITORING="false") as (client, process, _):
        assert classify(client) == 200
        for child in children(process.pid):
            if b"_bentoml_impl" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)
        wait_for_200(client)


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def wait_for_200(client: httpx.Client) -> None:
    end = time.monotonic() + PATIENCE
    while classify(client) != 200:
        assert time.monotonic() < end
        time.sleep(0.2)
