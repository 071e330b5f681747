"""Corrections to one class that contradict the network too often are doubted; honest ones hardly ever are."""

from __future__ import annotations

import numpy as np

from monitoring.suspicion import HONEST, LEVEL, Doubt, doubts


def rows(label: str, suspected: int, honest: int, first: int = 1) -> list[tuple[int, str, bool]]:
    marks = [True] * suspected + [False] * honest
    return [(number, label, doubtful) for number, doubtful in enumerate(marks, first)]


def test_a_class_that_is_lied_about_is_named_with_what_to_look_at() -> None:
    cats = rows("cat", 5, 20)
    dogs = rows("dog", 44, 40, first=100)
    assert doubts([*cats, *dogs]) == [Doubt("dog", 84, tuple(range(100, 144)))]


def test_a_few_suspects_are_chance() -> None:
    assert doubts([]) == []
    assert doubts(rows("cat", 3, 0)) == []
    assert doubts(rows("cat", 30, 70)) == []


def test_honest_corrections_are_doubted_as_seldom_as_stated() -> None:
    rng = np.random.default_rng(0)
    labels = [f"class {number}" for number in range(20)]
    alarms = 0
    for _ in range(500):
        honest = [(n, labels[n % 20], bool(mark)) for n, mark in enumerate(rng.random(400) < HONEST)]
        alarms += bool(doubts(honest))
    assert alarms <= 500 * LEVEL + 3 * (500 * LEVEL) ** 0.5
