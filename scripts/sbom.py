"""What is installed beside this interpreter: a CycloneDX 1.6 list on standard output, or with `--licences` a table.

Needs nothing but Python. In the image it runs once, at build; Debian's packages are listed where there are any.
Nothing in it depends on when or where it ran, so the same packages give the same bytes.
"""

from __future__ import annotations

import json
import re
import runpy
import sys
from dataclasses import dataclass
from importlib.metadata import Distribution, distributions
from pathlib import Path
from typing import Any

DEBIAN = Path("/var/lib/dpkg/status")
UNKNOWN = "not stated"
SPDX = re.compile(r"[A-Za-z0-9.+-]+( (AND|OR|WITH) \(?[A-Za-z0-9.+-]+\)?)*")
UNSTATED = {"huey": "MIT", "namex": "Apache-2.0"}
"""Read in the licence files of packages that state theirs nowhere else."""
SPOKEN = {
    "Apache Software License": "Apache-2.0",
    "Apache 2.0": "Apache-2.0",
    "Apache": "Apache-2.0",
    "Apache License": "Apache-2.0",
    "Apache License 2.0": "Apache-2.0",
    "Apache License, Version 2.0": "Apache-2.0",
    "Apache License Version 2.0": "Apache-2.0",
    "MIT License": "MIT",
    "BSD 3-Clause License": "BSD-3-Clause",
    "BSD 3-Clause": "BSD-3-Clause",
    "3-Clause BSD License": "BSD-3-Clause",
    "The MIT License": "MIT",
    "BSD-3-Clause License": "BSD-3-Clause",
    "BSD 2-Clause License": "BSD-2-Clause",
    "ISC License (ISCL)": "ISC",
    "Mozilla Public License 2.0 (MPL 2.0)": "MPL-2.0",
    "Python Software Foundation License": "PSF-2.0",
    "GNU Lesser General Public License v3 (LGPLv3)": "LGPL-3.0-only",
    "The Unlicense (Unlicense)": "Unlicense",
}
"""The words of older metadata as SPDX writes them; any other are quoted as they stand."""


@dataclass(frozen=True, order=True)
class Package:
    """One installed package; ``licence`` is an SPDX expression where the package states one, else its own words."""

    kind: str
    name: str
    version: str
    licence: str


def main(arguments: list[str]) -> int:
    if arguments == ["--licences"]:
        packages = python_packages()
        print(table(packages))
        missing = [package.name for package in packages if package.licence == UNKNOWN]
        if missing:
            print(
                f"error: no licence is stated by {', '.join(missing)}; read it and add it to UNSTATED", file=sys.stderr
            )
        return 1 if missing else 0
    if arguments:
        print("usage: python scripts/sbom.py [--licences]", file=sys.stderr)
        return 2
    print(json.dumps(cyclonedx(python_packages() + debian_packages(DEBIAN)), indent=1))
    return 0


def python_packages() -> list[Package]:
    """Every package that this interpreter finds, in the order of names."""
    found = {re.sub(r"[-_.]+", "-", d.metadata["Name"]).lower(): d for d in distributions()}
    return [Package("pypi", name, d.version, licence(d)) for name, d in sorted(found.items())]


def licence(package: Distribution) -> str:
    """Its SPDX expression, else classifiers, licence field, or the title of its licence file; else `UNKNOWN`."""
    about: Any = package.metadata
    if expression := about.get("License-Expression"):
        return expression
    classified = [line.split("::")[-1].strip() for line in about.get_all("Classifier") or [] if "License ::" in line]
    written = [text for text in classified if text != "OSI Approved"]
    field = next(iter((about.get("License") or "").strip().splitlines()), "")
    # "BSD License" names a family: the field beside it often says which. Some have the whole text there.
    if field[:1].isalnum() and len(field) <= 40 and "Copyright" not in field and written in ([], ["BSD License"]):
        written = [field]
    return " AND ".join(sorted({SPOKEN.get(text, text) for text in written})) or _titled(package)


def _titled(package: Distribution) -> str:
    """The title of its licence file."""
    for file in package.files or []:
        if re.fullmatch(r"(LICEN[CS]E|COPYING)(\.\w+)?", file.name, re.I) and ".dist-info" in str(file):
            title = next((line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()), "")
            if "licen" in title.lower():
                return SPOKEN.get(title, title)
    return UNSTATED.get(package.metadata["Name"].lower(), UNKNOWN)


def debian_packages(status: Path) -> list[Package]:
    """What dpkg has installed, from its file ``status``; none where that is missing."""
    if not status.is_file():
        return []
    found = []
    for entry in status.read_text(encoding="utf-8").split("\n\n"):
        fields = dict(line.split(": ", 1) for line in entry.splitlines() if re.match(r"[A-Z][\w-]*: ", line))
        if fields.get("Status", "").endswith(" installed"):
            found.append(Package("deb", fields["Package"], fields["Version"], UNKNOWN))
    return sorted(found)


def cyclonedx(packages: list[Package]) -> dict[str, Any]:
    """The bill of materials, https://cyclonedx.org/docs/1.6/json/."""
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {"component": {"type": "application", "name": "cifar", "version": product_version()}},
        "components": [_component(package) for package in packages],
    }


def product_version() -> str:
    """By the project's `version.py`: in ``src`` beside this file in the image, one folder up in the repository."""
    here = Path(__file__).resolve().parent
    place = here / "src" if (here / "src").is_dir() else here.parent
    return str(runpy.run_path(str(place / "version.py"))["version"]())


def _component(package: Package) -> dict[str, Any]:
    place = "deb/debian" if package.kind == "deb" else "pypi"
    purl = f"pkg:{place}/{package.name}@{package.version.replace('+', '%2B').replace(':', '%3A').replace('~', '%7E')}"
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "purl": purl,
    }
    if package.licence != UNKNOWN:
        spdx = SPDX.fullmatch(package.licence)
        component["licenses"] = [{"expression": package.licence} if spdx else {"license": {"name": package.licence}}]
    return component


def table(packages: list[Package]) -> str:
    """Licence by licence, who has it."""
    by_licence: dict[str, list[str]] = {}
    for package in packages:
        by_licence.setdefault(package.licence, []).append(package.name)
    most_first = sorted(by_licence.items(), key=lambda item: (-len(item[1]), item[0]))
    return "\n".join(f"{licence}: {', '.join(names)}" for licence, names in most_first)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
