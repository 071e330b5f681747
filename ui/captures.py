"""The owner's corner of the page: a burst of photos of a class of one's own, straight from the camera."""

from __future__ import annotations

import json
from dataclasses import dataclass
from html import escape

import gradio as gr  # at the top, since it finds listeners that take a gr.Request by that name: import us late

from ui.answer import plain_html
from ui.api import Api, OwnerApi
from ui.events import LISTEN, Updates, for_owner, or_error
from ui.live import script
from ui.status import status_line
from ui.texts import LABEL_LENGTH, Texts

FEWEST, COUNT, MOST = 2, 20, 60
"""Photos of a burst: fewest, default, most."""

# The browser's own list of suggestions, which covers nothing, unlike that of a Gradio dropdown.
_KNOWN = "known-classes"
# Over a slow connection the tab may be opened before its field has come.
_SUGGEST = f"""async () => {{
    let field;
    while (!(field = document.querySelector("#capture-name input"))) await new Promise(requestAnimationFrame);
    field.setAttribute("list", "{_KNOWN}");
}}"""
_BURST = """async (name, count) =>
    [name, count, await document.getElementById("camera").burst(name.trim() ? count : 0)]"""


@dataclass(frozen=True, eq=False, slots=True)
class CaptureParts:
    """The components of the corner. ``photos`` is not shown: it carries the burst, checked by Gradio to be uploads."""

    name: gr.Textbox
    known: gr.HTML
    count: gr.Slider
    take: gr.Button
    status: gr.HTML
    photos: gr.File


def lay_out(texts: Texts) -> CaptureParts:
    """The corner, inside a Gradio Tab."""
    gr.Markdown(texts.add_photos_intro)
    with gr.Row(elem_id="capture"):
        with gr.Column(min_width=300):
            gr.HTML(
                "",
                html_template=_camera_html(texts),
                js_on_load=script("burst.js"),
                apply_default_css=False,
                padding=False,
                elem_id="camera",
            )
        with gr.Column(min_width=300):
            name = gr.Textbox(
                label=texts.capture_name,
                info=texts.capture_name_info,
                max_lines=1,
                max_length=LABEL_LENGTH,
                html_attributes=gr.InputHTMLAttributes(autocapitalize="off", autocorrect="off"),
                elem_id="capture-name",
            )
            known = gr.HTML("", padding=False, elem_classes="unseen")
            count = gr.Slider(FEWEST, MOST, COUNT, step=1, label=texts.capture_count, elem_id="capture-count")
            take = gr.Button(texts.take_burst, variant="primary", elem_id="take-burst")
            status = status_line("capture-status")
            gr.HTML("", html_template=_taken_html(texts), apply_default_css=False, padding=False, elem_id="taken")
    photos = gr.File(file_count="multiple", type="binary", visible=False)
    return CaptureParts(name, known, count, take, status, photos)


def wire(tab: gr.Tab, parts: CaptureParts, api: Api, owner: OwnerApi, texts: Texts) -> gr.events.Dependency:
    """Bind the events; each asks ``owner`` anew whether it comes from the owner. The last event comes back."""

    async def suggested() -> Updates:
        options = "".join(f'<option value="{escape(label)}">' for label in (await api.labels())["classes"])
        return {parts.known: f'<datalist id="{_KNOWN}">{options}</datalist>'}

    async def named() -> Updates:
        return await or_error(suggested(), parts.status, texts)

    def begun(name: str) -> Updates:
        if not name.strip():
            return {parts.status: plain_html(texts.capture_name_first, "error")}
        return {parts.status: plain_html(texts.taking, "busy"), parts.take: gr.update(interactive=False)}

    async def kept(name: str, photos: list[bytes]) -> Updates:
        burst = await owner.capture(name.strip(), photos)
        photos_n = texts.counted(texts.photos_n, burst["photos"])
        sentence = plain_html(texts.captured.format(photos=photos_n, folder=burst["folder"]), "done")
        line = f"{plain_html(texts.classes_line)}<pre>{escape(burst['line'])}</pre>"
        return {parts.status: sentence + line}

    async def taken(name: str, _count: int, photos: list[bytes] | None, request: gr.Request) -> Updates:
        updates: Updates = {parts.status: ""} if name.strip() else {}  # the camera's own line says what went wrong
        if photos:
            updates = await for_owner(lambda: kept(name, photos), request, owner, parts.status, texts)
        return {parts.take: gr.update(interactive=True), **updates}

    shown = [parts.status, parts.take]
    tab.select(named, None, [parts.known, parts.status], js=_SUGGEST, **LISTEN)
    return parts.take.click(begun, parts.name, shown, **LISTEN).then(
        taken, [parts.name, parts.count, parts.photos], shown, js=_BURST, **LISTEN
    )


def _camera_html(texts: Texts) -> str:
    faults = json.dumps({**texts.camera_faults, "other": texts.camera_failed})
    return (
        f'<video data-width="640" autoplay muted playsinline aria-label="{escape(texts.camera)}"></video>'
        f'<p class="error" role="status" data-faults="{escape(faults)}"></p>'
    )


def _taken_html(texts: Texts) -> str:
    return (
        f'<progress value="0" aria-label="{escape(texts.photos_taken)}" hidden></progress>'
        f'<ol data-alt="{escape(texts.photo_number)}" aria-label="{escape(texts.photos_taken)}"></ol>'
    )
