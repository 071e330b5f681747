"""`make release-check` refuses, in one line and before anything is made, what cannot be a release."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from scripts import sbom
from settings import ROOT, Settings
from version import version


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


@pytest.mark.parametrize(
    ("program", "code", "said"),
    [
        ("echo 'No known vulnerabilities found' >&2", 0, "No known vulnerabilities found"),
        ("echo 'some 1.0 PYSEC-1'; echo 'Found 1 known vulnerability in 1 package' >&2; exit 1", 1, "does not explain"),
        ("echo 'ERROR: Dependency not found on PyPI: some (1.0)' >&2; exit 1", 2, "NOT AUDITED"),
        ("echo 'ERROR: Connection refused' >&2; exit 1", 2, "NOT AUDITED"),
    ],
)
def test_what_the_audit_could_not_learn_is_not_called_clean(tmp_path: Path, program: str, code: int, said: str) -> None:
    (tmp_path / "pip-audit").write_text(f"#!/bin/sh\n{program}\n")
    (tmp_path / "pip-audit").chmod(0o755)
    done = subprocess.run(
        ["sh", "scripts/audit.sh", str(tmp_path / "pip-audit")], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == code
    assert said in (done.stderr if code else done.stdout)
    assert ("No known" in done.stdout) == (code == 0)


def test_the_version_stands_in_the_changelog_alone(tmp_path: Path) -> None:
    from http_api import API_VERSION, new_app

    changelog = tmp_path / "CHANGELOG.md"
    changelog.write_text("# Changelog\n\n## [Unreleased]\n")
    assert version(changelog) == "unreleased"
    changelog.write_text("# Changelog\n\n## [Unreleased]\n\n## [1.2.0] - 2026-12-01\n\n## [1.1.9] - 2026-11-01\n")
    assert version(changelog) == "1.2.0"
    assert new_app(Settings()).openapi()["info"]["version"] == API_VERSION == "1", "no answer tells the product's"
    assert sbom.cyclonedx([])["metadata"]["component"]["version"] == version()
    rooms = (["-m", room, "--version"] for room in ("runners", "training", "monitoring", "ui"))
    for command in (["version.py"], *rooms):
        done = subprocess.run([sys.executable, *command], cwd=ROOT, capture_output=True, text=True, check=True)
        assert done.stdout == f"{version()}\n"
    included = yaml.safe_load((ROOT / "bentofile.yaml").read_text())["include"]
    assert {"/version.py", "/CHANGELOG.md"} <= set(included)


def test_every_exception_of_the_audit_has_a_reason() -> None:
    for line in (ROOT / "scripts" / "audit-exceptions.txt").read_text().splitlines():
        if line and not line.startswith("#"):
            identifier, package, *reason = line.split()
            assert identifier.startswith(("PYSEC-", "GHSA-", "CVE-")), line
            assert f"\n{package}==" in (ROOT / "requirements.lock").read_text(), line
            assert len(reason) >= 5, line
