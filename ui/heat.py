"""Where the network looked, in a picture and in words: plain functions from the API's numbers to HTML."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from PIL import Image

from ui.examples import data_uri
from ui.texts import Texts

SIDE = 256
"""Pixels of the heat map, which the browser stretches over the photo as the network sees it: squashed to a square."""
NOTHING = 0.1
"""Log-odds that no square reaches where no single one decides."""
_RAMP = ((0, 0, 4), (87, 16, 110), (188, 55, 84), (249, 142, 9), (252, 255, 164))  # matplotlib's inferno
_OPACITY = 150


def heat_html(explanation: Mapping[str, Any], photo: str, texts: Texts) -> str:
    """The photo at address ``photo`` under its heat, and a sentence that says the same.

    ``explanation`` is the answer of ``POST /explain``. Where the browser cannot show ``photo``, there is what the
    network saw of it (`ui.answer.seen_html`).
    """
    rows: Sequence[Sequence[float]] = explanation["heat"]
    name = texts.noun(explanation["label"])
    if max(map(max, rows)) < NOTHING:
        return f'<p class="plain">{escape(texts.why_nowhere.format(name=name))}</p>'
    sentence = texts.why_there.format(where=texts.regions[hottest(rows)], name=name)
    return (
        f'<figure class="heat"><div>'
        f'<img src="{escape(photo)}" alt=""><img class="map" src="{data_uri(picture(rows))}" '
        f'alt="{escape(sentence)}"></div>'
        f"<figcaption>{escape(sentence)} {escape(texts.why_legend)}</figcaption></figure>"
    )


def hottest(rows: Sequence[Sequence[float]]) -> int:
    """The ninth of the photo with the hottest square: 0 top left, 1 top middle ... 8 bottom right."""
    size = len(rows)
    row, column = max(((r, c) for r in range(size) for c in range(size)), key=lambda at: rows[at[0]][at[1]])
    return 3 * (3 * row // size) + 3 * column // size


def picture(rows: Sequence[Sequence[float]]) -> Image.Image:
    """``rows`` as an RGBA picture of `SIDE`: bright where it is hot, dark where it is 0 or below.

    Squares of 8 pixels, 4 apart, of 32: the centres of ``rows`` lie an eighth of the picture from its edges.
    """
    size = len(rows)
    highest = max(map(max, rows)) or 1.0
    edged = [
        [rows[min(max(r, 0), size - 1)][min(max(c, 0), size - 1)] for c in range(-1, size + 1)]
        for r in range(-1, size + 1)
    ]
    grid = Image.new("L", (size + 2, size + 2))
    grid.putdata([round(255 * max(0.0, value) / highest) for row in edged for value in row])
    cell = SIDE // (size + 1)
    smooth = grid.resize((cell * (size + 2), cell * (size + 2)), Image.Resampling.BICUBIC)
    inside = smooth.crop((cell // 2, cell // 2, cell // 2 + SIDE, cell // 2 + SIDE))
    heat = inside.convert("P")
    heat.putpalette([part for level in range(256) for part in (*_color(level / 255), _OPACITY)], "RGBA")
    return heat.convert("RGBA")


def _color(level: float) -> tuple[int, int, int]:
    place = level * (len(_RAMP) - 1)
    lower = min(int(place), len(_RAMP) - 2)
    low, high = _RAMP[lower], _RAMP[lower + 1]
    red, green, blue = (round(a + (b - a) * (place - lower)) for a, b in zip(low, high, strict=True))
    return red, green, blue
