"""All words of the page stand in one place, and every template can be filled."""

from __future__ import annotations

import ast
import asyncio
import json
import string
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest

from tests.ui.conftest import ColorApi
from tests.ui.owner import FakeOwner
from ui.examples import draw_all
from ui.texts import ENGLISH, SOMETHING_ELSE, Texts

UI = Path(__file__).resolve().parents[2] / "ui"
TEMPLATES = {
    "known": {"name", "Name", "share"},
    "refused": {"name"},
    "refused_reason": {"share"},
    "percent": {"value"},
    "unnamed": {"label"},
    "stored": {"id"},
    "said_wrong": {"name"},
    "why_there": {"where", "name"},
    "why_nowhere": {"name"},
    "models": {"cnn", "forest"},
    "photo_number": {"number"},
    "captured": {"photos", "folder"},
    "review_counts": {"shown", "matching", "pending"},
    "review_card": {"id", "name"},
    "review_photo": {"id"},
    "review_said": {"name"},
    "review_guess": {"name", "share"},
    "photos_minute": {"n"},
    "feedback_accuracy_of": {"low", "high", "answers"},
    "drift_cell": {"column", "time", "verdict"},
    "drifted": {"p"},
    "not_drifted": {"p"},
    "drift_detail": {"column", "time"},
    "too_heavy": {"megabytes"},
    "retrained": {"tag"},
    "took_back": {"tag"},
    "compared": {"name", "difference", "low", "high", "photos"},
    "balance": {"name", "ratio"},
    "delete_what": {"name"},
    "delete_all": {"answers"},
    "delete_burst_really": {"photos", "folder"},
    "delete_all_really": {"answers"},
    "burst_deleted": {"photos"},
    "feedback_deleted": {"answers", "photos"},
}
SPOKEN = {"label", "info", "placeholder", "alt_text", "value", "title"}


def strings_shown(module: Path) -> list[str]:
    """String literals, f-strings included, that go where Gradio shows them: first arguments and `SPOKEN` keywords."""
    found = []
    for node in ast.walk(ast.parse(module.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.Call):
            continue
        function = ast.unparse(node.func)
        shown: list[ast.expr] = [keyword.value for keyword in node.keywords if keyword.arg in SPOKEN]
        if function.startswith("gr.") or function == "plain_html":
            shown += node.args[:1]
        found += [text for expression in shown for text in literals(expression)]
    return found


def literals(node: ast.AST) -> list[str]:
    """The string literals in ``node``, other than the keys of subscripts."""
    if isinstance(node, ast.Constant):
        return [node.value] if isinstance(node.value, str) and node.value.strip() else []
    parts = [node.value] if isinstance(node, ast.Subscript) else ast.iter_child_nodes(node)
    return [text for part in parts for text in literals(part)]


@pytest.mark.parametrize("name", sorted(path.name for path in UI.glob("*.py") if path.name != "texts.py"))
def test_no_sentence_is_written_outside_texts(name: str) -> None:
    markup = {"<style>", "</style>", "error", "busy", "done", "# ", "## "}
    fonts = {"ui-monospace", "monospace"}
    words = [text for text in strings_shown(UI / name) if text not in markup | fonts]
    assert words == []


def test_the_check_above_finds_sentences(tmp_path: Path) -> None:
    module = tmp_path / "page.py"
    module.write_text('gr.Button("Press me")\ngr.Image(label=f"A {thing}")\nplain_html("Hello")\n')
    assert strings_shown(module) == ["Press me", "A ", "Hello"]


def test_templates_have_exactly_the_names_the_page_fills_in() -> None:
    for field in fields(ENGLISH):
        value: Any = getattr(ENGLISH, field.name)
        if isinstance(value, str):
            names = {name for _, name, _, _ in string.Formatter().parse(value) if name}
            assert names <= TEMPLATES.get(field.name, set()), field.name
            assert value.strip() == value
            assert value


def test_one_is_no_plural() -> None:
    for forms, one, many in ((ENGLISH.photos_n, "1 photo", "photos"), (ENGLISH.answers_n, "1 answer", "answers")):
        told = [ENGLISH.counted(forms, n) for n in (0, 1, 2, 1234)]
        assert told == [f"0 {many}", one, f"2 {many}", f"1,234 {many}"]


def test_every_text_is_used() -> None:
    code = "".join(path.read_text(encoding="utf-8") for path in UI.glob("*.py") if path.name != "texts.py")
    code += (UI / "texts.py").read_text(encoding="utf-8").split("ENGLISH")[0]
    for field in fields(ENGLISH):
        assert f"texts.{field.name}" in code or f"self.{field.name}" in code, field.name


def test_every_example_has_a_name_and_a_picture() -> None:
    pictures = draw_all()
    assert set(pictures) == set(ENGLISH.example_names)
    for picture in pictures.values():
        assert picture.mode == "RGB"
        assert len(set(picture.resize((16, 16)).get_flattened_data())) > 2


def shouted(value: Any) -> Any:
    """A text in another language: capitals; what the page fills in stays."""
    if isinstance(value, Mapping):
        return {key: shouted(text) for key, text in value.items()}
    if isinstance(value, tuple):
        return tuple(map(shouted, value))
    parts = string.Formatter().parse(value)
    return "".join(words.upper() + (f"{{{name}}}" if name else "") for words, name, _, _ in parts)


def test_in_another_language_nothing_of_ours_is_english() -> None:
    from ui.page import build

    texts = Texts(**{field.name: shouted(getattr(ENGLISH, field.name)) for field in fields(ENGLISH)})

    async def made() -> dict[str, Any]:  # Gradio expects a loop
        return build(ColorApi(), texts, owner=FakeOwner()).get_config_file()

    page = json.dumps(asyncio.run(made()), ensure_ascii=False, default=str)
    said = [getattr(ENGLISH, field.name) for field in fields(ENGLISH)]
    sentences = [text for text in said if isinstance(text, str) and "{" not in text and text.count(" ") >= 2]
    assert len(sentences) > 40
    assert [text for text in sentences if text in page] == []
    assert sum(text.upper() in page for text in sentences) > 20


def test_classes_without_words_are_shown_by_name() -> None:
    assert ENGLISH.noun("cat") == "a cat"
    assert ENGLISH.noun("bicycle") == "the class “bicycle”"
    assert ENGLISH.listed("bicycle") == "Bicycle"


def test_something_else_is_what_training_takes_for_no_class() -> None:
    from runners import class_names

    assert class_names.SOMETHING_ELSE == SOMETHING_ELSE
