"""The page: its tabs, who sees which, and how it is served."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ui.answer import plain_html
from ui.api import Api, OwnerApi
from ui.events import LISTEN, Updates, or_error
from ui.examples import data_uri, draw_all, png_bytes
from ui.importing import import_gradio
from ui.texts import ENGLISH, Texts

if TYPE_CHECKING:
    import gradio as gr
    from fastapi import FastAPI
    from PIL import Image

ICON = "ship"
"""The example that is also the browser tab's icon."""
CACHE_SECONDS = 3600
"""Age at which the page's temporary copies of photos are deleted."""


def build(
    api: Api,
    texts: Texts = ENGLISH,
    examples: Mapping[str, Image.Image] | None = None,
    owner: OwnerApi | None = None,
    max_file_bytes: int | None = None,
) -> gr.Blocks:
    """The page as Gradio Blocks over ``api``; nothing is called before somebody opens it.

    ``examples`` maps a key of ``texts.example_names`` to an RGB picture; default: those that `ui.examples` draws.
    With ``owner`` there are more tabs, which only the owner sees; of files above ``max_file_bytes`` the page says
    that they are too large. Use `mount` to serve it: looks, privacy and the live
    tab's answers belong to mounting.
    """
    # Gradio sums up its queue with pandas after every event, for a page that we switch off: milliseconds and memory.
    os.environ.setdefault("GRADIO_ANALYTICS_CACHE_FREQUENCY", str(10**9))
    import_gradio()
    import gradio as gr

    from ui import classify, live

    pictures = draw_all() if examples is None else examples
    cache = (CACHE_SECONDS // 6, CACHE_SECONDS)
    with gr.Blocks(title=texts.title, analytics_enabled=False, delete_cache=cache) as demo:
        gr.HTML(f"<style>{_example_css(pictures)}{_word_css(texts)}</style>", padding=False, elem_classes="unseen")
        gr.Markdown(f"# {texts.title}\n\n{texts.intro}", elem_id="intro")
        with gr.Tabs():
            with gr.Tab(texts.classify_tab):
                asking = classify.lay_out(texts, pictures)
            with gr.Tab(texts.live_tab, render_children=True):
                live.lay_out(texts)
            if owner is not None:
                from ui.owner import add_tabs

                _take_uploads_only(demo, add_tabs(demo, api, owner, texts))
        classify.wire(asking, pictures, api, texts)
        models = gr.HTML("", padding=False, elem_id="models")

        async def tags() -> Updates:
            return {models: plain_html(texts.models.format(**(await api.labels())["models"]))}

        async def opened() -> Updates:
            return await or_error(tags(), models, texts)

        demo.load(opened, None, models, js=_announce(texts, max_file_bytes), **LISTEN)
    _take_uploads_only(demo, asking.photo)
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


def mount(
    app: FastAPI,
    api: Api,
    path: str = "/ui",
    *,
    owner: OwnerApi | None = None,
    texts: Texts = ENGLISH,
    root_path: str | None = None,
    max_file_bytes: int | None = None,
) -> FastAPI:
    """Serve the page of ``api`` at ``path`` of ``app``, with our looks and nothing loaded from or sent to elsewhere.

    ``owner`` adds the owner's tabs. ``root_path`` is the page's public address or path when a proxy changes it;
    default: ``path``. ``max_file_bytes`` refuses larger uploads before they are kept on disk. Also answers the live
    tab and ``/favicon.ico``.
    """
    import_gradio()
    import gradio as gr
    from fastapi import Response

    from ui import live

    live.add_route(app, path, api, texts)
    if owner is not None:
        from ui import monitor

        monitor.add_route(app, path, owner, texts)
    icon = png_bytes(draw_all()[ICON].resize((64, 64)))
    app.add_api_route(
        "/favicon.ico", lambda: Response(icon, media_type="image/png"), response_model=None, include_in_schema=False
    )
    return gr.mount_gradio_app(
        app,
        build(api, texts, owner=owner, max_file_bytes=max_file_bytes),
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
    mono = [gr.themes.Font("ui-monospace"), gr.themes.Font("monospace")]
    theme = gr.themes.Default(primary_hue="blue", font=fonts, font_mono=mono)
    # A shade darker than Gradio's, on which white is hard to read.
    return theme.set(
        button_primary_background_fill="*primary_600",
        button_primary_background_fill_dark="*primary_600",
        button_primary_background_fill_hover="*primary_700",
        button_primary_background_fill_hover_dark="*primary_700",
    )


def _example_css(pictures: Mapping[str, Image.Image]) -> str:
    return "".join(
        f"#example-{name} {{ background-image: url({data_uri(picture)}) }}" for name, picture in pictures.items()
    )


def _word_css(texts: Texts) -> str:
    """What stands beside Gradio's bare icons of a file and a camera."""
    return f":root {{ --word-file: {json.dumps(texts.from_file)}; --word-camera: {json.dumps(texts.from_camera)} }}"


def _announce(texts: Texts, max_file_bytes: int | None) -> str:
    """JavaScript for the opened page: its language, which regions speak, and a sentence when it is cut off."""
    script = Path(__file__).with_name("page.js").read_text(encoding="utf-8")
    words = {
        "language": texts.language,
        "signedOut": texts.signed_out,
        "gone": texts.problems["unreachable"],
        "noPhoto": texts.no_photo_file,
        "tooHeavy": texts.too_heavy.format(megabytes=(max_file_bytes or 0) // 1_000_000),
        "maxBytes": max_file_bytes,
        "cameraFaults": dict(texts.camera_faults),
    }
    return f"() => {{ const texts = {json.dumps(words)};\n{script} }}"
