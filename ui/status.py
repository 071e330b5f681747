"""The line of a tab that says what happened, to screen readers too."""

from __future__ import annotations

from typing import Any

import gradio as gr

LIVE = '<div role="status" aria-live="polite">${value}</div>'


def status_line(elem_id: str, **options: Any) -> gr.HTML:
    """An empty place whose every new content is read out; ``options``: of `gr.HTML`."""
    return gr.HTML("", html_template=LIVE, padding=False, elem_id=elem_id, **options)
