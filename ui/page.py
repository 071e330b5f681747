"""The page: a photo in, an answer in words and bars out, and one click to say whether it was right."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ui.answer import answer_html, plain_html
from ui.api import Api, OwnerApi
from ui.events import LISTEN, Updates, or_error
from ui.examples import data_uri, draw_all, png_bytes
from ui.texts import ENGLISH, LABEL_LENGTH, Texts

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI
    from PIL import Image

OTHER = "*"
"""The dropdown's value for a class that is not in the list."""
ICON = "ship"
"""The example that is also the browser tab's icon."""
CACHE_SECONDS = 3600
"""Age at which the page's temporary copies of photos are deleted."""


@dataclass(frozen=True, eq=False, slots=True)
class Parts:
    """The components of one page that its events read or write."""

    prediction: gr.State
    photo: gr.Image
    submit: gr.Button
    examples: dict[str, gr.Button]
    answer: gr.HTML
    question: gr.Markdown
    right: gr.Button
    choice: gr.Dropdown
    name: gr.Textbox
    wrong: gr.Button
    status: gr.HTML
    models: gr.HTML


def build(api: Api, texts: Texts = ENGLISH, examples: Mapping[str, Image.Image] | None = None) -> gr.Blocks:
    """The page as Gradio Blocks over ``api``; nothing is called before somebody opens it.

    ``examples`` maps a key of ``texts.example_names`` to an RGB picture; default: those that `ui.examples` draws.
    Use `mount` to serve it: looks and privacy are options of mounting.
    """
    # Gradio sums up its queue with pandas after every event, for a page that we switch off: milliseconds and memory.
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))
    import gradio as gr

    pictures = draw_all() if examples is None else examples
    cache = (CACHE_SECONDS // 6, CACHE_SECONDS)
    with gr.Blocks(title=texts.title, analytics_enabled=False, delete_cache=cache) as demo:
        gr.HTML(f"<style>{_example_css(pictures)}</style>", padding=False, elem_classes="unseen")
        gr.Markdown(f"# {texts.title}\n\n{texts.intro}", elem_id="intro")
        if isinstance(api, OwnerApi):
            from ui import captures

            with gr.Tabs():
                with gr.Tab(texts.classify_tab):
                    parts = _lay_out(texts, pictures)
                corner = captures.lay_out(texts)
            captures.wire(demo, corner, api, texts)
            _take_uploads_only(demo, corner.photos)
        else:
            parts = _lay_out(texts, pictures)
        _wire(demo, parts, api, texts)
        for name, button in parts.examples.items():
            button.click(partial(pictures.__getitem__, name), None, parts.photo, **LISTEN)
    _take_uploads_only(demo, parts.photo)
    return demo


def _take_uploads_only(demo: gr.Blocks, files: gr.Image | gr.File) -> None:
    """A request may name an uploaded file, but no other file of this machine and no address to fetch a photo from."""
    from gradio.exceptions import InvalidPathError

    # Gradio checks paths only once this is set, which `launch` does and mounting forgets.
    demo.has_launched = True
    keep = files.async_move_resource_to_block_cache

    async def keep_local(url_or_file_path: str | Path | None) -> str | None:
        if "://" in str(url_or_file_path):
            raise InvalidPathError(f"{url_or_file_path} was not uploaded by a user.")
        return await keep(url_or_file_path)

    files.async_move_resource_to_block_cache = keep_local  # type: ignore[method-assign]


def _lay_out(texts: Texts, pictures: Mapping[str, Image.Image]) -> Parts:
    import gradio as gr

    with gr.Row(elem_id="columns"):
        with gr.Column(min_width=300):
            photo = gr.Image(
                type="filepath",
                image_mode=None,
                format="png",  # of webcam captures and examples; an uploaded file stays as it is
                sources=["upload", "webcam", "clipboard"],
                webcam_options=gr.WebcamOptions(mirror=False),
                buttons=[],
                height=320,
                label=texts.photo,
                placeholder=texts.photo_placeholder,
                alt_text=texts.photo_alt,
                elem_id="photo",
            )
            submit = gr.Button(texts.classify, variant="primary", elem_id="classify")
            gr.Markdown(texts.examples, elem_id="examples-title")
            with gr.Row(elem_id="examples"):
                examples = {
                    name: gr.Button(texts.example_names[name], elem_id=f"example-{name}", min_width=60)
                    for name in pictures
                }
        with gr.Column(min_width=300):
            gr.Markdown(f"## {texts.answer}", elem_id="answer-title")
            answer = gr.HTML(plain_html(texts.waiting), padding=False, elem_id="answer")
            question = gr.Markdown(f"## {texts.was_it_right}", elem_id="question")
            right = gr.Button(texts.right, interactive=False, elem_id="right")
            choice = gr.Dropdown(
                choices=[(texts.something_else, OTHER)],
                value=None,
                label=texts.correction,
                info=texts.correction_info,
                interactive=False,
                elem_id="correction",
            )
            name = gr.Textbox(
                label=texts.new_class,
                info=texts.new_class_info,
                max_length=LABEL_LENGTH,
                visible=False,
                elem_id="new-class",
            )
            wrong = gr.Button(texts.wrong, interactive=False, elem_id="wrong")
            status = gr.HTML("", padding=False, elem_id="status")
    models = gr.HTML("", padding=False, elem_id="models")
    return Parts(gr.State(None), photo, submit, examples, answer, question, right, choice, name, wrong, status, models)


def _wire(demo: gr.Blocks, parts: Parts, api: Api, texts: Texts) -> None:
    import gradio as gr

    async def tags() -> Updates:
        return {parts.models: plain_html(texts.models.format(**(await api.labels())["models"]))}

    async def answered(path: str) -> Updates:
        prediction = await api.classify(await asyncio.to_thread(Path(path).read_bytes))
        refused = not prediction["in_distribution"]
        choices = [(texts.listed(label), label) for label in prediction["probabilities"]]
        return {
            parts.prediction: prediction["prediction_id"],
            parts.answer: answer_html(prediction, texts),
            parts.question: f"## {texts.was_refusing_right if refused else texts.was_it_right}",
            parts.right: gr.update(value=texts.right_to_refuse if refused else texts.right, interactive=True),
            parts.choice: gr.update(
                choices=[*choices, (texts.something_else, OTHER)],
                value=prediction["best_guess"] if refused else None,
                interactive=True,
            ),
            parts.wrong: gr.update(interactive=True),
        }

    async def stored(prediction_id: str, label: str | None) -> Updates:
        record = await api.feedback(prediction_id, label is None, label)
        return {parts.status: plain_html(texts.stored.format(id=record["id"]), "done")}

    async def opened() -> Updates:
        return await or_error(tags(), parts.models, texts)

    def cleared(file: Mapping[str, Any] | None) -> Updates:
        return {
            parts.prediction: None,
            parts.answer: plain_html(texts.looking, "busy") if file else plain_html(texts.waiting),
            parts.name: gr.update(value="", visible=False),
            parts.status: "",
            **{part: gr.update(interactive=False) for part in (parts.right, parts.choice, parts.wrong)},
        }

    async def classify(file: Mapping[str, Any] | None) -> Updates:
        return await or_error(answered(file["path"]), parts.answer, texts) if file else {parts.answer: gr.skip()}

    async def confirm(prediction_id: str) -> Updates:
        return await or_error(stored(prediction_id, None), parts.status, texts)

    async def correct(prediction_id: str, chosen: str | None, written: str) -> Updates:
        label = written.strip() if chosen == OTHER else chosen
        if not label:
            hint = texts.choose_first if chosen is None else texts.name_first
            return {parts.status: plain_html(hint, "error")}
        return await or_error(stored(prediction_id, label), parts.status, texts)

    verdict = [parts.prediction, parts.choice, parts.name]
    shown = [parts.answer, parts.question, parts.right, parts.wrong, parts.status, *verdict]
    demo.load(opened, None, parts.models, js=_announce(texts.language), **LISTEN)
    # Without preprocessing our code gets the uploaded file itself, so that the service decodes the page's photos
    # exactly as anyone else's. After quick changes of photo the last one is the one that is answered.
    photo = {"inputs": parts.photo, "outputs": shown, "preprocess": False, "trigger_mode": "always_last", **LISTEN}
    gr.on([parts.photo.change, parts.submit.click], cleared, **photo).then(classify, **photo)
    parts.choice.change(lambda chosen: gr.update(visible=chosen == OTHER), parts.choice, parts.name, **LISTEN)
    parts.right.click(confirm, parts.prediction, parts.status, **LISTEN)
    gr.on([parts.wrong.click, parts.name.submit], correct, verdict, parts.status, **LISTEN)


def mount(
    app: FastAPI,
    api: Api,
    path: str = "/ui",
    *,
    texts: Texts = ENGLISH,
    root_path: str | None = None,
    max_file_bytes: int | None = None,
) -> FastAPI:
    """Serve the page of ``api`` at ``path`` of ``app``, with our looks and nothing loaded from or sent to elsewhere.

    ``root_path`` is the page's public address or path when a proxy changes it; default: ``path``.
    ``max_file_bytes`` refuses larger uploads before they are kept on disk. Also answers ``/favicon.ico``.
    """
    import gradio as gr
    from fastapi import Response

    icon = png_bytes(draw_all()[ICON].resize((64, 64)))
    app.add_api_route(
        "/favicon.ico", lambda: Response(icon, media_type="image/png"), response_model=None, include_in_schema=False
    )
    return gr.mount_gradio_app(
        app,
        build(api, texts),
        path=path,
        root_path=path if root_path is None else root_path,
        theme=_theme(),
        css=Path(__file__).with_name("page.css").read_text(encoding="utf-8"),
        footer_links=[],
        run_history=False,
        enable_monitoring=False,
        mcp_server=False,
        ssr_mode=False,
        pwa=False,
        max_file_size=max_file_bytes,
    )


def _theme() -> gr.themes.Base:
    """Gradio's default colours in the system's own fonts, so that no font is fetched."""
    import gradio as gr

    fonts = [gr.themes.Font(name) for name in ("system-ui", "-apple-system", "Segoe UI", "Roboto", "sans-serif")]
    return gr.themes.Default(
        primary_hue="blue", font=fonts, font_mono=[gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")]
    )


def _example_css(pictures: Mapping[str, Image.Image]) -> str:
    return "".join(
        f"#example-{name} {{ background-image: url({data_uri(picture)}) }}" for name, picture in pictures.items()
    )


def _announce(language: str) -> str:
    """JavaScript that tells screen readers the page's language and which regions change."""
    return f"""() => {{
        document.documentElement.lang = {language!r};
        for (const id of ["answer", "status"]) {{
            document.getElementById(id)?.setAttribute("role", "status");
            document.getElementById(id)?.setAttribute("aria-live", "polite");
        }}
    }}"""
