"""The tab that asks and teaches: a photo in, an answer and why out, and one click to say what is right."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import gradio as gr  # at the top, since it finds listeners that take gr.EventData by that name: import us late

from ui.answer import answer_html, choices_html, plain_html, seen_html
from ui.events import LISTEN, Updates, or_error
from ui.heat import heat_html
from ui.texts import Texts

if TYPE_CHECKING:
    from PIL import Image

    from ui.api import Api

# A button of a class is one click, a new class is written and sent off.
_CHOOSE = """
element.addEventListener("click", (event) => {
  const choice = event.target.closest("[data-label]");
  if (choice) trigger("click", { label: choice.dataset.label });
});
element.addEventListener("submit", (event) => {
  event.preventDefault();
  trigger("click", { label: event.target.elements.label.value });
});
"""

_ASK = """() => { document.getElementById("classify").click() }"""

File = Mapping[str, Any] | None
"""An upload as Gradio hands it over without preprocessing: its ``path`` is a copy of ours."""


@dataclass(slots=True)
class Asked:
    """What one person's page is about: the file of the photo and, once answered, its prediction. Kept on the server,
    where an event that took long sees whether its photo is still the one that is looked at."""

    photo: str | None = None
    prediction: str | None = None


@dataclass(frozen=True, eq=False, slots=True)
class Parts:
    """The components of the tab that its events read or write."""

    asked: gr.State
    photo: gr.Image
    submit: gr.Button
    seen: gr.HTML
    examples: dict[str, gr.Button]
    answer: gr.HTML
    why: gr.Button
    heat: gr.HTML
    question: gr.Markdown
    right: gr.Button
    status: gr.HTML
    undo: gr.Button
    choices: gr.HTML


def lay_out(texts: Texts, pictures: Mapping[str, Image.Image]) -> Parts:
    """The tab's contents, inside a Gradio Tab; the style sheet shows only what is of use at the moment."""
    with gr.Row(elem_id="columns"):
        with gr.Column(min_width=300, elem_id="asked"):
            photo = gr.Image(
                type="filepath",
                image_mode=None,
                format="png",  # of webcam captures and examples; an uploaded file stays as it is
                sources=["upload", "webcam"],  # and what is pasted, by page.js
                webcam_options=gr.WebcamOptions(mirror=False),
                buttons=[],
                height=320,
                label=texts.photo,
                show_label=False,
                placeholder=texts.photo_placeholder,
                alt_text=texts.photo_alt,
                elem_id="photo",
            )
            seen = gr.HTML("", padding=False, elem_id="seen")
        with gr.Column(min_width=300, elem_id="told"):
            answer = gr.HTML(plain_html(texts.waiting), padding=False, elem_id="answer")
            submit = gr.Button(texts.classify, size="sm", elem_id="classify")
            why = gr.Button(texts.why, size="sm", elem_id="why")
            heat = gr.HTML("", padding=False, elem_id="heat")
            with gr.Column(elem_id="teach"):
                question = gr.Markdown(f"## {texts.was_it_right}", elem_id="question")
                with gr.Row(elem_id="verdict"):
                    right = gr.Button(texts.right, size="sm", elem_id="right")
                    status = gr.HTML("", padding=False, elem_id="status")
                    undo = gr.Button(texts.undo, visible=False, size="sm", elem_id="undo")
                choices = gr.HTML("", js_on_load=_CHOOSE, padding=False, elem_id="choices")
        with gr.Column(min_width=300, elem_id="drawings"):
            gr.Markdown(texts.examples, elem_id="examples-title")
            with gr.Row(elem_id="examples"):
                examples = {
                    name: gr.Button(texts.example_names[name], elem_id=f"example-{name}", min_width=60)
                    for name in pictures
                }
    return Parts(
        gr.State(Asked()), photo, submit, seen, examples, answer, why, heat, question, right, status, undo, choices
    )


