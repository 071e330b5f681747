"""The monitor tab: live numbers, drift by column and window, and the model's history."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import gradio as gr  # at the top, since it finds listeners that take a gr.Request by that name: import us late

from ui.answer import plain_html
from ui.api import OwnerApi
from ui.drift import detail_html, map_html
from ui.events import LISTEN, Updates, for_owner
from ui.figures import challengers_html, links_html, models_html, traffic_html
from ui.status import status_line
from ui.texts import Texts

if TYPE_CHECKING:
    from fastapi import FastAPI

REFRESH_MS = 3000
"""The live numbers are asked for so often while their tab is open."""


@dataclass(frozen=True, eq=False, slots=True)
class MonitorParts:
    """The components of the tab. ``windows`` is what the drift map was made of, for a click on one of its cells."""

    traffic: gr.HTML
    drift: gr.HTML
    detail: gr.HTML
    history: gr.HTML
    links: gr.HTML
    windows: gr.State


def lay_out(texts: Texts) -> MonitorParts:
    """The tab's contents, inside a Gradio Tab."""
    gr.Markdown(f"## {texts.traffic}\n\n{texts.traffic_intro}")
    traffic = gr.HTML(
        "", js_on_load=f"const REFRESH_MS = {REFRESH_MS};\n{_script('monitor.js')}", padding=False, elem_id="traffic"
    )
    gr.Markdown(f"## {texts.drift}\n\n{texts.drift_intro}")
    drift = gr.HTML("", js_on_load=_script("drift.js"), apply_default_css=False, padding=False, elem_id="drift")
    detail = status_line("drift-detail", apply_default_css=False)
    links = gr.HTML("", padding=False, elem_id="monitor-links")
    gr.Markdown(f"## {texts.history}")
    history = gr.HTML("", apply_default_css=False, padding=False, elem_id="history")
    return MonitorParts(traffic, drift, detail, history, links, gr.State([]))


def wire(tab: gr.Tab, parts: MonitorParts, owner: OwnerApi, texts: Texts) -> None:
    """Bind the events of the tab; each asks ``owner`` anew whether it comes from the owner."""

    async def counted() -> Updates:
        found = await owner.traffic()
        return {parts.traffic: traffic_html(found, texts), parts.links: links_html(found, texts)}

    async def judged() -> Updates:
        windows = await owner.drift()
        return {parts.windows: windows, parts.drift: map_html(windows, texts), parts.detail: ""}

    async def remembered() -> Updates:
        found = await owner.history()
        return {parts.history: models_html(found["models"], texts) + challengers_html(found["challengers"], texts)}

    async def ticked(request: gr.Request) -> Updates:
        return await for_owner(counted, request, owner, parts.traffic, texts)

    async def drifted(request: gr.Request) -> Updates:
        return await for_owner(judged, request, owner, parts.drift, texts)

    async def recalled(request: gr.Request) -> Updates:
        return await for_owner(remembered, request, owner, parts.history, texts)

    async def chosen(windows: list[dict[str, object]], request: gr.Request, event: gr.EventData) -> Updates:
        async def work() -> Updates:
            return {parts.detail: detail_html(windows, int(event.window), str(event.column), texts)}

        return await for_owner(work, request, owner, parts.detail, texts)

    gr.on([tab.select, parts.traffic.submit], ticked, None, [parts.traffic, parts.links], **LISTEN)
    tab.select(drifted, None, [parts.windows, parts.drift, parts.detail], **LISTEN)
    tab.select(recalled, None, parts.history, **LISTEN)
    parts.drift.click(chosen, parts.windows, parts.detail, **LISTEN)


def add_route(app: FastAPI, path: str, owner: OwnerApi, texts: Texts) -> None:
    """Answer ``GET path/report`` with the whole drift report, for the owner; a sentence where there is none."""
    from fastapi import Request
    from fastapi.responses import HTMLResponse

    from ui.answer import error_html
    from ui.api import as_problem

    async def report(request: Request) -> HTMLResponse:
        if not owner.is_owner(request.headers.get("authorization") or ""):
            return HTMLResponse(_page(plain_html(texts.owner_only, "error"), texts), 403)
        try:
            return HTMLResponse(await owner.report())
        except Exception as error:
            problem = as_problem(error)
            return HTMLResponse(_page(error_html(error, texts), texts), (problem and problem.status) or 500)

    # The annotation is a string here, and FastAPI would look for the name among this module's.
    report.__annotations__["request"] = Request
    app.add_api_route(f"{path}/report", report, methods=["GET"], response_model=None, include_in_schema=False)


def _page(body: str, texts: Texts) -> str:
    return f'<!doctype html><html lang="{texts.language}"><title>{texts.full_report}</title>{body}</html>'


def _script(name: str) -> str:
    return Path(__file__).with_name(name).read_text(encoding="utf-8")
