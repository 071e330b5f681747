"""Predictions and errors in words and bars."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest

from ui.answer import answer_html, bars_html, choices_html, error_html, sentence
from ui.api import ApiProblem, as_problem
from ui.texts import ENGLISH, SOMETHING_ELSE


def prediction(**changed: Any) -> dict[str, Any]:
    return {
        "best_guess": "cat",
        "probability": 0.93,
        "probabilities": {"dog": 0.05, "cat": 0.93, "bird": 0.02, "deer": 0.0, "frog": 0.0, "ship": 0.0},
        "in_distribution": True,
        "ood_p_value": 0.4,
        **changed,
    }


def spaced(text: str) -> str:
    """``text`` with plain spaces, for those that keep a number and its % on one line."""
    return text.replace("\N{NO-BREAK SPACE}", " ")


class ServiceError(Exception):
    """Shaped like the service's own error type, which this room does not know."""

    status, code, message = 413, "too_many_bytes", "The file has 11 bytes; at most 10 are taken."


def test_an_accepted_answer_names_class_and_certainty() -> None:
    assert spaced(sentence(prediction(), ENGLISH)) == "A cat, 93 % sure"
    assert "reason" not in answer_html(prediction(), ENGLISH)


def test_a_refused_answer_names_the_best_guess_and_the_reason() -> None:
    refused = prediction(in_distribution=False, ood_p_value=0.02)
    assert sentence(refused, ENGLISH) == "I don’t know this. My best guess would be a cat."
    assert "2 % look as unusual" in spaced(answer_html(refused, ENGLISH))


def test_bars_are_the_five_most_probable_in_order() -> None:
    html = bars_html(prediction()["probabilities"], ENGLISH)
    assert html.count("<li>") == 5
    assert html.index("Cat") < html.index("Dog") < html.index("Bird")
    assert "width:93.0%" in html


def test_every_class_but_the_answer_is_one_click_and_so_is_none_of_them() -> None:
    labels = re.findall(r'data-label="([^"]*)"', choices_html(prediction(), ENGLISH))
    assert labels == ["bird", "deer", "dog", "frog", "ship", SOMETHING_ELSE]


def test_a_refusal_that_was_wrong_means_a_class() -> None:
    labels = re.findall(r'data-label="([^"]*)"', choices_html(prediction(in_distribution=False), ENGLISH))
    assert labels == ["cat", "bird", "deer", "dog", "frog", "ship"]


def test_what_comes_from_outside_is_escaped() -> None:
    evil = "<script>alert(1)</script>"
    html = answer_html(prediction(best_guess=evil, probabilities={evil: 1.0}), ENGLISH)
    html += error_html(ApiProblem("code", evil), ENGLISH)
    assert "<script>" not in html
    assert "&lt;script&gt;" in html


@pytest.mark.parametrize(
    ("probability", "text"),
    [(0.0, "under 1 %"), (0.009, "under 1 %"), (0.01, "1 %"), (0.5, "50 %"), (0.9949, "99 %"), (1.0, "over 99 %")],
)
def test_shares_never_claim_certainty(probability: float, text: str) -> None:
    assert spaced(ENGLISH.share(probability)) == text


def test_an_error_says_what_to_do() -> None:
    html = error_html(ServiceError(), ENGLISH)
    assert "The file has 11 bytes; at most 10 are taken. Save a smaller copy of it and choose that." in html
    assert ENGLISH.problems["unreachable"] in error_html(ApiProblem("unreachable", "refused"), ENGLISH)


def test_an_unforeseen_error_is_logged_and_told(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.ERROR, "ui.answer"):
        html = error_html(KeyError("prediction_id"), ENGLISH)
    assert ENGLISH.unexpected in html
    assert "prediction_id" in caplog.text
    assert "prediction_id" not in html


def test_any_error_with_code_and_message_is_understood() -> None:
    problem = as_problem(ServiceError())
    assert problem is not None
    assert (problem.code, problem.status) == ("too_many_bytes", 413)
    assert as_problem(ValueError("no code")) is None
