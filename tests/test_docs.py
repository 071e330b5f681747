"""What is documented is what there is: settings, endpoints, error codes, commands."""

from __future__ import annotations

import argparse
import re

import pytest

import monitoring.__main__
import runners.__main__
import training.__main__
import ui.__main__
from generated import filled
from http_reference import PART, PATH, reference, schema
from settings import ROOT, Settings


def text(name: str) -> str:
    return (ROOT / name).read_text()


def test_every_setting_is_documented_and_no_other() -> None:
    named = set(re.findall(r"^\| `CIFAR_(\w+)`", text("docs/settings.md"), re.M))
    assert named == {name.upper() for name in Settings.model_fields}


def test_the_reference_of_the_api_is_that_of_its_schema() -> None:
    section = reference(schema())
    assert filled(PATH, PART, section) == PATH.read_text(), "run `python -m http_reference`"


def test_every_error_code_is_documented() -> None:
    sources = [*ROOT.glob("http_*.py"), *(ROOT / "runners").glob("*.py"), *(ROOT / "monitoring").glob("*.py")]
    code = "\n".join(path.read_text() for path in sources)
    codes = set(re.findall(r'ApiError\(\s*\d{3},\s*"(\w+)"', code))
    assert len(codes) >= 10
    for name in codes:
        assert f"`{name}`" in text("docs/api.md"), name


def test_every_make_target_of_the_readme_exists() -> None:
    makefile = text("Makefile")
    [benches] = re.findall(r"addprefix bench-,([a-z -]+)\)", makefile)
    known = {name for line in re.findall(r"^([a-z][a-z -]*):", makefile, re.M) for name in line.split()}
    known |= {f"bench-{name}" for name in benches.split()}
    for name in re.findall(r"make ([a-z-]+)", text("README.md")):
        assert name in known, name


def test_links_of_the_readme_lead_somewhere() -> None:
    for link in re.findall(r"\]\(([^)#]+)\)", text("README.md")):
        assert (ROOT / link).exists(), link


def commands() -> list[tuple[str, argparse.ArgumentParser]]:
    """`python -m ...` with its subcommand, and the parser of its options."""
    rooms = (runners.__main__._parser(), training.__main__._parser(), monitoring.__main__._parser())
    found = [("python -m ui", ui.__main__.parser())]
    for parser in rooms:
        [below] = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
        found += [(f"{parser.prog} {name}", options) for name, options in below.choices.items()]
    return found


@pytest.mark.parametrize(("name", "parser"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_and_option_is_documented(name: str, parser: argparse.ArgumentParser) -> None:
    written = "\n".join(path.read_text() for path in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
    assert re.search(rf"{name}\b", written) or f"\n| `{name.split()[-1]}` |" in text("docs/training.md")
    for option in {o for action in parser._actions for o in action.option_strings if o.startswith("--")} - {"--help"}:
        assert re.search(rf"{option}(?![\w-])", written), f"{name} {option}"
