"""A crowd gives feedback while the real server is killed and started again: what it said it has, it has, once."""

from __future__ import annotations

import http.client
import json
import queue
import sqlite3
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from settings import ROOT
from tests.live import PATIENCE, environment, free_port, import_small, kill, png, serve_command

CLIENTS, ANSWERS, BATCH, KILLS = 50, 10_000, 50, 2


class Server:
    """`bentoml serve` over ``var``, to be killed and started again."""

    def __init__(self, var: Path) -> None:
        self.var, self.port = var, free_port()
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        plain = {"CIFAR_PAGE": "false", "CIFAR_MONITORING": "false", "CIFAR_REQUEST_LOG": "false"}
        # Neither the network's queue nor the rate limit is what is tested.
        wide = {"CIFAR_MAX_QUEUE": "5000", "CIFAR_MAX_WAIT_SECONDS": "60", "CIFAR_RATE_LIMIT": "0"}
        with (self.var / "server.log").open("ab") as log:
            self.process = subprocess.Popen(
                serve_command(self.port), cwd=ROOT, env=environment(self.var, **plain, **wide), stdout=log, stderr=log
            )

    def kill(self) -> None:
        assert self.process is not None
        kill(self.process.pid)
        self.process.wait()


class Client(threading.Thread):
    """Classifies photos in batches and says of each what it is, until the crowd has said enough."""

    def __init__(self, number: int, server: Server, left: queue.SimpleQueue[int], acknowledged: list[str]) -> None:
        super().__init__(daemon=True)
        self._rng = np.random.default_rng(number)
        self._server, self._left, self._acknowledged = server, left, acknowledged
        self._connection: http.client.HTTPConnection | None = None
        self.statuses: Counter[int] = Counter()

    def run(self) -> None:
        try:
            while (size := self._take()) > 0:
                pixels = self._rng.integers(0, 256, (size, 32, 32, 3), dtype=np.uint8)
                for prediction_id in self._classify([png(photo) for photo in pixels]):
                    if not self._answer(prediction_id):
                        self._left.put(1)  # its prediction went with the server: somebody takes another photo
        finally:
            self._hang_up()

    def _take(self) -> int:
        size = 0
        try:
            while size < BATCH:
                self._left.get_nowait()
                size += 1
        except queue.Empty:
            pass
        return size

    def _classify(self, photos: list[bytes]) -> list[str]:
        head = b'--b\r\nContent-Disposition: form-data; name="images"; filename="p.png"\r\n\r\n'
        body = b"".join(head + photo + b"\r\n" for photo in photos) + b"--b--\r\n"
        while True:
            status, answer = self._call("/classify_batch", body, "multipart/form-data; boundary=b")
            if status == 200:
                return [one["prediction_id"] for one in answer]
            time.sleep(0.5)

    def _answer(self, prediction_id: str) -> bool:
        body = json.dumps({"prediction_id": prediction_id, "correct": False, "label": "mug"}).encode()
        while True:
            status, _ = self._call("/feedback", body, "application/json")
            self.statuses[status] += 1
            if status == 200:
                self._acknowledged.append(prediction_id)
                return True
            if status == 404:
                return False
            time.sleep(0.5)

    def _call(self, path: str, body: bytes, kind: str) -> tuple[int, list[dict[str, str]]]:
        """Status and JSON; 0 when the connection was cut or none could be made."""
        try:
            if self._connection is None:
                self._connection = http.client.HTTPConnection("127.0.0.1", self._server.port, timeout=60)
            self._connection.request("POST", path, body, {"Content-Type": kind})
            answer = self._connection.getresponse()
            return answer.status, json.loads(answer.read())
        except (OSError, http.client.HTTPException, ValueError):
            self._hang_up()
            return 0, []

    def _hang_up(self) -> None:
        if self._connection is not None:
            self._connection.close()
        self._connection = None


def test_every_acknowledged_answer_of_fifty_clients_is_there_once(tmp_path: Path) -> None:
    import_small(tmp_path)
    server, acknowledged = Server(tmp_path), list[str]()
    left: queue.SimpleQueue[int] = queue.SimpleQueue()
    for _ in range(ANSWERS):
        left.put(1)
    clients = [Client(number, server, left, acknowledged) for number in range(CLIENTS)]
    server.start()
    try:
        for client in clients:
            client.start()
        for number in range(1, KILLS + 1):
            wait_until(lambda: len(acknowledged) >= ANSWERS * number // (KILLS + 1), server, acknowledged)  # noqa: B023
            server.kill()
            server.start()
        wait_until(
            lambda: not any(client.is_alive() for client in clients) or len(acknowledged) >= ANSWERS,
            server,
            acknowledged,
        )
        for client in clients:
            client.join(PATIENCE)
    finally:
        if server.process is not None and server.process.poll() is None:
            server.kill()

    statuses = sum((client.statuses for client in clients), Counter[int]())
    assert statuses[0] > 0, "the kill cut calls of feedback"
    assert set(statuses) <= {0, 200, 404, 503}, statuses
    assert len(acknowledged) == len(set(acknowledged)) == ANSWERS
    with sqlite3.connect(tmp_path / "feedback.db") as database:
        rows = database.execute("SELECT prediction_id, image_sha256 FROM feedback").fetchall()
    database.close()
    stored = Counter(prediction_id for prediction_id, _ in rows)
    assert set(stored.values()) == {1}
    assert set(acknowledged) <= set(stored)
    # Stored and not acknowledged: those whose answer the kill cut on its way back.
    assert len(stored) - len(acknowledged) <= statuses[0]
    for _, sha256 in rows:
        assert (tmp_path / "images" / sha256[:2] / sha256[2:4] / f"{sha256}.png").is_file()
    print(f"\n{len(acknowledged):,} acknowledged, {len(stored):,} stored, {statuses}")


def wait_until(condition: Callable[[], bool], server: Server, acknowledged: list[str]) -> None:
    """Fails when the server ends, or nothing is acknowledged for `PATIENCE`."""
    before, end = len(acknowledged), time.monotonic() + PATIENCE
    while not condition():
        assert server.process is not None
        assert server.process.poll() is None, (server.var / "server.log").read_text()[-3000:]
        if len(acknowledged) > before:
            before, end = len(acknowledged), time.monotonic() + PATIENCE
        if time.monotonic() > end:
            pytest.fail("the crowd got no further: " + (server.var / "server.log").read_text()[-3000:])
        time.sleep(0.05)
