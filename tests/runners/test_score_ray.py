"""`--engine ray` on a cluster of two workers: the same rows, errors and profile as on this machine alone."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from monitoring import profiles
from monitoring.rows import COLUMNS
from runners.score_ray import _interrupts
from settings import ROOT
from tests.live import PATIENCE, environment, free_port, import_starters, kill, png

SHARDS, PHOTOS = 12, 400
TOKEN = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "0123456789abcdef0123456789abcdef"}


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """A cluster of two cores; of Ray's own accord its workers would give way to every other process."""
    port = free_port()
    ray = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", "--num-cpus=2", f"--port={port}"]
    started = subprocess.Popen(
        [*ray, "--include-dashboard=false", "--disable-usage-stats"],
        env={**os.environ, **TOKEN, "RAY_worker_niceness": "0"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        assert started.stdout
        said = []
        for line in started.stdout:
            said.append(line)
            if "Ray runtime started" in line:
                break
        else:
            pytest.fail("".join(said))
        yield f"127.0.0.1:{port}"
    finally:
        kill(started.pid)  # its own way to end takes half a minute
        started.communicate()


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return import_starters(tmp_path_factory.mktemp("ray"))


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of photos, a damaged one, and a photo that is none."""
    random, folder = np.random.default_rng(0), tmp_path_factory.mktemp("photos")
    for shard in range(SHARDS):
        with tarfile.open(folder / f"{shard}.tar", "w") as tar:
            for number in range(PHOTOS):
                data = png(random.integers(0, 256, (32 + number % 7, 32, 3), dtype=np.uint8))
                about = tarfile.TarInfo(f"{number:03}.png")
                about.size = len(data)
                tar.addfile(about, BytesIO(data))
    whole = (folder / "0.tar").read_bytes()
    (folder / "damaged.tar").write_bytes(whole[: len(whole) // 2 + 1000])
    (folder / "broken.png").write_bytes(b"no photo")
    return folder


def command(photos: Path, out: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "runners", "score", str(photos), "--out", str(out), *options]


def finished(work: Path) -> list[Path]:
    """The rows of the parts that will not be scored again: their marks are written last."""
    return sorted(file for file in work.glob("*.parquet") if file.with_suffix(".done").exists())


def workers() -> set[int]:
    """Processes in which an actor of ours runs just now."""
    return {p.pid for p in psutil.process_iter(["cmdline"]) if "(_Scorer)" in " ".join(p.info["cmdline"] or [])}


def test_two_workers_give_what_this_machine_gives_even_when_interrupted(
    address: str, var: Path, photos: Path, tmp_path: Path
) -> None:
    env = environment(var, **TOKEN, RAY_ADDRESS=address, CIFAR_OWNER_TOKEN="a secret")
    here, there = tmp_path / "here", tmp_path / "there"
    subprocess.run(command(photos, here), cwd=ROOT, env=env, check=True, capture_output=True)

    on_ray = command(photos, there, "--engine", "ray", "--workers", "2")
    first = subprocess.Popen(on_ray, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not (done := finished(there / "unfinished")):
        assert first.poll() is None, first.communicate()
        time.sleep(0.02)
    first.send_signal(signal.SIGINT)
    _, said = first.communicate(timeout=PATIENCE)
    assert (first.returncode, said.splitlines()[-1]) == (130, "stopped; the same command goes on where it was")
    kept = {file.name: file.stat().st_mtime_ns for file in done}

    second = subprocess.Popen(on_ray, cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    working: set[int] = set()
    while second.poll() is None:
        working |= workers()
        time.sleep(0.02)
    _, said = second.communicate()
    assert second.returncode == 0, said[-3000:]
    assert len(working) >= 2
    assert not (there / "unfinished").exists()
    assert {n: (there / "predictions.parquet" / n).stat().st_mtime_ns for n in kept} == kept  # scored once
    rows, wanted = (pq.read_table(out / "predictions.parquet") for out in (there, here))
    assert rows.num_rows >= SHARDS * PHOTOS + PHOTOS // 3
    for name in wanted.column_names:
        if name == "probabilities":
            assert np.allclose(rows[name].to_pylist(), wanted[name].to_pylist(), atol=1e-5)
        elif rows[name].type == "float":
            assert np.allclose(rows[name], wanted[name], atol=1e-5)
        else:
            assert rows[name].to_pylist() == wanted[name].to_pylist()
    assert (there / "errors.jsonl").read_text() == (here / "errors.jsonl").read_text()
    errors = [json.loads(line)["path"] for line in (there / "errors.jsonl").read_text().splitlines()]
    assert [Path(path).name for path in errors] == ["damaged.tar", "broken.png"]
    ours, alone = (profiles.from_bytes((out / "profile.bin").read_bytes()) for out in (there, here))
    assert ours.rows == alone.rows == rows.num_rows
    assert ours.metadata == alone.metadata
    for column in COLUMNS:
        if column.categorical:
            assert ours.categorical(column.name) == alone.categorical(column.name)
        else:
            a, b = ours.numeric(column.name), alone.numeric(column.name)
            assert (a.count, a.mean, a.deviation) == pytest.approx((b.count, b.mean, b.deviation), abs=1e-5)
            assert a.quantiles((0, 0.1, 0.5, 0.9, 1)) == pytest.approx(b.quantiles((0, 0.1, 0.5, 0.9, 1)), abs=1e-5)


def test_an_interrupt_that_falls_into_a_callback_is_not_lost() -> None:
    before = signal.getsignal(signal.SIGINT)
    with _interrupts() as told:
        assert not told.is_set()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        assert told.is_set()
    assert signal.getsignal(signal.SIGINT) is before


def test_what_a_worker_cannot_do_is_one_clear_line(address: str, var: Path, photos: Path, tmp_path: Path) -> None:
    shutil.copytree(var, tmp_path / "var")
    env = environment(tmp_path / "var", **TOKEN, RAY_ADDRESS=address)
    [network] = (tmp_path / "var" / "bentoml" / "models" / "cifar_cnn").glob("*/network.bin")
    network.write_bytes(b"damaged")
    options = ("--engine", "ray", "--workers", "1")
    done = subprocess.run(
        command(photos, tmp_path / "out", *options), cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: a worker failed: ")
    assert "network.bin" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_cluster_that_is_not_there_is_one_clear_line(var: Path, photos: Path, tmp_path: Path) -> None:
    env = environment(var, RAY_ADDRESS=f"127.0.0.1:{free_port()}")
    done = subprocess.run(
        command(photos, tmp_path / "out", "--engine", "ray"), cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"error: no Ray cluster at {env['RAY_ADDRESS']}: ")
    assert "Traceback" not in done.stderr
