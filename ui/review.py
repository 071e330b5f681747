"""The review tab: corrections as a grid of cards, to accept, relabel or reject by mouse or by keyboard."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr  # at the top, since it finds listeners that take a gr.Request by that name: import us late

from ui.answer import plain_html
from ui.api import Api, OwnerApi
from ui.events import LISTEN, Updates, for_owner
from ui.status import status_line
from ui.texts import LABEL_LENGTH, Texts

ANY = ""
"""The dropdowns' value for no filter."""
KINDS = ("refused", "unsure", "disagree")


@dataclass(frozen=True, eq=False, slots=True)
class ReviewParts:
    """The components of the tab. ``last`` is the correction that was decided last, for *Undo*."""

    label: gr.Dropdown
    model: gr.Dropdown
    kinds: gr.CheckboxGroup
    status: gr.HTML
    undo: gr.Button
    grid: gr.HTML
    last: gr.State


def lay_out(texts: Texts) -> ReviewParts:
    """The tab's contents, inside a Gradio Tab."""
    gr.Markdown(texts.review_intro)
    with gr.Row(elem_id="review-filters"):
        label = gr.Dropdown([(texts.any_class, ANY)], value=ANY, label=texts.review_class, min_width=150)
        model = gr.Dropdown([(texts.any_model, ANY)], value=ANY, label=texts.review_model, min_width=150)
        kinds = gr.CheckboxGroup(
            [(texts.review_kinds[kind], kind) for kind in KINDS], label=texts.review_only, min_width=420
        )
    with gr.Row(elem_id="review-done"):
        status = status_line("review-status", elem_classes="told")
        undo = gr.Button(texts.undo, visible=False, size="sm", elem_id="review-undo")
    grid = gr.HTML(
        "",
        js_on_load=Path(__file__).with_name("review.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        padding=False,
        elem_id="review",
    )
    return ReviewParts(label, model, kinds, status, undo, grid, gr.State(None))


def wire(tab: gr.Tab, parts: ReviewParts, api: Api, owner: OwnerApi, texts: Texts) -> None:
    """Bind the events of the tab; each asks ``owner`` anew whether it comes from the owner."""

    async def shown(label: str, model: str, kinds: list[str]) -> Updates:
        wanted = {"label": label or None, "model": model or None, **{kind: kind in kinds for kind in KINDS}}
        found = await owner.corrections(wanted)
        classes = (await api.labels())["classes"]
        return {
            parts.grid: grid_html(found, classes, texts),
            parts.label: gr.update(choices=[(texts.any_class, ANY), *_choices(found["labels"], label, texts.listed)]),
            parts.model: gr.update(choices=[(texts.any_model, ANY), *_choices(found["models"], model, str)]),
        }

    async def refreshed(label: str, model: str, kinds: list[str], request: gr.Request) -> Updates:
        return await for_owner(lambda: shown(label, model, kinds), request, owner, parts.status, texts)

    async def decided(label: str, model: str, kinds: list[str], request: gr.Request, event: gr.EventData) -> Updates:
        async def work() -> Updates:
            number, action, name = int(event.id), str(event.action), str(event.label or "").strip()
            if action == "relabel" and not name:
                return {parts.status: plain_html(texts.relabel_first, "error")}
            await owner.review(
                number, "rejected" if action == "reject" else "accepted", name if action == "relabel" else None
            )
            sentence = texts.reviewed[action].format(id=number, name=texts.listed(name))
            return {
                parts.status: plain_html(sentence, "done"),
                parts.undo: gr.update(visible=True),
                parts.last: number,
                **await shown(label, model, kinds),
            }

        return await for_owner(work, request, owner, parts.status, texts)

    async def undone(label: str, model: str, kinds: list[str], last: int, request: gr.Request) -> Updates:
        async def work() -> Updates:
            await owner.review(last, "pending")
            return {
                parts.status: plain_html(texts.reviewed["undo"].format(id=last), "done"),
                parts.undo: gr.update(visible=False),
                **await shown(label, model, kinds),
            }

        return await for_owner(work, request, owner, parts.status, texts)

    filters = [parts.label, parts.model, parts.kinds]
    view = [parts.grid, parts.label, parts.model, parts.status]
    asked = [tab.select, parts.label.input, parts.model.input, parts.kinds.input]
    # Else a filter that is set while the list is on its way would be let fall.
    gr.on(asked, refreshed, filters, view, trigger_mode="always_last", **LISTEN)
    parts.grid.click(decided, filters, [*view, parts.undo, parts.last], **LISTEN)
    parts.undo.click(undone, [*filters, parts.last], [*view, parts.undo], **LISTEN)


def grid_html(found: Mapping[str, Any], classes: list[str], texts: Texts) -> str:
    """The cards of ``found``, an answer of `OwnerApi.corrections`; everything in it is escaped."""
    if not found["items"]:
        return plain_html(texts.nothing_matches if found["pending"] else texts.nothing_pending)
    options = "".join(f'<option value="{escape(label)}">{escape(texts.listed(label))}</option>' for label in classes)
    cards = "".join(_card(item, number == 0, texts) for number, item in enumerate(found["items"]))
    counts = texts.review_counts.format(shown=len(found["items"]), matching=found["matching"], pending=found["pending"])
    return (
        f'<p class="plain">{escape(counts)} <span class="keys">{escape(texts.review_keys)}</span></p>'
        f'<datalist id="review-classes">{options}</datalist>'
        f'<ol class="cards" aria-label="{escape(texts.review_grid)}">{cards}</ol>'
    )


def _card(item: Mapping[str, Any], first: bool, texts: Texts) -> str:
    number = item["id"]
    name = escape(texts.review_card.format(id=number, name=texts.listed(item["label"])))
    photo = (
        f'<img src="{escape(item["thumbnail"])}" alt="{escape(texts.review_photo.format(id=number))}">'
        if item["thumbnail"]
        else f'<p class="missing">{escape(texts.no_photo)}</p>'
    )
    guess = texts.review_guess.format(name=texts.listed(item["best_guess"]), share=texts.share(item["probability"]))
    lines = [f'<p class="said">{escape(texts.review_said.format(name=texts.listed(item["label"])))}</p>']
    lines.append(f"<p>{escape(guess)}{'' if item['in_distribution'] else ' ' + escape(texts.review_refused)}</p>")
    lines += [f"<p>“{escape(item['note'])}”</p>"] if item["note"] else []
    marks = "".join(f"<li>{escape(_mark(item, mark, texts))}</li>" for mark in item["marks"])
    return (
        f'<li data-id="{number}" tabindex="{0 if first else -1}" aria-label="{name}">{photo}{"".join(lines)}'
        + (f'<ul class="marks">{marks}</ul>' if marks else "")
        + f'<div class="actions"><button type="button" data-action="accept">{escape(texts.accept)}</button>'
        f'<button type="button" data-action="reject">{escape(texts.reject)}</button></div>'
        f'<form class="actions"><input name="label" list="review-classes" maxlength="{LABEL_LENGTH}" '
        'autocomplete="off" '
        f'aria-label="{escape(texts.relabel_as)}" placeholder="{escape(texts.relabel_as)}">'
        f"<button>{escape(texts.relabel)}</button></form></li>"
    )


def _mark(item: Mapping[str, Any], mark: str, texts: Texts) -> str:
    others = item[mark] if isinstance(item.get(mark), list | tuple) else ()
    return texts.marks[mark].format(ids=", ".join(str(other) for other in others[:3]) + ", …" * (len(others) > 3))


def _choices(values: list[str], kept: str, name: Any) -> list[tuple[str, str]]:
    """What a dropdown offers; the value that is chosen stays in it, even when the last of its kind is decided."""
    return [(name(value), value) for value in sorted({*values, kept} - {ANY})]
