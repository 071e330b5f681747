"""`python -m bench.serving`: this service and its peers under the same load, one at a time on this machine.

Every server gets the same multipart bodies with the same JPEG photos and does the same with them: decode, network by
OpenVINO, gate, JSON. All are started at first and idle until it is their turn; each measurement is made in turns, so
that what else the machine does meets all of them, and its median is reported. Two servers are compared within each
round, and the median of what the rounds say is reported with the range of it.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from bench.load import Load, load, photos
from bench.servers import Server, StartError, free_port, peers_python
from runners.blas import one_blas_thread
from runners.store import Served, StoreError, load_pipeline, served
from settings import ROOT, Settings, configure_environment
from training.speed import engine, machine

CONNECTIONS = (1, 8, 32, 128)
SETTLE = 1
"""Seconds of rest before a measurement."""
TOGETHER = 64
OURS, QUIET, SEPARATE = "ours", "ours, monitoring off", "ours, separate runners"
FASTAPI, LITSERVE, MLSERVER, NAIVE = "FastAPI + uvicorn", "LitServe", "MLServer", "naive BentoML composition"
PEERS = (FASTAPI, LITSERVE, MLSERVER)
SERVERS = (OURS, QUIET, SEPARATE, *PEERS, NAIVE)
PARTS = ("load", "batch", "ready", "recorder")
ROWS = 20_000

Loads = dict[tuple[str, int], list[Load]]
"""Server and number of connections -> what each round measured."""


class Bench:
    """What all measurements share: the model, the photos, where processes write, how long and how often to measure."""

    def __init__(self, settings: Settings, folder: Path, seconds: int, rounds: int) -> None:
        self.settings, self.folder, self.seconds, self.rounds = settings, folder, seconds, rounds
        self.pair: Served = served(settings)
        self.photos = photos(folder, TOGETHER)

    def server(self, name: str, **extra: str) -> Server:
        """The server called ``name``, not started; ``extra`` goes to its environment."""
        port, bentoml = free_port(), [str(Path(sys.executable).with_name("bentoml")), "serve"]
        environment = {
            "BENCH_CNN": str(self.pair.cnn_path),
            "BENCH_FOREST": str(self.pair.forest_path),
            "BENTOML_HOME": str(self.settings.bentoml_home),
            "CIFAR_VAR": str(self.folder / "var"),
            "CIFAR_RATE_LIMIT": "0",
            "PYTHONPATH": str(ROOT),
        }
        if name in (OURS, QUIET, SEPARATE):
            command = [*bentoml, "service:Cifar", "--port", str(port)]
            environment |= {
                "CIFAR_MONITORING": str(name != QUIET).lower(),
                "CIFAR_RUNNERS": "separate" if name == SEPARATE else "inprocess",
            }
        elif name == NAIVE:
            command = [*bentoml, "bench.peers.naive:Naive", "--port", str(port)]
        else:
            command = self._peer(name, port)
        log = self.folder / f"{name.replace(' ', '-')}.log"
        return Server(name, command, environment | extra, port, log)

    def _peer(self, name: str, port: int) -> list[str]:
        binaries = peers_python(self.settings.var / "bench-peers").parent
        if name == FASTAPI:
            return [str(binaries / "uvicorn"), "bench.peers.fastapi_app:app", "--port", str(port), "--no-access-log"]
        if name == LITSERVE:
            return [str(binaries / "python"), "-m", "bench.peers.litserve_app", str(port)]
        folder = self.folder / "mlserver"
        folder.mkdir(exist_ok=True)
        model = {"name": "cifar", "implementation": "bench.peers.mlserver_app.Runtime"}
        (folder / "model-settings.json").write_text(json.dumps(model))
        ports = {"http_port": port, "grpc_port": free_port(), "metrics_port": free_port()}
        options = {"host": "127.0.0.1", "parallel_workers": 0, "debug": False}
        (folder / "settings.json").write_text(json.dumps(ports | options))
        return [str(binaries / "mlserver"), "start", str(folder)]


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m bench.serving", description=__doc__)
    parser.add_argument("--only", action="append", choices=(*PARTS, *SERVERS), help="a part or a server; repeatable")
    parser.add_argument("--seconds", type=int, default=4, help="length of each measurement under load")
    parser.add_argument(
        "--rounds", type=int, choices=range(1, 100), metavar="N", default=3, help="how often each is measured"
    )
    parser.add_argument("--connections", type=int, nargs="+", default=CONNECTIONS, help="under load, at once")
    arguments = parser.parse_args(argv)
    if shutil.which("wrk") is None:
        print("error: the load generator wrk is missing; on Debian: apt-get install wrk", file=sys.stderr)
        return 1
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # else servers stay behind
    settings = Settings()
    configure_environment(settings)
    chosen = arguments.only or [*PARTS, *SERVERS]
    names = [name for name in SERVERS if name in chosen] or list(SERVERS)
    parts = [part for part in PARTS if part in chosen] or ["load"]
    if not {"load"} & set(parts):
        names = []
    with tempfile.TemporaryDirectory(prefix="bench-serving-") as folder:
        try:
            bench = Bench(settings, Path(folder), arguments.seconds, arguments.rounds)
        except StoreError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
        print(f"{machine()}, {engine()}; {bench.seconds} s a measurement, median of {bench.rounds}, page on\n")
        targets = {
            "load": lambda: under_load(bench, names, arguments.connections),
            "batch": lambda: in_batches(bench),
            "ready": lambda: until_ready(bench),
            "recorder": lambda: recording(bench),
        }
        try:
            lines = [line for part in parts for line in targets[part]()]
        except StartError as error:
            print(f"error: {error}", file=sys.stderr)
            return 1
    print()
    print("\n".join(lines))
    return 0


def target(name: str, measured: str, wanted: str, met: bool) -> str:
    return f"target {name}: measured {measured}, wanted {wanted}, {'met' if met else 'missed'}"


def under_load(bench: Bench, names: list[str], numbers: Sequence[int]) -> Iterator[str]:
    """Single photos over each number of connections; prints the table, gives the targets that can be judged."""
    with _started([bench.server(name) for name in names]) as servers:
        for server in servers:  # the first requests are slower: code is imported, batch sizes compiled
            load(f"{server.url}/classify", "image", bench.photos, 32, 2)
        loads: Loads = {}
        for connections in numbers:
            loads |= _in_turns(bench, servers, connections)
        memory = {server.name: server.resident_megabytes() for server in servers}
    print(f"{'server':<27}{'connections':>12}{'requests/s':>12}{'p50 ms':>9}{'p99 ms':>9}{'errors':>8}{'MB':>7}")
    for (name, connections), rounds in sorted(loads.items(), key=lambda item: names.index(item[0][0])):
        rate, p50, p99 = (statistics.median(getattr(one, of) for one in rounds) for of in ("rate", "p50_ms", "p99_ms"))
        errors = sum(one.errors for one in rounds)
        print(f"{name:<27}{connections:>12}{rate:>12.1f}{p50:>9.2f}{p99:>9.2f}{errors:>8}{memory[name]:>7.0f}")
    return _load_targets(loads, memory)


def _load_targets(loads: Loads, memory: dict[str, float]) -> Iterator[str]:
    if OURS not in memory:
        return
    if (OURS, 32) in loads:
        if peers := [name for name in PEERS if name in memory]:
            best = max(peers, key=lambda name: statistics.median(one.rate for one in loads[name, 32]))
            ratios = _compared(loads, 32, best, lambda ours, other: ours.rate / other.rate)
            yield target("serving_32_best_peer", f"{ratios:.2f} of {best}", ">= 1.0", ratios.middle >= 1)
        if NAIVE in memory:
            ratios = _compared(loads, 32, NAIVE, lambda ours, other: ours.rate / max(other.rate, 0.1))
            yield target("serving_32_naive", f"{ratios:.2f} times", ">= 3", ratios.middle >= 3)
        if QUIET in memory:
            costs = _compared(loads, 32, QUIET, lambda ours, other: 1 - ours.rate / other.rate)
            yield target("serving_monitoring_cost", f"{costs:.1%}", "<= 5 %", costs.middle <= 0.05)
    if (OURS, 1) in loads:
        if FASTAPI in memory:
            more = _compared(loads, 1, FASTAPI, lambda ours, other: ours.p50_ms - other.p50_ms)
            yield target("serving_1_p50", f"FastAPI {more:+.2f} ms", "<= +1 ms", more.middle <= 1)
        if QUIET in memory:
            later = _compared(loads, 1, QUIET, lambda ours, other: ours.p50_ms / other.p50_ms - 1)
            yield target("serving_monitoring_p50", f"{later:+.1%}", "<= 5 %", later.middle <= 0.05)
    errors = sum(one.errors for (name, _), rounds in loads.items() if name in (OURS, QUIET, SEPARATE) for one in rounds)
    yield target("serving_errors", f"{errors}", "0", errors == 0)
    yield target("serving_memory", f"{memory[OURS]:.0f} MB", "< 700 MB", memory[OURS] < 700)


@dataclass(frozen=True, slots=True)
class Compared:
    """The median of what the rounds say, and the lowest and the highest."""

    middle: float
    low: float
    high: float

    def __format__(self, spec: str) -> str:
        return f"{self.middle:{spec}} ({self.low:{spec}} to {self.high:{spec}})"


def _compared(loads: Loads, connections: int, other: str, how: Callable[[Load, Load], float]) -> Compared:
    """Ours beside ``other`` in each round: what slows the machine for a minute then slows both."""
    found = [how(*pair) for pair in zip(loads[OURS, connections], loads[other, connections], strict=True)]
    return Compared(statistics.median(found), min(found), max(found))


def in_batches(bench: Bench) -> Iterator[str]:
    """`/classify_batch` beside the bare network, in turns."""
    pipeline = load_pipeline(bench.settings)
    pixels = np.random.default_rng(0).integers(0, 256, (TOGETHER, 32, 32, 3), dtype=np.uint8)
    bare, served_rates = [], []
    with _started([bench.server(OURS)]) as [server]:
        for number in range(bench.rounds + 1):
            bare.append(TOGETHER * _calls_per_second(lambda: pipeline.network(pixels), bench.seconds))
            # Answers alone count, and a request under way at the end is half a second of work.
            one = load(f"{server.url}/classify_batch", "images", bench.photos, 2, 3 * bench.seconds, TOGETHER)
            served_rates.append(TOGETHER * one.rate)
            if not number:  # the first round warms up
                bare.clear()
                served_rates.clear()
    engine_rate, rate = statistics.median(bare), statistics.median(served_rates)
    print(f"\n{TOGETHER} photos a request, 2 connections: {rate:.0f} photos/s; network alone: {engine_rate:.0f}")
    share = rate / engine_rate
    yield target("serving_batch_64", f"{share:.2f}", ">= 0.70 of the network alone", share >= 0.7)


def until_ready(bench: Bench) -> Iterator[str]:
    """From `bentoml serve` to the first 200 of `/readyz`, after one start that warms the disk cache."""
    for name, page, wanted in (("serving_ready", "true", 10), ("serving_ready_no_page", "false", 5)):
        seconds = []
        for _ in range(bench.rounds + 1):
            server = bench.server(OURS, CIFAR_PAGE=page)
            server.start()
            server.stop()
            seconds.append(server.ready_seconds)
        median = statistics.median(seconds[1:])
        yield target(name, f"{median:.1f} s", f"<= {wanted} s", median <= wanted)


def recording(bench: Bench) -> Iterator[str]:
    """Processor time of monitoring, from a row's arrival until its window is in MLflow."""
    from monitoring.recorder import Recorder
    from monitoring.tracking import ensure_store

    pipeline = load_pipeline(bench.settings)
    settings = bench.settings.model_copy(update={"var": bench.folder / "recorder", "mlflow_uri": None})
    settings.var.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (1, 32, 32, 3), dtype=np.uint8)
    scores, sizes = pipeline.score(pixels), np.array([[320, 240]])
    ensure_store(settings)
    recorder = Recorder(settings, pipeline.cnn_tag, pipeline.forest_tag, pipeline.labels)
    one_blas_thread()  # as in the server
    recorder.start()

    def record(count: int) -> None:
        wanted = recorder.rows_recorded + count
        for _ in range(count):
            recorder.record(pixels, sizes, scores)
        while recorder.rows_recorded < wanted or recorder.windows_sent < recorder.windows_flushed:
            time.sleep(0.05)

    record(2 * settings.window_rows)  # imports
    start = time.process_time()
    record(ROWS)
    spent = 1000 * (time.process_time() - start) / ROWS
    recorder.close()
    yield target("monitoring_cpu_per_row", f"{spent:.3f} ms", "<= 0.1 ms", spent <= 0.1 and not recorder.rows_dropped)


@contextmanager
def _started(servers: list[Server]) -> Iterator[list[Server]]:
    """All of them ready; gone at the end."""
    try:
        for server in servers:
            print(f"starting {server.name}", file=sys.stderr)
            server.start("/v2/health/ready" if server.name == MLSERVER else "/readyz")
        yield servers
    finally:
        for server in servers:
            server.stop()


def _in_turns(bench: Bench, servers: list[Server], connections: int) -> Loads:
    found: Loads = {(server.name, connections): [] for server in servers}
    for number in range(bench.rounds):
        print(f"{connections} connections, round {number + 1} of {bench.rounds}", file=sys.stderr)
        # Not always after the same one, nor while it still works for callers that have gone.
        for server in random.Random(number).sample(servers, len(servers)):
            time.sleep(SETTLE)
            one = load(f"{server.url}/classify", "image", bench.photos, connections, bench.seconds)
            found[server.name, connections].append(one)
    return found


def _calls_per_second(call: Callable[[], object], seconds: float) -> float:
    start, calls = time.perf_counter(), 0
    while time.perf_counter() - start < seconds:
        call()
        calls += 1
    return calls / (time.perf_counter() - start)


if __name__ == "__main__":
    raise SystemExit(main())
