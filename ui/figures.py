"""The numbers of the owner's tabs as tiles, bars and tables: plain functions from JSON to HTML."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Any

from ui.answer import plain_html
from ui.texts import Texts

MOST_LABELS = 8


def traffic_html(found: Mapping[str, Any], texts: Texts) -> str:
    """The answer of `OwnerApi.traffic`: tiles, the mix of labels, the confidence as a histogram."""
    feedback = found["feedback"]
    told = (
        texts.feedback_accuracy_of.format(
            low=texts.exact(feedback["low"]),
            high=texts.exact(feedback["high"]),
            answers=texts.counted(texts.answers_n, feedback["answers"]),
        )
        if feedback
        else texts.no_feedback
    )
    tiles = [
        (texts.requests, f"{found['requests']:,}", texts.requests_since),
        (texts.photos, f"{found['photos']:,}", texts.photos_minute.format(n=found["minute"])),
        (texts.refusals, texts.exact(found["refusal_share"]), texts.of_the_hour),
        (texts.confidence, texts.exact(found["confidence"]), texts.of_the_hour),
        (texts.estimated, texts.exact(found["estimated_accuracy"]), texts.estimated_how),
        (texts.feedback_accuracy, texts.exact(feedback["value"] if feedback else None), told),
        (texts.waiting_review, f"{found['counts']['pending']:,}", ""),
    ]
    labels = list(found["labels"].items())[:MOST_LABELS]
    most = max((share for _, share in labels), default=1.0)
    bins = len(found["histogram"])
    confidence = [(f"{100 * i // bins}–{100 * (i + 1) // bins} %", share) for i, share in enumerate(found["histogram"])]
    return (
        f'<dl class="tiles">{"".join(_tile(*tile) for tile in tiles)}</dl>'
        f'<div class="pair"><div><h3>{escape(texts.label_mix)}</h3>'
        f"{share_rows(((texts.listed(label), share) for label, share in labels), texts, most)}</div>"
        f"<div><h3>{escape(texts.confidence_mix)}</h3>{share_rows(confidence, texts)}</div></div>"
    )


def share_rows(rows: Iterable[tuple[str, float]], texts: Texts, top: float = 1.0) -> str:
    """Rows of a name, a bar and a share (0..1); ``top`` is the share of a full bar."""
    items = "".join(
        f'<li><span class="name">{escape(name)}</span> <span class="bar" aria-hidden="true">'
        f'<i style="width:{100 * share / top:.1f}%"></i></span> '
        f'<span class="share">{escape(texts.exact(share))}</span></li>'
        for name, share in rows
    )
    return f'<ol class="bars">{items}</ol>' if items else plain_html(texts.nothing_yet)


def links_html(found: Mapping[str, Any], texts: Texts) -> str:
    """Where there is more to see: the whole report, and MLflow, or how to start its page."""
    report = f'<a href="report" target="_blank" rel="noopener">{escape(texts.full_report)}</a>'
    mlflow = (
        f'<a href="{escape(found["mlflow"])}" target="_blank" rel="noopener">{escape(texts.mlflow)}</a>'
        if found["mlflow"]
        else f'<a href="http://127.0.0.1:5000" target="_blank" rel="noopener">{escape(texts.mlflow)}</a> '
        f"{escape(texts.mlflow_how)}"
    )
    return f'<p class="links">{report} · {mlflow}</p>'


def models_html(models: Sequence[Mapping[str, Any]], texts: Texts) -> str:
    """The networks in the order in which they came, the champion marked."""
    rows = [
        (
            model["tag"] + (f" · {texts.champion}" if model["champion"] else ""),
            model["created"][:16].replace("T", " "),
            _origin(model, texts),
            texts.exact(model["accuracy"]),
        )
        for model in models
    ]
    return table_html((texts.model, texts.created, texts.origin, texts.test_accuracy), rows)


def challengers_html(challengers: Sequence[Mapping[str, Any]], texts: Texts) -> str:
    """Each challenger: whether it was promoted and why, and its difference to the champion on each set of photos."""
    title = f"<h3>{escape(texts.challengers)}</h3>"
    if not challengers:
        return title + plain_html(texts.no_challengers)
    rows = []
    for one in challengers:
        compared = "; ".join(
            texts.compared.format(
                name=c["name"],
                difference=f"{100 * c['difference']:+.2f}",
                low=f"{100 * c['interval'][0]:+.2f}",
                high=f"{100 * c['interval'][1]:+.2f}",
                photos=texts.counted(texts.photos_n, c["photos"]),
            )
            for c in one["comparisons"]
        )
        when = f"{one['run']}, {one['judged'][:16].replace('T', ' ')}"
        rows.append((when, texts.promoted if one["promoted"] else texts.not_promoted, one["reason"], compared))
    return title + table_html((texts.challenger, texts.verdict, texts.because, texts.differences), rows)


def table_html(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A table whose first column names the row; wide ones scroll by themselves."""
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in heads)
    body = "".join(
        f'<tr><th scope="row">{escape(row[0])}</th>{"".join(f"<td>{escape(text)}</td>" for text in row[1:])}</tr>'
        for row in rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="{escape(heads[0])}">'
        f'<table class="plain-table"><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    )


def _tile(name: str, number: str, note: str) -> str:
    return f"<div><dt>{escape(name)}</dt><dd><b>{escape(number)}</b> <span>{escape(note)}</span></dd></div>"


def _origin(model: Mapping[str, Any], texts: Texts) -> str:
    if not model["origin"]:
        return texts.trained
    return (texts.took_back if model["rolled_back"] else texts.retrained).format(tag=model["origin"])
