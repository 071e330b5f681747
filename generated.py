"""The part of a document that a command writes: between the lines ``<!-- NAME -->`` and ``<!-- /NAME -->``."""

from __future__ import annotations

from pathlib import Path


class MarkerError(Exception):
    """A document without the two lines; the message names both."""


def filled(document: Path, name: str, section: str) -> str:
    """The text of ``document`` with ``section`` as its part ``name``; raises `MarkerError`."""
    start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    before, found, rest = document.read_text().partition(start)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise MarkerError(f"{document.name}: the line {start} or {end} is missing")
    return f"{before}{start}\n{section}\n{end}{after}"
