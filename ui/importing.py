"""Gradio's import, at half of its price."""

from __future__ import annotations

import inspect
from typing import Any


def import_gradio() -> None:
    """Import Gradio without the type stubs for editors that it works out, and writes beside its own modules, each time.

    They are two and a half of its six seconds. It makes none for a class that is in no file, as its own pretend to be
    meanwhile.
    """
    getfile = inspect.getfile

    def unless_gradios(of: Any) -> str:
        if isinstance(of, type) and of.__module__.startswith("gradio."):
            raise FileNotFoundError(of)
        return getfile(of)

    inspect.getfile = unless_gradios  # type: ignore[assignment]
    try:
        import gradio  # noqa: F401
    finally:
        inspect.getfile = getfile
