"""The data tab: how many photos each class has, a burst from the camera into one, and deletion."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import gradio as gr  # at the top, since it finds listeners that take a gr.Request by that name: import us late

from ui import captures
from ui.answer import plain_html
from ui.api import Api, OwnerApi
from ui.events import LISTEN, Updates, for_owner
from ui.status import status_line
from ui.texts import Texts


@dataclass(frozen=True, eq=False, slots=True)
class DataParts:
    """The components of the tab."""

    corner: captures.CaptureParts
    classes: gr.HTML
    kept: gr.HTML
    status: gr.HTML


def lay_out(texts: Texts) -> DataParts:
    """The tab's contents, inside a Gradio Tab."""
    gr.Markdown(f"## {texts.add_photos}")
    corner = captures.lay_out(texts)
    gr.Markdown(f"## {texts.classes}\n\n{texts.classes_intro}")
    classes = gr.HTML("", apply_default_css=False, padding=False, elem_id="classes")
    gr.Markdown(f"## {texts.deletion}\n\n{texts.deletion_intro}")
    status = status_line("data-status", elem_classes="told")
    kept = gr.HTML(
        "",
        js_on_load=Path(__file__).with_name("data.js").read_text(encoding="utf-8"),
        apply_default_css=False,
        padding=False,
        elem_id="kept",
    )
    return DataParts(corner, classes, kept, status)


def wire(tab: gr.Tab, parts: DataParts, api: Api, owner: OwnerApi, texts: Texts) -> None:
    """Bind the events of the tab; each asks ``owner`` anew whether it comes from the owner."""
    taken = captures.wire(tab, parts.corner, api, owner, texts)

    async def shown() -> Updates:
        found = await owner.holdings()
        return {parts.classes: classes_html(found["classes"], texts), parts.kept: kept_html(found, texts)}

    async def refreshed(request: gr.Request) -> Updates:
        return await for_owner(shown, request, owner, parts.status, texts)

    async def deleted(request: gr.Request, event: gr.EventData) -> Updates:
        async def work() -> Updates:
            kind, name = str(event.kind), str(event.name or "").strip()
            if kind == "burst":
                photos = await owner.delete_burst(name)
                sentence = texts.burst_deleted.format(photos=texts.counted(texts.photos_n, photos))
            elif kind == "answer" and not name:
                return {parts.status: plain_html(texts.prediction_first, "error")}
            else:
                done = await owner.delete_feedback(name if kind == "answer" else None)
                sentence = texts.feedback_deleted.format(
                    answers=texts.counted(texts.answers_n, done["answers"]),
                    photos=texts.counted(texts.photos_n, done["photos"]),
                )
            return {parts.status: plain_html(sentence, "done"), **await shown()}

        return await for_owner(work, request, owner, parts.status, texts)

    view = [parts.classes, parts.kept, parts.status]
    tab.select(refreshed, None, view, **LISTEN)
    taken.then(refreshed, None, view, **LISTEN)
    parts.kept.click(deleted, None, view, **LISTEN)


def classes_html(classes: Mapping[str, Mapping[str, int]], texts: Texts) -> str:
    """A row per class with its numbers of photos, a bar against the largest, and how uneven they are."""
    totals = {label: sum(parts.values()) for label, parts in classes.items()}
    if not totals:
        return plain_html(texts.nothing_yet)
    largest, smallest = max(totals.values()) or 1, min(totals, key=lambda label: totals[label])
    balance = texts.balance.format(name=texts.listed(smallest), ratio=f"{largest / max(totals[smallest], 1):.1f}")
    rows = "".join(
        f'<tr><th scope="row">{escape(texts.listed(label))}</th>'
        f'<td><span class="bar" aria-hidden="true"><i style="width:{100 * totals[label] / largest:.1f}%"></i></span>'
        "</td>"
        + "".join(f'<td class="number">{parts[kind]:,}</td>' for kind in ("dataset", "captured", "corrections"))
        + "</tr>"
        for label, parts in classes.items()
    )
    heads = "".join(f'<th scope="col">{escape(text)}</th>' for text in (texts.class_name, texts.share_of_largest))
    heads += "".join(
        f'<th scope="col" class="number">{escape(text)}</th>'
        for text in (texts.in_dataset, texts.in_captured, texts.in_corrections)
    )
    return (
        f"{plain_html(balance)}"
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(texts.classes)}">'
        f'<table class="plain-table"><thead><tr>{heads}</tr></thead><tbody>{rows}</tbody></table></div>'
    )


def kept_html(found: Mapping[str, Any], texts: Texts) -> str:
    """What can be deleted: each captured burst, the feedback on one prediction, all feedback."""
    bursts = "".join(_burst(burst["folder"], burst["photos"], texts) for burst in found["bursts"])
    answers = sum(found["feedback"].values())
    counted = texts.counted(texts.answers_n, answers)
    everything = _delete(
        "feedback", "", texts.delete_all_really.format(answers=counted), texts, texts.delete_all.format(answers=counted)
    )
    return (
        f"<h3>{escape(texts.bursts)}</h3>"
        + (f'<ul class="bursts">{bursts}</ul>' if bursts else plain_html(texts.nothing_yet))
        + f"<h3>{escape(texts.feedback)}</h3>"
        f'<form data-kind="answer" data-really="{escape(texts.delete_one_really)}">'
        f"<label>{escape(texts.prediction_id)} "
        f'<input name="name" maxlength="64" autocomplete="off"></label> '
        f'<button class="plain-button danger">{escape(texts.delete)}</button></form>'
        + (f"<p>{everything}</p>" if answers else plain_html(texts.nothing_yet))
    )


def _burst(folder: str, photos: int, texts: Texts) -> str:
    counted = texts.counted(texts.photos_n, photos)
    really = texts.delete_burst_really.format(photos=counted, folder=folder)
    return f"<li><span>{escape(folder)} · {escape(counted)}</span> {_delete('burst', folder, really, texts)}</li>"


def _delete(kind: str, name: str, really: str, texts: Texts, label: str | None = None) -> str:
    spoken = f' aria-label="{escape(texts.delete_what.format(name=name))}"' if name else ""
    return (
        f'<button type="button" class="plain-button danger" data-kind="{kind}" data-name="{escape(name)}" '
        f'data-really="{escape(really)}"{spoken}>{escape(label or texts.delete)}</button>'
    )
