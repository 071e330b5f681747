"""The real server, started by `bentoml serve`: what only its own processes can show."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from settings import ROOT
from tests.live import (
    PATIENCE,
    descendants,
    environment,
    free_port,
    import_starters,
    metric,
    serve_command,
    server,
    wait_for_windows,
    wait_until,
)
from tests.serving import photo


def classify(client: httpx.Client) -> int:
    """The status of one call; 0 when the connection was cut."""
    try:
        answer = client.post("/classify", files={"image": ("photo", photo())})
    except httpx.TransportError:
        return 0
    assert answer.status_code != 503 or int(answer.headers["retry-after"]) >= 1
    return answer.status_code


def wait_until_monitored(client: httpx.Client, var: Path) -> None:
    """Until rows are profiled and MLflow's store is made: importing and making these keeps a processor busy for longer
    than the server has to leave."""
    wait_until(lambda: metric(client, "cifar_monitoring_rows_total") >= 1, "a row is profiled")
    wait_until((var / "mlflow.db").exists, "MLflow has a store")


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return import_starters(tmp_path_factory.mktemp("var"))


def test_it_does_not_start_open_to_others_without_a_token(var: Path) -> None:
    done = subprocess.run(
        serve_command(free_port(), "--host", "0.0.0.0"),
        cwd=ROOT,
        env=environment(var, CIFAR_PAGE="false"),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "CIFAR_API_TOKENS" in line
    assert "Traceback" not in done.stderr + done.stdout


@pytest.mark.parametrize(
    ("name", "value"), [("CIFAR_DATABASE_URL", "nonsense"), ("CIFAR_IMAGE_STORE", "nonsense://key:secret@bucket")]
)
def test_it_does_not_start_with_a_feedback_store_that_cannot_work(var: Path, name: str, value: str) -> None:
    done = subprocess.run(
        serve_command(free_port()),
        cwd=ROOT,
        env=environment(var, **{name: value}),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert done.returncode == 1
    [line] = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert "is not usable" in line
    assert "secret" not in done.stderr
    assert "Traceback" not in done.stderr + done.stdout


def test_it_tells_little_logs_json_and_leaves_in_time(var: Path) -> None:
    tokens = {"CIFAR_API_TOKENS": '["secret"]'}
    with server(var, "--host", "0.0.0.0", CIFAR_PAGE="false", **tokens) as (client, process, log):
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
        wait_until_monitored(client, var)
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


@pytest.mark.parametrize("runners", ["inprocess", "separate"])
def test_what_is_in_flight_is_finished_before_it_leaves(tmp_path: Path, runners: str) -> None:
    import_starters(tmp_path)
    calls, photos = 3, 24

    def send(client: httpx.Client) -> httpx.Response:
        return client.post("/classify_batch", files=[("images", ("photo", photo())) for _ in range(photos)])

    patient = {"CIFAR_PAGE": "false", "CIFAR_MAX_WAIT_SECONDS": "60"}  # it is not at capacity, however slow the machine
    with server(tmp_path, CIFAR_RUNNERS=runners, **patient) as (client, process, log):
        assert classify(client) == 200
        wait_until_monitored(client, tmp_path)
        if runners == "separate":
            time.sleep(6)  # its connections to the runners have been idle, and are closed
        with ThreadPoolExecutor(calls) as pool:
            pending = [pool.submit(send, client) for _ in range(calls)]
            # That of `/metrics` itself is one of them.
            while metric(client, "cifar_requests_in_progress") <= calls and not any(call.done() for call in pending):
                time.sleep(0.005)
            process.send_signal(signal.SIGTERM)
            start = time.monotonic()
            answers = [call.result() for call in pending]
        process.wait(60)
        seconds = time.monotonic() - start
        for answer in answers:
            assert answer.status_code == 200
            assert [item.get("error") for item in answer.json()] == [None] * photos
        assert "Traceback" not in log.read_text()
    assert seconds < 10
    assert process.returncode == 0
    wait_for_windows(tmp_path, calls * photos)


def test_a_killed_runner_is_503_and_comes_back(var: Path) -> None:
    with server(var, CIFAR_RUNNERS="separate", CIFAR_MONITORING="false", CIFAR_PAGE="false") as (client, process, _):
        for runner in ("cifar_cnn_runner", "ood_forest_runner"):
            assert classify(client) == 200
            kill_before_a_crowd(client, process.pid, runner)
            assert [classify(client) for _ in range(50)] == [200] * 50, runner


def kill_before_a_crowd(client: httpx.Client, pid: int, runner: str) -> None:
    """Whenever ``runner`` dies, some of 16 callers are told 503: a new process loads its model for longer than they
    wait for their turn, also where the next call waits for it in the socket. Then all have their answers again.
    """
    done, codes = threading.Event(), list[int]()

    def caller() -> None:
        while not done.is_set():
            codes.append(classify(client))

    def until(told: Callable[[], bool]) -> None:
        end = time.monotonic() + PATIENCE
        while not told():
            assert time.monotonic() < end, (runner, Counter(codes))
            time.sleep(0.05)

    with ThreadPoolExecutor(16) as pool:
        callers = [pool.submit(caller) for _ in range(16)]
        try:
            until(lambda: len(codes) > 64)
            [killed], before = named(runner, pid), len(codes)
            os.kill(killed, signal.SIGKILL)
            until(lambda: 503 in codes[before:])
            until(lambda: codes[-64:] == [200] * 64)
        finally:
            done.set()
        for one in callers:
            one.result()
    assert set(codes) == {200, 503}, (runner, Counter(codes))
    assert len(named(runner, pid)) == 1
    assert named(runner, pid) != [killed]


def named(service: str, pid: int) -> list[int]:
    """The processes below ``pid`` that run the BentoML service ``service``."""
    return [child for child in descendants(pid) if service.encode() in Path(f"/proc/{child}/cmdline").read_bytes()]


def test_a_killed_worker_comes_back(var: Path) -> None:
    with server(var, CIFAR_MONITORING="false", CIFAR_PAGE="false") as (client, process, _):
        assert classify(client) == 200
        for child in descendants(process.pid):
            if b"_bentoml_impl" in Path(f"/proc/{child}/cmdline").read_bytes():
                os.kill(child, signal.SIGKILL)
        wait_for_200(client)


def wait_for_200(client: httpx.Client) -> None:
    end = time.monotonic() + PATIENCE
    while classify(client) != 200:
        assert time.monotonic() < end
        time.sleep(0.2)
