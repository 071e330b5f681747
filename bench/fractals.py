"""Pictures of nothing to mix with photos or to learn from as outliers: Julia sets, 1/f noise, dead leaves."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from runners.images import SIDE

Pixels = NDArray[np.uint8]
MOST_MIXED, BETA = 4, 3.0
"""Rounds of mixing at most, and the sharpness of its weights (Hendrycks et al. 2022, appendix B: k and beta)."""


def fractals(count: int, rng: np.random.Generator) -> Pixels:
    """A third each of the kinds, uint8 (count, 32, 32, 3)."""
    third = count // 3
    parts = [julia(third, rng), clouds(third, rng), dead_leaves(count - 2 * third, rng)]
    return rng.permutation(np.concatenate(parts))


def julia(count: int, rng: np.random.Generator) -> Pixels:
    """How soon z² + c escapes, in colours that wander; c near the edge of the Mandelbrot set, where it is intricate."""
    angle, radius = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.9, 1.15, count)
    c = radius * (np.exp(1j * angle) / 2 - np.exp(2j * angle) / 4)
    axis = np.linspace(-1, 1, SIDE)
    scale = rng.uniform(0.3, 1.6, count)[:, None, None]
    z = (axis[None, None, :] + 1j * axis[None, :, None]) * scale
    z = z * np.exp(1j * rng.uniform(0, 2 * np.pi, count))[:, None, None]
    escape = np.zeros(z.shape)
    for _ in range(40):
        inside = np.abs(z) < 4
        escape += inside
        z = np.where(inside, z**2 + c[:, None, None], z)
    return _coloured(escape / 40 + np.log1p(np.minimum(np.abs(z), 50)) / 20, rng)


def clouds(count: int, rng: np.random.Generator) -> Pixels:
    """Noise whose amplitude falls as a power of its frequency, 0.5 to 2, as in photos."""
    frequency = np.hypot(np.fft.fftfreq(SIDE)[:, None], np.fft.fftfreq(SIDE)[None, :])
    frequency[0, 0] = 1 / SIDE
    power = rng.uniform(0.5, 2.0, (count, 1, 1, 1))
    spectrum = np.fft.fft2(rng.normal(size=(count, SIDE, SIDE, 3)), axes=(1, 2)) * frequency[None, :, :, None] ** -power
    waves = np.fft.ifft2(spectrum, axes=(1, 2)).real
    waves /= waves.std(axis=(1, 2), keepdims=True)
    return np.clip(128 + waves * rng.uniform(20, 70, (count, 1, 1, 3)), 0, 255).astype(np.uint8)


def dead_leaves(count: int, rng: np.random.Generator, leaves: int = 60) -> Pixels:
    """Discs and squares of one colour over each other (Lee, Mumford and Huang 2001)."""
    pictures = np.zeros((count, SIDE, SIDE, 3), np.uint8)
    y, x = np.mgrid[:SIDE, :SIDE][:, None]
    for _ in range(leaves):
        top, left = rng.uniform(0, SIDE, (2, count, 1, 1))
        size = np.minimum(rng.pareto(1.5, (count, 1, 1)) * 2 + 1, SIDE / 2)
        across, down = np.abs(x - left), np.abs(y - top)
        disc, square = np.hypot(across, down) < size, np.maximum(across, down) < size
        inside = np.where(rng.random((count, 1, 1)) < 0.5, disc, square)
        colour = rng.integers(0, 256, (count, 1, 1, 3), dtype=np.uint8)
        pictures = np.where(inside[..., None], colour, pictures)
    return pictures


def shuffled_tiles(pixels: Pixels, rng: np.random.Generator, tiles: int = 4) -> Pixels:
    """Photos (n, 32, 32, 3) cut into ``tiles``² squares in random order: their colours and edges, but no object."""
    n, side = len(pixels), SIDE // tiles
    cut = pixels.reshape(n, tiles, side, tiles, side, 3).swapaxes(2, 3).reshape(n, tiles * tiles, side, side, 3)
    order = rng.permuted(np.tile(np.arange(tiles * tiles), (n, 1)), axis=1)
    shuffled = np.take_along_axis(cut, order[:, :, None, None, None], axis=1)
    return shuffled.reshape(n, tiles, tiles, side, side, 3).swapaxes(2, 3).reshape(pixels.shape)


def pixmix(pixels: Pixels, pictures: Pixels, rng: np.random.Generator) -> Pixels:
    """``pixels`` (n, 32, 32, 3) added to or multiplied with ``pictures``, or with changed copies of themselves, up to
    four times (Hendrycks et al. 2022, algorithm 1)."""
    own = pixels.astype(np.float32) / np.float32(255)
    mixed: NDArray[np.float32] = np.where(_some(len(pixels), rng), _changed(own, rng), own)
    rounds = rng.integers(0, MOST_MIXED + 1, len(pixels))
    for number in range(MOST_MIXED):
        rows = np.flatnonzero(rounds > number)
        picture = pictures[rng.integers(0, len(pictures), len(rows))].astype(np.float32) / np.float32(255)
        other = np.where(_some(len(rows), rng), _changed(own[rows], rng), picture)
        mixed[rows] = _combined(mixed[rows], other, rng)
    return (mixed * 255).astype(np.uint8)


def _combined(one: NDArray[np.float32], other: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Weighted sums of values around 0, or weighted geometric means around 1."""
    shape = (len(one), 1, 1, 1)
    large, small = rng.beta(BETA, 1, shape), rng.beta(1, BETA, shape)
    extrapolate = rng.random(shape) < 0.5
    a = np.where(extrapolate, 1 + small, large).astype(np.float32)
    b = np.where(extrapolate, -rng.beta(1, BETA, shape), rng.beta(1, BETA, shape)).astype(np.float32)
    total = (a * (2 * one - 1) + b * (2 * other - 1) + 1) / 2
    product = np.maximum(2 * one, 1e-3) ** a * np.maximum(2 * other, 1e-3) ** b / 2
    return np.clip(np.where(_some(len(one), rng), total, product), 0, 1)


def _changed(images: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """One of: stretched contrast, fewer levels, bright values inverted."""
    n = len(images)
    low, high = images.min(axis=(1, 2), keepdims=True), images.max(axis=(1, 2), keepdims=True)
    stretched = (images - low) / np.maximum(high - low, 1e-3)
    levels = rng.integers(3, 9, (n, 1, 1, 1)).astype(np.float32)
    posterized = np.round(images * levels) / levels
    solarized = np.where(images > rng.uniform(0.4, 1.0, (n, 1, 1, 1)), 1 - images, images)
    kind = rng.integers(0, 3, (n, 1, 1, 1))
    return np.choose(kind, [stretched, posterized, solarized]).astype(np.float32)


def _some(count: int, rng: np.random.Generator) -> NDArray[np.bool_]:
    return rng.random((count, 1, 1, 1)) < 0.5


def _coloured(values: NDArray[np.float64], rng: np.random.Generator) -> Pixels:
    """``values`` (n, 32, 32) as colours: a sine of its own per channel."""
    frequency, phase = rng.uniform(2, 14, (len(values), 1, 1, 3)), rng.uniform(0, 2 * np.pi, (len(values), 1, 1, 3))
    return (127.5 * (1 + np.sin(values[..., None] * frequency + phase))).astype(np.uint8)
