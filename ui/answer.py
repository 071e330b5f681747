"""A Prediction, or an error, in words and bars: plain functions from JSON to text and HTML."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from html import escape
from typing import Any

from ui.api import as_problem
from ui.texts import LABEL_LENGTH, SOMETHING_ELSE, Texts

TOP = 5
"""Classes shown as bars."""

log = logging.getLogger(__name__)


def sentence(prediction: Mapping[str, Any], texts: Texts) -> str:
    """The answer in words: the class and how sure, or that the gate refused and what the best guess was."""
    name = texts.noun(prediction["best_guess"])
    if not prediction["in_distribution"]:
        return texts.refused.format(name=name)
    return texts.known.format(name=name, Name=name[:1].upper() + name[1:], share=texts.share(prediction["probability"]))


def answer_html(prediction: Mapping[str, Any], texts: Texts) -> str:
    """The answer: sentence, reason when refused, the `TOP` probabilities as a list with bars.

    Everything that comes from the service is escaped.
    """
    label = escape(prediction["best_guess"] if prediction["in_distribution"] else "")
    parts = [f'<p class="sentence" data-label="{label}">{escape(sentence(prediction, texts))}</p>']
    if not prediction["in_distribution"]:
        reason = texts.refused_reason.format(share=texts.share(prediction["ood_p_value"]))
        parts.append(f'<p class="reason">{escape(reason)}</p>')
    return f'<div class="heading">{"".join(parts)}</div>{bars_html(prediction["probabilities"], texts)}'


def choices_html(prediction: Mapping[str, Any], texts: Texts) -> str:
    """A button for each class that the answer may have missed, one for none of them, and a line for a new class.

    The best guess is missing, unless the gate refused; then it comes first, and "something else" is missing, since it
    would call the refusal wrong and say the same.
    """
    best, refused = prediction["best_guess"], not prediction["in_distribution"]
    others = sorted((label for label in prediction["probabilities"] if label != best), key=texts.listed)
    named = [(label, texts.listed(label)) for label in ([best] if refused else []) + others]
    buttons = "".join(
        f'<button type="button" data-label="{escape(label)}">{escape(name)}</button>'
        for label, name in named + ([] if refused else [(SOMETHING_ELSE, texts.something_else)])
    )
    return (
        f'<p id="choices-title">{escape(texts.correction)}</p>'
        f'<div role="group" aria-labelledby="choices-title">{buttons}</div>'
        f"<form><label>{escape(texts.new_class)} "
        f'<input name="label" maxlength="{LABEL_LENGTH}" autocapitalize="off" autocomplete="off" '
        f'placeholder="{escape(texts.new_class_example)}"></label> '
        f"<button>{escape(texts.wrong)}</button></form>"
        f'<p class="plain">{escape(texts.correction_info)}</p>'
    )


def seen_html(uri: str, texts: Texts) -> str:
    """What the network saw, a ``data:`` address of 32×32 pixels, enlarged without smoothing; for `ui.heat` too."""
    style = f"<style>:root {{ --seen: url({uri}) }}</style>"
    caption = f"<figcaption>{escape(texts.seen)}</figcaption>"
    return f'{style}<figure><img src="{uri}" alt="{escape(texts.seen_alt)}">{caption}</figure>'


def bars_html(probabilities: Mapping[str, float], texts: Texts) -> str:
    """The `TOP` of ``probabilities`` (class -> 0..1), largest first; screen readers hear names and shares, not bars."""
    rows = sorted(probabilities.items(), key=lambda item: -item[1])[:TOP]
    items = "".join(
        f'<li><span class="name">{escape(texts.listed(label))}</span> '
        f'<span class="bar" aria-hidden="true"><i style="width:{100 * value:.1f}%"></i></span> '
        f'<span class="share">{escape(texts.share(value))}</span></li>'
        for label, value in rows
    )
    return f'<h3>{escape(texts.probabilities)}</h3><ol class="bars">{items}</ol>'


def plain_html(text: str, kind: str = "plain") -> str:
    """One escaped sentence; ``kind`` (plain, busy, done, error) decides its looks."""
    return f'<p class="{kind}">{escape(text)}</p>'


def error_html(error: Exception, texts: Texts) -> str:
    """What to tell the person about ``error``: its own sentence and what to do; an unforeseen one is logged."""
    problem = as_problem(error)
    if problem is None:
        log.error("the page could not do what was asked", exc_info=error)
        return plain_html(texts.unexpected, "error")
    message = texts.problems.get(problem.code, problem.message)
    advice = texts.advice.get(problem.status, "") if problem.status is not None else ""
    return plain_html(f"{message} {advice}".strip(), "error")
