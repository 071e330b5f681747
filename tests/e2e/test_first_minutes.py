"""The commands of docs/first-ten-minutes.md, in its order, on a real server."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from settings import ROOT
from tests.live import environment, import_starters, server

PAGE = ROOT / "docs" / "first-ten-minutes.md"
ELSEWHERE = ("make ", "training capture", "training all")
"""What other tests run: it starts servers, opens a camera or trains for minutes."""


def commands() -> list[str]:
    lines = re.findall(r"^    (\S.*)$", PAGE.read_text(), re.M)
    return [line for line in lines if line.startswith(("curl", ".venv/bin/python", "make"))]


def test_the_page_names_what_it_should() -> None:
    assert len(commands()) >= 10
    assert all(any(word in line for line in commands()) for word in ELSEWHERE)


def test_a_stranger_gets_what_the_page_says(tmp_path: Path) -> None:
    if shutil.which("curl") is None:
        assert not os.environ.get("CI"), "curl is missing"
        pytest.skip("curl is not installed")
    var = import_starters(tmp_path)
    answers: list[tuple[str, int, str]] = []
    with server(var) as (client, *_):
        for line in commands():
            if any(word in line for word in ELSEWHERE):
                continue
            done = _run(line, var, client, answers)
            answers.append((line, done.returncode, done.stdout + done.stderr))
    told = {line: (code, text) for line, code, text in answers}

    def said(part: str) -> tuple[int, str]:
        return next(value for line, value in told.items() if part in line)

    assert json.loads(said("/classify")[1])["best_guess"]
    assert len(json.loads(said("/labels")[1])["classes"]) == 27
    assert json.loads(said("/feedback")[1])["id"] == 1
    assert "television" in said("monitoring review")[1]
    assert said("--accept 1") == (0, "Accepted 1.\n")
    assert said("monitoring drift")[0] == 2
    code, text = said("monitoring purge")
    assert code == 0, text
    assert not list((var / "images").rglob("*.png"))


def _run(
    line: str, var: Path, client: httpx.Client, answers: list[tuple[str, int, str]]
) -> subprocess.CompletedProcess[str]:
    """``line`` as a shell in the repository runs it, with this server's port and what was answered before."""
    line = line.replace("http://127.0.0.1:3000", str(client.base_url).rstrip("/"))
    if "PREDICTION_ID" in line:
        line = line.replace("PREDICTION_ID", json.loads(answers[0][2])["prediction_id"])
    line = line.replace(".venv/bin/python", sys.executable)
    return subprocess.run(
        ["bash", "-c", line], cwd=ROOT, env=environment(var), capture_output=True, text=True, timeout=120
    )
