"""Colour and brightness of photos: moments that add up over batches, and how captured photos differ from the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from runners.images import photo_statistics

STATISTICS = ("brightness", "contrast", "saturation", "sharpness", "warmth", "red", "green", "blue")
"""Of one photo, each 0..1: those of `runners.images.photo_statistics`, the channel means, and red less blue (-1..1)."""

CAPTURED = "folder"
"""The source of photos that an owner took."""

# What a photo with more, or less, of a statistic is called. Red, green and blue mostly follow brightness: no words.
_WORDS = {
    "brightness": ("brighter", "darker"),
    "contrast": ("richer in contrast", "flatter"),
    "saturation": ("more colourful", "paler"),
    "sharpness": ("sharper", "softer"),
    "warmth": ("warmer in colour", "cooler in colour"),
}
_LEAST_SD = 0.5 / 255  # half a grey level: a smaller spread is rounding, and would make any difference look huge

Size = Literal["negligible", "small", "medium", "large"]


class Spread(BaseModel):
    """Mean and standard deviation over photos."""

    model_config = ConfigDict(frozen=True)

    mean: float
    sd: float


class Contrast(BaseModel):
    """One statistic of the captured photos against all others.

    ``d`` is Cohen's, positive where the captured photos have more; ``size`` is it in words. ``standout`` is the class
    of the other photos that is furthest from the rest of them, ``standout_d`` how far: what the class alone can do.
    """

    model_config = ConfigDict(frozen=True)

    statistic: str
    captured: Spread
    others: Spread
    d: float
    size: Size
    standout: str | None
    standout_d: float


@dataclass(frozen=True, slots=True)
class Moments:
    """``count`` photos, and the float64 (8,) sums of their `STATISTICS` and of the squares; adds up over batches."""

    count: int
    total: NDArray[np.float64]
    squares: NDArray[np.float64]

    def __add__(self, other: Moments) -> Moments:
        return Moments(self.count + other.count, self.total + other.total, self.squares + other.squares)

    def __sub__(self, other: Moments) -> Moments:
        return Moments(self.count - other.count, self.total - other.total, self.squares - other.squares)

    @property
    def mean(self) -> NDArray[np.float64]:
        return self.total / max(self.count, 1)

    @property
    def variance(self) -> NDArray[np.float64]:
        """Unbiased; zero of fewer than two photos."""
        deviations = self.squares - self.count * self.mean**2
        return np.clip(deviations, 0, None) / max(self.count - 1, 1)

    def spreads(self) -> dict[str, Spread]:
        values = zip(STATISTICS, self.mean, np.sqrt(self.variance), strict=True)
        return {name: Spread(mean=round(float(mean), 5), sd=round(float(sd), 5)) for name, mean, sd in values}


NOTHING = Moments(0, np.zeros(len(STATISTICS)), np.zeros(len(STATISTICS)))


def measure(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The `STATISTICS` of each photo: uint8 (n, 32, 32, 3) -> float64 (n, 8)."""
    of_photo = photo_statistics(pixels)
    red, green, blue = (pixels.reshape(len(pixels), -1, 3).mean(axis=1) / 255.0).T
    colours = {"red": red, "green": green, "blue": blue, "warmth": red - blue}
    return np.column_stack([(of_photo | colours)[name] for name in STATISTICS]).astype(np.float64)


def moments(values: NDArray[np.float64]) -> Moments:
    """The `Moments` of rows of `measure`, float64 (n, 8)."""
    return Moments(len(values), values.sum(axis=0), np.square(values).sum(axis=0))


def cohens_d(a: Moments, b: Moments) -> NDArray[np.float64]:
    """Difference of the means in pooled standard deviations, (8,); Cohen, "Statistical Power Analysis" (1988), 2.2."""
    freedom = max(a.count + b.count - 2, 1)
    pooled = np.sqrt((max(a.count - 1, 0) * a.variance + max(b.count - 1, 0) * b.variance) / freedom)
    return (a.mean - b.mean) / np.maximum(pooled, _LEAST_SD)


def effect_size(d: float) -> Size:
    """|d| in words, by the conventions of Cohen (1988): from 0.2 small, from 0.5 medium, from 0.8 large."""
    magnitude = abs(d)
    if magnitude < 0.2:
        return "negligible"
    if magnitude < 0.5:
        return "small"
    return "medium" if magnitude < 0.8 else "large"


def contrasts(captured: Moments, others: Mapping[str, Moments]) -> list[Contrast]:
    """Captured photos against ``others`` (class -> moments), one `Contrast` per statistic; none without both kinds."""
    base = sum(others.values(), NOTHING)
    if captured.count < 2 or base.count < 2:
        return []
    ours, theirs, d = captured.spreads(), base.spreads(), cohens_d(captured, base)
    away = {
        name: cohens_d(own, base - own) for name, own in others.items() if own.count > 1 and base.count - own.count > 1
    }
    found = []
    for i, statistic in enumerate(STATISTICS):
        # Rounded: of two classes each is as far from the other, and the last bit of a sum must not choose.
        standout = max(away, key=lambda name: round(abs(float(away[name][i])), 6), default=None)
        found.append(
            Contrast(
                statistic=statistic,
                captured=ours[statistic],
                others=theirs[statistic],
                d=round(float(d[i]), 3),
                size=effect_size(float(d[i])),
                standout=standout,
                standout_d=round(float(away[standout][i]), 3) if standout else 0.0,
            )
        )
    return found


def captured_sentence(found: Sequence[Contrast], captured: int, others: Sequence[str]) -> str:
    """`contrasts` in one sentence: whether and how ``captured`` photos differ from those of the sources ``others``."""
    if not found:
        if captured and others:
            return "There are too few captured photos, or too few others, to compare the two."
        return f"All photos come from {' and '.join(others) or 'folders'}: there is nothing to compare them with."
    told = sorted((c for c in found if c.statistic in _WORDS and c.size != "negligible"), key=lambda c: -abs(c.d))
    names = " and ".join(others)
    if not told:
        return f"The {captured:,} captured photos look like those of {names}: no statistic differs by d = 0.2 or more."
    differences = ", ".join(f"{_WORDS[c.statistic][c.d < 0]} (d = {c.d:+.2f}, {c.size})" for c in told)
    beyond = [c.statistic for c in told if abs(c.d) > abs(c.standout_d) and c.standout]
    yardstick = (
        f"; in {' and '.join(beyond)} they stand out more than any one class of {names} does"
        if beyond
        else f", though by no more than one class of {names} differs from the rest"
    )
    return f"The {captured:,} captured photos differ from those of {names}: they are {differences}{yardstick}."
