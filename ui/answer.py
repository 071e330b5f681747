"""A Prediction, or an error, in words and bars: plain functions from JSON to text and HTML."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from html import escape
from typing import Any

from ui.api import as_problem
from ui.texts import Texts

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
    parts = [f'<p class="sentence">{escape(sentence(prediction, texts))}</p>']
    if not prediction["in_distribution"]:
        reason = texts.refused_reason.format(share=texts.share(prediction["ood_p_value"]))
        parts.append(f'<p class="reason">{escape(reason)}</p>')
    return "".join([*parts, bars_html(prediction["probabilities"], texts)])


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
