"""`make release-check` refuses, in one line and before anything is made, what cannot be a release."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from settings import ROOT


@pytest.mark.parametrize(
    ("programs", "said"),
    [
        ({"git": "echo ' M service.py'"}, "changes that are not committed"),
        ({"git": "exit 0", "id": "echo 1000"}, "by root only"),
        ({"git": "exit 0", "id": "echo 0", "debootstrap": "exit 0", "unshare": "exit 1"}, "forbids mount namespaces"),
    ],
)
def test_it_says_why_it_cannot_check(tmp_path: Path, programs: dict[str, str], said: str) -> None:
    for name, text in programs.items():
        (tmp_path / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / name).chmod(0o755)
    env = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "scripts/release_check.sh"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert said in done.stderr
    assert done.stderr.startswith("error: ")
    assert done.stdout == ""


def test_every_exception_of_the_audit_has_a_reason() -> None:
    for line in (ROOT / "scripts" / "audit-exceptions.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            identifier, package, *reason = line.split()
            assert identifier.startswith(("PYSEC-", "GHSA-", "CVE-")), line
            assert f"\n{package}==" in (ROOT / "requirements.lock").read_text(), line
            assert len(reason) >= 5, line
