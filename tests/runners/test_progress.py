"""Progress as people see it at a terminal, and as it stands in a log."""

from __future__ import annotations

import io
import re
import sys
from types import SimpleNamespace

import pytest

from runners import progress
from runners.progress import progress_bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_a_line_in_ten_seconds_and_the_last(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    clock = SimpleNamespace(now=100.0)
    monkeypatch.setattr(progress, "time", SimpleNamespace(monotonic=lambda: clock.now))

    def lines(seconds: float, *what: object, **more: str) -> list[str]:
        clock.now = 100 + seconds
        show(*what, **more)  # type: ignore[arg-type]
        out, err = capsys.readouterr()
        assert out == "", "what a command prints stays its own"
        return err.splitlines()

    with progress_bar() as show:
        assert lines(0, "scoring", 0, 4000) == [], "there is no rate yet"
        assert lines(5, "scoring", 600, 4000) == []
        assert lines(10, "scoring", 1000, 4000) == ["scoring: 1,000/4,000, 100 images/s, 30 s left"]
        assert lines(19, "scoring", 1900, 4000) == []
        assert lines(20, "scoring", 2500, 4000, note="part 3") == [
            "scoring, part 3: 2,500/4,000, 125 images/s, 12 s left"
        ]
        assert lines(21, "scoring", 4000, 4000) == ["scoring: 4,000/4,000, 190 images/s, 0 s left"]
        assert lines(30, "reading", 0, 10, unit="files") == [], "what is new has a rate of its own"
        assert lines(32, "reading", 10, 10, unit="files") == ["reading: 10/10, 5 files/s, 0 s left"]


def test_a_terminal_gets_a_bar_for_each_kind_of_work(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "140")
    monkeypatch.delenv("NO_COLOR", raising=False)
    with progress_bar() as show:
        show("scoring", 0, 4000)
        show("scoring", 1500, 4000, note="part 3")
        show("reading", 10, 10, unit="files")
    drawn = terminal.getvalue()
    assert drawn.endswith("\x1b[?25h"), "the cursor is back"
    bars = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", drawn).replace("\r", "\n").rstrip().splitlines()[-2:]
    assert re.fullmatch(r"scoring ━+╺?╸?━* part 3 1,500/4,000 images, [\d,]+ images/s +\S+", bars[0].strip()), bars
    assert re.fullmatch(r"reading ━+ +10/10 files, [\d,]+ files/s +0:00:00", bars[1].strip()), bars
