"""The version of the project: the newest in CHANGELOG.md, and written nowhere else. `python version.py` prints it."""

from __future__ import annotations

import re
from pathlib import Path

CHANGELOG = Path(__file__).resolve().parent / "CHANGELOG.md"


def version(changelog: Path = CHANGELOG) -> str:
    """Such as ``1.2.0``; ``unreleased`` before the first release."""
    released = re.search(r"^## \[(\d+\.\d+\.\d+)\]", changelog.read_text(encoding="utf-8"), re.M)
    return released[1] if released else "unreleased"


if __name__ == "__main__":
    print(version())
