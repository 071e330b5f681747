"""`make container` on machines where it cannot work, and what the image's bill of materials says of packages."""

from __future__ import annotations

import json
import os
import subprocess
from email.message import Message
from importlib.metadata import Distribution
from pathlib import Path

import pytest

from scripts import sbom
from settings import ROOT


@pytest.mark.parametrize(
    ("tool", "said"),
    [("", "needs Docker with its daemon running, Podman or Buildah"), ("lxc", "docker, podman or buildah is meant")],
)
def test_without_a_builder_it_says_so(tmp_path: Path, tool: str, said: str) -> None:
    (tmp_path / "docker").write_text("#!/bin/sh\nexit 1\n")  # the client alone, without a daemon
    (tmp_path / "docker").chmod(0o755)
    env = {"PATH": str(tmp_path), "TOOL": tool, "BIN": "nowhere", "IMAGE": "cifar"}
    done = subprocess.run(["/bin/sh", "scripts/container.sh"], cwd=ROOT, env=env, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith("error: ")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


class Described(Distribution):
    def __init__(self, licence_file: str = "", **fields: str | list[str]) -> None:
        self._fields, self._file = {"Name": "some", "Version": "1.0", **fields}, licence_file

    @property
    def metadata(self) -> Message:  # type: ignore[override]
        message = Message()
        for name, value in self._fields.items():
            for one in [value] if isinstance(value, str) else value:
                message[name.replace("_", "-")] = one
        return message

    def read_text(self, filename: str) -> str | None:
        return None

    def locate_file(self, path: str | os.PathLike[str]) -> Path:
        return Path(path)


@pytest.mark.parametrize(
    ("fields", "licence"),
    [
        ({"License_Expression": "MIT OR Apache-2.0", "License": "else"}, "MIT OR Apache-2.0"),
        ({"Classifier": ["License :: OSI Approved :: MIT License", "Topic :: Software"]}, "MIT"),
        ({"Classifier": ["License :: OSI Approved :: BSD License"], "License": "BSD-2-Clause"}, "BSD-2-Clause"),
        ({"Classifier": ["License :: OSI Approved"], "License": "Apache License 2.0"}, "Apache-2.0"),
        ({"License": "Copyright (c) somebody"}, sbom.UNKNOWN),
        ({"Name": "huey"}, "MIT"),
        ({}, sbom.UNKNOWN),
    ],
)
def test_a_licence_is_found_wherever_it_is_stated(fields: dict[str, str | list[str]], licence: str) -> None:
    assert sbom.licence(Described(**fields)) == licence


def test_everything_installed_states_a_licence() -> None:
    found = sbom.python_packages()
    assert {"bentoml", "openvino", "pillow"} <= {package.name for package in found}
    assert [package.name for package in found if package.licence == sbom.UNKNOWN] == []


def test_the_bill_names_debian_packages_by_their_purl(tmp_path: Path) -> None:
    status = tmp_path / "status"
    status.write_text(
        "Package: libc6\nStatus: install ok installed\nVersion: 2.36-9+deb12u1\nDescription: a\n library: yes\n\n"
        "Package: gone\nStatus: deinstall ok config-files\nVersion: 1\n"
    )
    packages = [*sbom.debian_packages(status), sbom.Package("pypi", "some", "1.0", "MIT")]
    bill = sbom.cyclonedx(packages)
    assert [part["purl"] for part in bill["components"]] == [
        "pkg:deb/debian/libc6@2.36-9%2Bdeb12u1",
        "pkg:pypi/some@1.0",
    ]
    assert bill["components"][1]["licenses"] == [{"expression": "MIT"}]
    assert json.dumps(bill) == json.dumps(sbom.cyclonedx(packages))
    assert sbom.debian_packages(tmp_path / "nothing") == []
