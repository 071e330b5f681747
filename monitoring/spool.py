"""The spool folder: rows of windows that are still open (`*.rows`) and closed windows on their way to MLflow (`*.bin`).

A process that is killed leaves its journal behind; the next start makes a window of it. No row is lost or counted twice
on the way, because the steps of closing a window are undone or completed by `recover` wherever they stopped:

1. the profile is written beside the journal as ``*.part``: the journal still counts, the draft does not;
2. the journal is deleted: from here on the draft counts;
3. the draft gets its final name.

A living process holds a lock on its journal, so replicas may share the folder.
"""

from __future__ import annotations

import fcntl
import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from monitoring import tracking
from monitoring.profiles import Profile, ProfileBuilder, from_bytes
from monitoring.rows import COLUMNS, Table

JOURNAL, DRAFT, WINDOW, DAMAGED = ".rows", ".part", ".bin", ".damaged"
_TEXT = frozenset(c.name for c in COLUMNS if c.categorical)


class Journal:
    """Appends the rows of one open window to a file: safe from `kill -9` as soon as `append` returns.

    They are in the system's memory then, not yet on the medium: a power cut may take the last half minute.
    """

    def __init__(self, folder: Path, about: Mapping[str, str]) -> None:
        """Open a journal for a window whose metadata ``about`` has ``replica`` and ``start``. Raises OSError."""
        folder.mkdir(parents=True, exist_ok=True)
        self.path = journal_path(folder, about)
        while True:
            self._file = self.path.open("ab", buffering=0)
            fcntl.flock(self._file, fcntl.LOCK_EX)
            if os.fstat(self._file.fileno()).st_nlink:
                break
            self._file.close()  # a replica that just started took it for abandoned, before we had the lock
        self._write(dict(about))

    def append(self, table: Table) -> None:
        """Keep the rows of ``table``. Raises OSError when they cannot be written; later ones are kept all the same."""
        self._write({name: v.tolist() if name in _TEXT else _packed(v) for name, v in table.items()})

    def close(self) -> None:
        self._file.close()

    def _write(self, record: dict[str, object]) -> None:
        # The newline comes first, so that a record cut short by a full disk spoils no other one.
        data = memoryview(b"\n" + json.dumps(record).encode())
        while data:
            data = data[self._file.write(data) :]


def journal_path(folder: Path, about: Mapping[str, str]) -> Path:
    """Where the journal of the window with metadata ``about`` lies."""
    start = datetime.fromisoformat(about["start"])
    return folder / Path(tracking.window_name(start, about["replica"])).with_suffix(JOURNAL)


def finish(journal: Path, profile: Profile) -> None:
    """Close a window: put ``profile`` (metadata with ``end`` and ``replica``) on disk in place of its ``journal``.

    Raises:
        OSError: the profile cannot be written; the journal is then still there.
    """
    journal.parent.mkdir(parents=True, exist_ok=True)
    draft = journal.with_suffix(DRAFT)
    with draft.open("wb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(profile.to_bytes())
        file.flush()
        os.fsync(file.fileno())
        journal.unlink(missing_ok=True)
        _name(draft, profile)


def recover(folder: Path) -> int:
    """Make windows of what dead processes left in ``folder``; returns the rows saved from journals."""
    rows = 0
    for path in sorted(folder.glob(f"*{JOURNAL}")):
        with suppress(FileNotFoundError), path.open("rb") as file:
            if _abandoned(file):
                rows += _replay(path, file)
    for draft in sorted(folder.glob(f"*{DRAFT}")):
        with suppress(FileNotFoundError), draft.open("rb") as file:
            if not draft.with_suffix(JOURNAL).exists() and _abandoned(file):
                _complete(draft)
    return rows


def _replay(path: Path, file: BinaryIO) -> int:
    records = list(_records(file))
    tables = [record for record in records if set(record) == {c.name for c in COLUMNS}]
    about = next((record for record in records if "replica" in record), None)
    if about is None or not tables:  # killed before the first row
        path.unlink()
        return 0
    builder = ProfileBuilder()
    for table in tables:
        builder.track({n: np.asarray(v, np.str_) if n in _TEXT else _unpacked(v) for n, v in table.items()})
    end = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    finish(path, builder.build(**{str(k): str(v) for k, v in about.items()}, end=end.isoformat()))
    return builder.rows


def _packed(values: NDArray[np.float64]) -> str:
    """To write a number in decimal takes longer than to profile it."""
    return b64encode(values.astype("<f8").tobytes()).decode("ascii")


def _unpacked(column: Any) -> NDArray[np.float64]:
    """A column of `_packed`, or a list of numbers, as journals of older versions have it."""
    return np.frombuffer(b64decode(column), "<f8") if isinstance(column, str) else np.asarray(column, np.float64)


def _records(file: BinaryIO) -> Iterator[dict[str, Any]]:
    for line in file:
        with suppress(ValueError):  # the last one may be cut short
            record = json.loads(line)
            if isinstance(record, dict):
                yield record


def _complete(draft: Path) -> None:
    try:
        profile = from_bytes(draft.read_bytes())
        _name(draft, profile)
    except (ValueError, KeyError):
        draft.replace(draft.with_suffix(DAMAGED))


def _name(draft: Path, profile: Profile) -> None:
    end = datetime.fromisoformat(profile.metadata["end"])
    with suppress(FileNotFoundError):  # a replica that just started took it for abandoned, and did the same
        draft.replace(draft.with_name(tracking.window_name(end, profile.metadata["replica"])))


def _abandoned(file: BinaryIO) -> bool:
    """Whether nobody writes ``file`` any more; it is ours then until it is closed."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return os.fstat(file.fileno()).st_nlink > 0  # else its writer has just finished with it
