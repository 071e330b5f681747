"""How the page's events are bound, and how any of them ends in a sentence when it fails."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import TYPE_CHECKING, Any

from ui.answer import error_html
from ui.texts import Texts

if TYPE_CHECKING:
    import gradio as gr

# Plain requests instead of Gradio's queue: the service has a queue of its own and says when it is full, and
# Gradio's stream of queue events now and then loses one, which leaves the person waiting.
LISTEN: dict[str, Any] = {"api_visibility": "private", "show_progress": "hidden", "queue": False}

Updates = dict["gr.components.Component | gr.Tab", Any]


async def or_error(work: Awaitable[Updates], place: gr.HTML, texts: Texts) -> Updates:
    """What ``work`` gives, or in ``place`` why it failed: whatever it is, the person hears of it."""
    try:
        return await work
    except Exception as error:
        return {place: error_html(error, texts)}
