"""Progress on standard error: a bar for people at a terminal, a line now and then elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Progress(Protocol):
    """Told what is being done, how many units are done and of how many; ``note`` says where in the work that is."""

    def __call__(self, what: str, done: int, total: int, note: str = "", unit: str = "images") -> None: ...


@contextmanager
def progress_bar() -> Iterator[Progress]:
    """A `Progress` that draws one bar per description, with rate and time left."""
    from rich.console import Console
    from rich.progress import BarColumn, TaskID, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as Bar

    if not sys.stderr.isatty():
        yield _Lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(
            "{task.fields[note]} {task.completed:,.0f}/{task.total:,.0f} {task.fields[unit]}, {task.fields[rate]}"
        ),
        TimeRemainingColumn(),
    )
    with Bar(*columns, console=Console(stderr=True)) as bar:
        tasks: dict[str, tuple[TaskID, float]] = {}

        def show(what: str, done: int, total: int, note: str = "", unit: str = "images") -> None:
            if what not in tasks:
                tasks[what] = (bar.add_task(what, total=total, rate="", note="", unit=unit), time.monotonic())
            task, start = tasks[what]
            rate = done / max(time.monotonic() - start, 1e-9)
            bar.update(task, completed=done, rate=f"{rate:,.0f} {unit}/s", note=note)

        yield show


class _Lines:
    """The same for logs: at most one line in ten seconds, and the last."""

    def __init__(self) -> None:
        self._start: dict[str, float] = {}
        self._shown = time.monotonic()

    def __call__(self, what: str, done: int, total: int, note: str = "", unit: str = "images") -> None:
        now = time.monotonic()
        start = self._start.setdefault(what, now)
        if now == start or (done < total and now - self._shown < 10):
            return
        self._shown = now
        rate = done / max(now - start, 1e-9)
        left = (total - done) / max(rate, 1e-9)
        where = f"{what}, {note}" if note else what
        print(f"{where}: {done:,}/{total:,}, {rate:,.0f} {unit}/s, {left:,.0f} s left", file=sys.stderr, flush=True)
