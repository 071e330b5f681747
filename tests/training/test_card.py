"""README.md and MODEL_CARD.md say what the shipped evaluation says, and nothing else can be put there by hand."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest

from generated import MarkerError, filled
from runners.store import RECORD, STARTERS, StoreError
from settings import ROOT
from training import card


@pytest.mark.parametrize("name", card.FILES)
def test_the_results_are_those_that_would_be_generated(name: str) -> None:
    record, evaluation = card.read()
    section = card.FILES[name](record, evaluation)
    assert filled(ROOT / name, card.PART, section) == (ROOT / name).read_text(), "run `python -m training.card`"


def test_the_tables_hold_the_numbers_of_the_record() -> None:
    record, evaluation = card.read()
    table = card.model_card(record, evaluation)
    for name in ("test_accuracy", "test_accuracy_cifar10", "test_accuracy_within_cifar10", "test_refused"):
        assert f"{100 * record.metrics[name]:.1f} %" in table, name
    for name in ("test_nll", "test_brier"):
        assert f"| {record.metrics[name]:.4f} |" in table, name
    assert f"{record.metrics['parameters']:,.0f} parameters" in table
    assert record.tags["cifar_cnn"] in table
    assert table.count("\n| ") > len(evaluation.classes) + 20
    for row in re.findall(r"(?:^\|.*\n)+", table, re.M):  # every table is one: the same columns in all its lines
        assert len({line.count("|") for line in row.splitlines()}) == 1


def test_another_number_changes_the_text() -> None:
    record, evaluation = card.read()
    other = evaluation.model_copy(update={"refused": 0.1234, "accuracy": 0.5})
    for write in card.FILES.values():
        assert write(record, other) != write(record, evaluation)
        assert "12.3 %" in write(record, other)


def test_only_what_is_between_the_markers_is_replaced(tmp_path: Path) -> None:
    document = tmp_path / "x.md"
    document.write_text("# Title\n\n<!-- part -->\nold\n<!-- /part -->\n\nrest\n")
    assert filled(document, "part", "new") == "# Title\n\n<!-- part -->\nnew\n<!-- /part -->\n\nrest\n"
    for broken in ("no markers", "<!-- part --> only", "<!-- /part --> <!-- part -->"):
        document.write_text(broken)
        with pytest.raises(MarkerError, match=r"x\.md: the line <!-- part --> or"):
            filled(document, "part", "new")


def test_an_evaluation_of_another_pair_a_damaged_and_a_missing_one_are_refused(tmp_path: Path) -> None:
    for name in (RECORD, card.EVALUATION):
        shutil.copyfile(STARTERS / name, tmp_path / name)
    record = json.loads((tmp_path / RECORD).read_text())
    record["metrics"]["test_accuracy"] += 0.01
    (tmp_path / RECORD).write_text(json.dumps(record))
    with pytest.raises(card.CardError, match=r"of another pair than record\.json, test_accuracy differs"):
        card.read(tmp_path)
    (tmp_path / card.EVALUATION).write_text("{}")
    with pytest.raises(card.CardError, match="not readable"):
        card.read(tmp_path)
    (tmp_path / card.EVALUATION).unlink()
    with pytest.raises(card.CardError, match="--export"):
        card.read(tmp_path)
    (tmp_path / RECORD).unlink()
    with pytest.raises(StoreError, match="not readable"):
        card.read(tmp_path)