def wire(parts: Parts, pictures: Mapping[str, Image.Image], api: Api, texts: Texts) -> None:
    """Bind the events of the tab."""

    async def answered(path: str, asked: Asked) -> Updates:
        prediction = await api.classify(await _read(path))
        asked.prediction = prediction["prediction_id"]
        refused = not prediction["in_distribution"]
        return {
            parts.answer: answer_html(prediction, texts),
            parts.question: f"## {texts.was_refusing_right if refused else texts.was_it_right}",
            parts.right: texts.right_to_refuse if refused else texts.right,
            parts.choices: choices_html(prediction, texts),
        }

    async def shown(path: str) -> Updates:
        return {parts.seen: seen_html(_uri(await api.preview(await _read(path))), texts)}

    async def explained(path: str) -> Updates:
        explanation = await api.explain(await _read(path))
        return {parts.heat: heat_html(explanation, f"gradio_api/file={quote(path)}", texts)}

    async def stored(prediction_id: str, label: str | None) -> Updates:
        record = await api.feedback(prediction_id, label is None, label)
        said = texts.said_right if label is None else texts.said_wrong.format(name=texts.noun(label))
        sentence = f"{said} {texts.stored.format(id=record['id'])}"
        return {parts.status: plain_html(sentence, "done"), parts.undo: gr.update(visible=True)}

    async def withdrawn(prediction_id: str) -> Updates:
        await api.withdraw(prediction_id)
        return {parts.status: plain_html(texts.withdrawn, "done"), parts.undo: gr.update(visible=False)}

    async def classify(file: File, asked: Asked) -> Updates:
        asked.photo, asked.prediction = file["path"] if file else None, None
        if not file:  # removed, or about to be replaced by the camera's picture
            return {parts.answer: plain_html(texts.waiting)}
        return await or_error(answered(file["path"], asked), parts.answer, texts)

    async def preview(file: File, asked: Asked) -> Updates:
        found = file and asked.prediction  # a photo that could not be classified has had its error
        # Nothing where there is nothing to see: what was asked for a photo before may have come since.
        return await or_error(shown(file["path"]), parts.seen, texts) if file and found else {parts.seen: ""}

    async def explain(file: File, asked: Asked) -> Updates:
        if not file:
            return {parts.heat: ""}
        found = await or_error(explained(file["path"]), parts.heat, texts)
        return found if asked.photo == file["path"] else {parts.heat: gr.skip()}

    async def about(asked: Asked, work: Callable[[str], Awaitable[Updates]]) -> Updates:
        prediction_id = asked.prediction
        if prediction_id is None:  # the server was started anew, or another photo was given at the same moment
            return {parts.status: plain_html(texts.give_again, "error")}

        async def if_still_there() -> Updates:
            done = await work(prediction_id)
            return done if asked.prediction == prediction_id else {parts.status: gr.skip()}  # of another photo by now

        return await or_error(if_still_there(), parts.status, texts)

    async def confirm(asked: Asked) -> Updates:
        return await about(asked, partial(stored, label=None))

    async def correct(asked: Asked, event: gr.EventData) -> Updates:
        label = str(event.label).strip()
        if not label:
            return {parts.status: plain_html(texts.name_first, "error")}
        return await about(asked, partial(stored, label=label))

    async def undo(asked: Asked) -> Updates:
        return await about(asked, withdrawn)

    # A photo is asked about when a person gives it: Gradio tells of a change twice where one replaces another.
    # Without preprocessing our code gets the uploaded file itself, so that the service decodes the page's photos
    # exactly as anyone else's. After quick changes of photo the last one is the one that is answered.
    photo = {"inputs": [parts.photo, parts.asked], "preprocess": False, **LISTEN}
    last = {"trigger_mode": "always_last", **photo}
    changing = [parts.answer, parts.question, parts.right, parts.choices]
    cleaned = [parts.answer, parts.seen, parts.heat, parts.status, parts.undo]
    given = gr.on(
        [parts.photo.input, parts.submit.click], None, parts.photo, cleaned, js=_cleared(texts), **LISTEN
    ).then(classify, outputs=changing, **last)
    given.then(preview, outputs=parts.seen, **last)
    looking = f"() => {json.dumps(plain_html(texts.looking, 'busy'))}"
    parts.why.click(None, None, parts.heat, js=looking, **LISTEN).then(explain, outputs=parts.heat, **photo)
    told = [parts.status, parts.undo]
    parts.right.click(confirm, parts.asked, told, **LISTEN)
    parts.choices.click(correct, parts.asked, told, **LISTEN)
    parts.undo.click(undo, parts.asked, told, **LISTEN)
    for name, button in parts.examples.items():
        button.click(partial(pictures.__getitem__, name), None, parts.photo, **LISTEN).then(None, js=_ASK, **LISTEN)


def _cleared(texts: Texts) -> str:
    """JavaScript that forgets the last answer at once, without asking the server, which is about to be asked."""
    busy, waiting = (json.dumps(plain_html(*said)) for said in ((texts.looking, "busy"), (texts.waiting,)))
    return f'(file) => [file ? {busy} : {waiting}, "", "", "", {{ __type__: "update", visible: false }}]'


async def _read(path: str) -> bytes:
    return await asyncio.to_thread(Path(path).read_bytes)


def _uri(png: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(png).decode()
