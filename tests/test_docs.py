"""What is documented is what there is: settings, endpoints, error codes, commands."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

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


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def targets() -> set[str]:
    """Everything that `make` may be asked for by name."""
    makefile = text("Makefile")
    [benches] = re.findall(r"addprefix bench-,([a-z -]+)\)", makefile)
    known = {name for line in re.findall(r"^([a-z][a-z -]*):", makefile, re.M) for name in line.split()}
    return known | {f"bench-{name}" for name in benches.split()}


def test_make_targets_and_pages_name_each_other() -> None:
    written = "\n".join(path.read_text() for path in pages())
    named = set(re.findall(r"(?:`|^ {4})make ([a-z-]+)", written, re.M))
    assert named - targets() == set(), "documented, but not in the Makefile"
    assert targets() - named == set(), "in the Makefile, but not documented"
    assert {"format", "lock", "clean", "bench-gate-training"} <= targets()


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


def sections_about(name: str) -> str:
    """What stands between two headings, where the command ``name`` is named there; its own page may call it short."""
    _, _, room, *rest = name.split()
    short = rf"|`{rest[0]}[` ]" if rest else ""
    found = []
    for path in pages():
        pattern = rf"{name}\b" + (short if path.stem == room else "")
        parts = re.split(r"^(?=#+ )", path.read_text(), flags=re.M)
        found += [part for part in parts if re.search(pattern, part)]
    return "\n".join(found)


@pytest.mark.parametrize(("name", "parser"), commands(), ids=lambda value: value if isinstance(value, str) else "")
def test_every_command_is_documented_and_its_options_beside_it(name: str, parser: argparse.ArgumentParser) -> None:
    written = sections_about(name)
    assert written, name
    options = {o for action in parser._actions for o in action.option_strings if o.startswith("--")} - {"--help"}
    assert sorted(o for o in options if not re.search(rf"{o}(?![\w-])", written)) == []
