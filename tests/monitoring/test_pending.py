"""Which predictions may still get feedback: bounded by age and by bytes, and a room full of phones is no reason."""

from __future__ import annotations

from monitoring.pending import LEAST, STRETCH, Pending
from tests.serving import predicted

SMALL, LARGE = 10_000, 3_000_000


def kept(pending: Pending, count: int) -> int:
    return sum(pending.get(f"p{number}") is not None for number in range(count))


def fill(pending: Pending, count: int, size: int) -> None:
    for number in range(count):
        pending.add(predicted(prediction_id=f"p{number}"), bytes(size))


def test_what_was_added_comes_back_as_it_was() -> None:
    pending = Pending(60, 1_000_000)
    pending.add(answer := predicted(prediction_id="one"), b"photo")
    found = pending.get("one")
    assert found is not None
    assert (found.prediction, found.data) == (answer, b"photo")
    assert pending.get("two") is None


def test_the_oldest_go_when_the_bytes_are_used_up() -> None:
    pending = Pending(60, 200 * SMALL)
    fill(pending, 400, SMALL)
    assert 150 < kept(pending, 400) < 200
    assert pending.get("p399") is not None
    assert pending.get("p0") is None


def test_a_few_large_photos_may_take_more_but_not_any_number_of_bytes() -> None:
    pending = Pending(60, 64_000_000)
    fill(pending, LEAST, LARGE)
    assert kept(pending, LEAST) == LEAST
    pending = Pending(60, 64_000_000)
    fill(pending, LEAST, 3 * LARGE)
    assert 64_000_000 // (3 * LARGE) < kept(pending, LEAST) <= STRETCH * 64_000_000 // (3 * LARGE)


def test_an_old_one_is_unknown() -> None:
    now = [0.0]
    pending = Pending(60, 1_000_000, clock=lambda: now[0])
    fill(pending, 1, SMALL)
    now[0] = 59.0
    assert pending.get("p0") is not None
    now[0] = 60.0
    assert pending.get("p0") is None
