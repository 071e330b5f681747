"""The heat map as a picture and as a sentence."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from ui.heat import SIDE, heat_html, hottest, picture
from ui.texts import ENGLISH


def one_hot(row: int, column: int, size: int = 7) -> list[list[float]]:
    return [[2.0 if (r, c) == (row, column) else 0.0 for c in range(size)] for r in range(size)]


@pytest.mark.parametrize(
    ("row", "column", "where"),
    [(0, 0, "upper left"), (0, 3, "upper middle"), (3, 3, "middle"), (3, 6, "right"), (6, 6, "lower right")],
)
def test_the_hottest_part_has_a_name(row: int, column: int, where: str) -> None:
    assert ENGLISH.regions[hottest(one_hot(row, column))] == where


def test_the_picture_is_bright_where_it_is_hot() -> None:
    heat = picture(one_hot(1, 5))
    assert (heat.mode, heat.size) == ("RGBA", (SIDE, SIDE))
    grey = heat.convert("RGB").convert("L")
    brightest = max(((x, y) for x in range(SIDE) for y in range(SIDE)), key=grey.getpixel)
    center = ((4 + 4 * 5) * SIDE / 32, (4 + 4 * 1) * SIDE / 32)  # of the hidden square, in the photo
    assert max(abs(a - b) for a, b in zip(brightest, center, strict=True)) <= 8
    assert grey.getpixel((10, SIDE - 10)) < 10 < grey.getpixel(tuple(map(round, center)))


def test_below_zero_is_as_dark_as_zero() -> None:
    rows = one_hot(0, 0)
    rows[6][6] = -5.0
    assert picture(rows).tobytes() == picture(one_hot(0, 0)).tobytes()


def test_the_html_names_the_place_and_escapes() -> None:
    html = heat_html({"label": '<b>"', "heat": one_hot(6, 3)}, 'x" onerror="alert(1)', ENGLISH)
    assert "lower middle" in html
    assert "<b>" not in html
    assert 'onerror="' not in html
    data = html.partition('src="data:image/png;base64,')[2].partition('"')[0]
    assert Image.open(io.BytesIO(base64.b64decode(data))).size == (SIDE, SIDE)


def test_where_nothing_decides_it_says_so() -> None:
    html = heat_html({"label": "cat", "heat": [[-1.0, 0.05], [0.0, 0.01]]}, "x", ENGLISH)
    assert "No single part" in html
    assert "<img" not in html
