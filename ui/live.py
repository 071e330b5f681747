"""The live tab: what the camera shows is classified while it is shown, and forgotten at once."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr

from ui.answer import answer_html, error_html, plain_html
from ui.texts import Texts

if TYPE_CHECKING:
    from fastapi import FastAPI

    from ui.api import Api

WIDTH = 320
"""Pixels across that the camera is asked for: ten times what the network reads, and small enough to send as PNG."""


def lay_out(texts: Texts) -> None:
    """The tab's contents, inside a Gradio Tab."""
    gr.Markdown(texts.live_intro)
    faults = json.dumps(
        {
            **texts.camera_faults,
            "SignedOut": texts.signed_out,
            "Unanswered": texts.problems["unreachable"],
            "other": texts.live_failed,
        }
    )
    gr.HTML(
        "",
        html_template=f'<div class="live" data-faults="{escape(faults)}">'
        f'<div><video data-width="{WIDTH}" autoplay muted playsinline aria-label="{escape(texts.camera)}"></video>'
        f'<button type="button" class="pause" aria-pressed="false" data-on="{escape(texts.go_on)}" '
        f'data-off="{escape(texts.pause)}">{escape(texts.pause)}</button></div>'
        f'<div><div class="answer">{plain_html(texts.looking, "busy")}</div>'
        f'<p class="forgotten">{escape(texts.live_forgotten)}</p><p class="spoken" role="status"></p></div></div>',
        js_on_load=script("live.js"),
        apply_default_css=False,
        padding=False,
        elem_id="live",
    )


def script(name: str) -> str:
    """The camera's JavaScript followed by that of the file ``name`` beside this one."""
    return "\n".join(Path(__file__).with_name(part).read_text(encoding="utf-8") for part in ("camera.js", name))


def add_route(app: FastAPI, path: str, api: Api, texts: Texts) -> None:
    """Answer ``POST path/live``, one encoded photo as the body, with the HTML of its answer, or of an error.

    No event of Gradio's: those upload to a file first and keep it for an hour.
    """
    from fastapi import Request
    from fastapi.responses import HTMLResponse

    async def look(request: Request) -> HTMLResponse:
        try:
            return HTMLResponse(answer_html(await api.classify(await request.body(), live=True), texts))
        except Exception as error:
            return HTMLResponse(error_html(error, texts))

    # The annotation is a string here, and FastAPI would look for the name among this module's.
    look.__annotations__["request"] = Request
    app.add_api_route(f"{path}/live", look, methods=["POST"], response_model=None, include_in_schema=False)
