"""`make serve` and `make test` on machines where they cannot work: one clear line, before anything is made."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

import pytest

from settings import ROOT


def make(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=ROOT,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=120,
    )


@pytest.mark.parametrize(("python", "said"), [("echo 3.9", "is 3.9"), ("exit 127", "is none")])
def test_a_wrong_python_is_named(tmp_path: Path, python: str, said: str) -> None:
    fake = tmp_path / "python"
    fake.write_text(f"#!/bin/sh\n{python}\n")
    fake.chmod(0o755)
    done = make("serve", f"PYTHON={fake}", f"VENV={tmp_path / 'venv'}")
    assert done.returncode != 0
    first = done.stderr.splitlines()[0]
    assert first.startswith("error: Python 3.11 or 3.12 is needed")
    assert said in first
    assert not (tmp_path / "venv").exists()


def test_an_installation_that_fails_says_so_and_is_not_taken_for_whole(tmp_path: Path) -> None:
    done = make(
        "serve",
        f"VENV={tmp_path / 'venv'}",
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_EXTRA_INDEX_URL="",
        PIP_RETRIES="0",
        PIP_CONFIG_FILE=os.devnull,
        PIP_FIND_LINKS="",
    )
    assert done.returncode != 0
    assert "error: the requirements could not be installed" in done.stderr
    assert not (tmp_path / "venv" / ".ready").exists()


def test_a_busy_port_is_named(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        # The environment is there already when the suite runs under make; its mark is all that make looks at.
        done = make("serve", f"PORT={port}", CIFAR_VAR=str(tmp_path), BENTOML_HOME=str(tmp_path / "bentoml"))
    assert done.returncode != 0
    assert f"error: port {port} is taken" in done.stderr


def test_every_direct_dependency_says_why_it_is_there_and_is_locked() -> None:
    lock = (ROOT / "requirements.lock").read_text()
    for line in (ROOT / "requirements.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            name, _, reason = line.partition("#")
            assert len(reason.split()) >= 3, line
            package = name.split(";")[0].split("[")[0].split("=")[0].split(">")[0].split("<")[0].strip().lower()
            assert f"\n{package}==" in f"\n{lock.lower()}", package


def test_the_bento_carries_neither_tensorflow_nor_test_tools() -> None:
    serving = (ROOT / "requirements-serving.lock").read_text()
    full = (ROOT / "requirements.lock").read_text()
    for name in ("tensorflow", "keras", "scikit-learn", "matplotlib", "mlflow==", "pytest", "playwright", "ruff"):
        assert f"\n{name}" not in serving
    pinned = [line.split(" ")[0] for line in serving.splitlines() if "==" in line and not line.startswith((" ", "#"))]
    assert pinned
    assert all(f"\n{pin} " in f"\n{full}" for pin in pinned)


def test_lock_files_name_no_index() -> None:
    for path in Path(ROOT).glob("requirements*.lock"):
        assert "://" not in path.read_text(), path.name
        assert "--index-url" not in path.read_text()
