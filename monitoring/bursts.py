"""The owner's own photos of a class: a folder per class in the data root, in it a folder per burst."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from runners.class_names import name_fault
from runners.prediction import ApiError
from runners.whole import whole

_YAML_WORDS = frozenset({"yes", "no", "on", "off", "true", "false", "null"})  # no text, unless in quotes


def class_folder(data_root: Path, name: str) -> Path:
    """Where captured photos of class ``name`` lie: `captured/<name>` in the data root.

    Raises:
        ApiError: 422, ``name`` is no class name.
    """
    if fault := name_fault(name):
        raise ApiError(422, "bad_label", fault)
    return data_root / "captured" / name


def classes_line(name: str) -> str:
    """The line below ``folders:`` of a classes file that makes the photos in `class_folder` the class ``name``."""
    quoted = not name[0].isalpha() or name.casefold() in _YAML_WORDS
    return f'  "{name}": captured/{name}' if quoted else f"  {name}: captured/{name}"


def save_burst(folder: Path, pngs: Iterable[bytes]) -> list[Path]:
    """Write the PNG files ``pngs`` into a new sub-folder of ``folder``, and return their paths: 000.png and so on.

    The sub-folder, named after the time (UTC), appears when the last photo is written, and not at all when ``pngs``
    raises; photos of one burst are one group, which no split divides. ``pngs`` is read one by one.

    Raises:
        ValueError: there is no photo.
        OSError: the folder cannot be written or the disk is full.
    """
    burst = folder / f"{datetime.now(UTC):%Y%m%dT%H%M%S%f}"
    paths = []
    with whole(burst) as scratch:
        for number, png in enumerate(pngs):
            name = f"{number:03d}.png"
            (scratch / name).write_bytes(png)
            paths.append(burst / name)
        if not paths:
            raise ValueError("a burst needs a photo")
    return paths
