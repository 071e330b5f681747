"""Pieces of the data page: pictures as lossless WebP, bars as HTML, strips of dots and the map as SVG."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from html import escape

import numpy as np

from training.analysis import Group, Source
from training.analysis_map import Point
from training.analysis_survey import SHAPE

_HUES = (212, 28, 135, 340, 50, 270, 180, 0, 92)
_MARKERS = ("m-3 0a3 3 0 1 0 6 0a3 3 0 1 0-6 0", "m-2.6-2.6h5.2v5.2h-5.2z", "m0-3.6l3.5 6h-7z")
_SIGNS = ("●", "■", "▲")
_MAP_WIDTH, _MAP_HEIGHT, _MARGIN = 900.0, 620.0, 8.0
_STRIP_WIDTH, _LANE, _LEFT, _RIGHT = 420.0, 26.0, 70.0, 12.0


def colour(number: int) -> str:
    """The CSS colour of the class or source ``number``; its lightness follows the page's light or dark mode."""
    return f"hsl({_HUES[number % len(_HUES)]} 70% var(--ink))"


def sign(number: int) -> str:
    """The marker of the class ``number``: nine colours in three shapes tell 27 classes apart."""
    return _SIGNS[number // len(_HUES) % len(_SIGNS)]


def picture(pixels: bytes | None, text: str) -> str:
    """32×32 ``pixels``, RGB bytes, as an `img` that is named and hinted by ``text``; a blank box for `None`."""
    label = escape(text)
    if pixels is None:
        return f'<span class="none" role="img" aria-label="{label}" title="{label}">no picture kept</span>'
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(np.frombuffer(pixels, np.uint8).reshape(SHAPE)).save(buffer, "WEBP", lossless=True)
    data = base64.b64encode(buffer.getvalue()).decode()
    return f'<img src="data:image/webp;base64,{data}" alt="{label}" title="{label}" width="64" height="64">'


def stacked_bar(splits: Mapping[str, int], most: int) -> str:
    """A bar of the photos per split, its whole length ``most`` photos."""
    parts = "".join(
        f'<i class="s{i}" style="width:{100 * count / max(most, 1):.2f}%" title="{escape(split)}: {count:,}"></i>'
        for i, (split, count) in enumerate(splits.items())
        if count
    )
    return f'<span class="bar">{parts}</span>'


def strips(statistic: str, groups: Sequence[Group], sources: Mapping[str, Source]) -> str:
    """Each class's mean of ``statistic`` as a dot, a lane per source, over the source's mean and standard deviation."""
    spreads = {name: source.statistics[statistic] for name, source in sources.items()}
    low = min([s.mean - s.sd for s in spreads.values()] + [g.statistics[statistic].mean for g in groups])
    high = max([s.mean + s.sd for s in spreads.values()] + [g.statistics[statistic].mean for g in groups])
    scale = (_STRIP_WIDTH - _LEFT - _RIGHT) / max(high - low, 1e-9)

    def x(value: float) -> float:
        return _LEFT + (value - low) * scale

    parts = []
    for lane, (name, spread) in enumerate(spreads.items()):
        y = (lane + 0.5) * _LANE
        hint = f"{name}: mean {spread.mean:.3f}, standard deviation {spread.sd:.3f}"
        parts.append(
            f'<text x="0" y="{y + 4:.0f}">{escape(name)}</text><g><title>{escape(hint)}</title>'
            f'<rect class="band" x="{x(spread.mean - spread.sd):.1f}" y="{y - 9:.1f}" '
            f'width="{2 * spread.sd * scale:.1f}" height="18" rx="3"/>'
            f'<path class="mean" d="M{x(spread.mean):.1f} {y - 10:.1f}v20"/></g>'
        )
        for group in (g for g in groups if g.source == name):
            mean = group.statistics[statistic].mean
            parts.append(
                f'<circle cx="{x(mean):.1f}" cy="{y:.1f}" r="4" style="fill:{colour(lane)}">'
                f"<title>{escape(group.label)} ({escape(name)}): {mean:.3f}</title></circle>"
            )
    bottom = len(spreads) * _LANE
    ticks = "".join(
        f'<text x="{x(value):.1f}" y="{bottom + 14:.0f}" text-anchor="{anchor}">{value:.2f}</text>'
        for value, anchor in ((low, "start"), ((low + high) / 2, "middle"), (high, "end"))
    )
    label = f"Mean {statistic} of each class, by source"
    return (
        f'<svg viewBox="0 0 {_STRIP_WIDTH:.0f} {bottom + 20:.0f}" role="img" aria-label="{escape(label)}">'
        f"{''.join(parts)}{ticks}</svg>"
    )


def scatter(points: Sequence[Point], labels: Sequence[str]) -> str:
    """The map: a group of markers per class, classed `k0`, `k1`... in the order of ``labels``."""
    across, down = _MAP_WIDTH - 2 * _MARGIN, _MAP_HEIGHT - 2 * _MARGIN
    groups = []
    for number, label in enumerate(labels):
        marker = _MARKERS[number // len(_HUES) % len(_MARKERS)]
        path = "".join(
            f"M{_MARGIN + point.x * across:.0f} {_MARGIN + point.y * down:.0f}{marker}"
            for point in points
            if point.label == label
        )
        groups.append(
            f'<path class="k{number}" style="fill:{colour(number)}" d="{path}"><title>{escape(label)}</title></path>'
        )
    return (
        f'<svg class="map" viewBox="0 0 {_MAP_WIDTH:.0f} {_MAP_HEIGHT:.0f}" role="img" '
        f'aria-label="Map of {len(points):,} photos, similar ones close together">{"".join(groups)}</svg>'
    )
