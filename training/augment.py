"""Batches of training images: shuffled, shifted and mirrored, each epoch reproducible from (seed, epoch)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def shift(pixels: NDArray[np.uint8], most: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Each image of (n, h, w, c) moved by up to ``most`` pixels in both directions, its border reflected."""
    if most == 0:
        return pixels
    n, h, w, _ = pixels.shape
    padded = np.pad(pixels, ((0, 0), (most, most), (most, most), (0, 0)), mode="reflect")
    windows = np.lib.stride_tricks.sliding_window_view(padded, (h, w), axis=(1, 2))
    top, left = rng.integers(0, 2 * most + 1, (2, n))
    return np.ascontiguousarray(windows[np.arange(n), top, left].transpose(0, 2, 3, 1))


def mirrored(count: int, epoch: int, seed: int) -> NDArray[np.bool_]:
    """Which of ``count`` images are mirrored in ``epoch``: a random half in even epochs, the other half in odd ones.

    Alternating flip, airbench section 3.6: two epochs in a row never show the same picture twice.
    """
    first = np.random.default_rng((seed, 1)).random(count) < 0.5
    return first if epoch % 2 == 0 else ~first


def vary(pixels: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Stronger changes for photos that are seen often, (n, h, w, 3): zoom to 1.4, brightness and contrast ±20 %."""
    n, h, w, _ = pixels.shape
    zoom = rng.uniform(1.0, 1.4, (n, 1))
    centre = rng.uniform(-0.5, 0.5, (2, n, 1)) * (1 - 1 / zoom) * np.array([h, w])[:, None, None]
    rows = np.clip((np.arange(h) - (h - 1) / 2) / zoom + (h - 1) / 2 + centre[0], 0, h - 1).round().astype(int)
    columns = np.clip((np.arange(w) - (w - 1) / 2) / zoom + (w - 1) / 2 + centre[1], 0, w - 1).round().astype(int)
    zoomed = pixels[np.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]].astype(np.float32)
    mean = zoomed.mean(axis=(1, 2, 3), keepdims=True)
    contrast, light = rng.uniform(0.8, 1.2, (2, n, 1, 1, 1))
    colour = rng.uniform(0.9, 1.1, (n, 1, 1, 3))
    return ((zoomed - mean) * contrast + mean * light * colour).clip(0, 255).astype(np.uint8)


def augmented(
    pixels: NDArray[np.uint8], flips: NDArray[np.bool_], most: int, rng: np.random.Generator
) -> NDArray[np.uint8]:
    """``pixels`` shifted, and mirrored where ``flips`` (n,) says so."""
    out = shift(pixels, most, rng).copy() if most == 0 else shift(pixels, most, rng)
    out[flips] = out[flips, :, ::-1]
    return out


def cutout(pixels: NDArray[np.uint8], side: int, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A random square of ``side`` pixels in each image of (n, h, w, c) becomes mid-grey (DeVries and Taylor 2017)."""
    if side == 0:
        return pixels
    n, h, w, _ = pixels.shape
    top, left = rng.integers(0, h - side + 1, (n, 1)), rng.integers(0, w - side + 1, (n, 1))
    rows, columns = np.arange(h)[None], np.arange(w)[None]
    inside = ((rows >= top) & (rows < top + side))[:, :, None] & ((columns >= left) & (columns < left + side))[:, None]
    return np.where(inside[..., None], np.uint8(120), pixels)


def grainy(pixels: NDArray[np.uint8], most: float, rng: np.random.Generator) -> NDArray[np.uint8]:
    """Half of the photos (n, h, w, c) with a camera's noise: Gaussian, its deviation up to ``most`` of 255 levels."""
    if most == 0:
        return pixels
    deviation = np.where(rng.random(len(pixels)) < 0.5, rng.uniform(0, most, len(pixels)), 0).astype(np.float32)
    noise = rng.standard_normal(pixels.shape, np.float32) * deviation[:, None, None, None]
    return (pixels + noise).round().clip(0, 255).astype(np.uint8)


def reduced(pixels: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Photos (n, h, h, c) made smaller, (n, side, side, c): each pixel is the mean of the area that it covers."""
    full = pixels.shape[1]
    if side == full:
        return pixels
    area = _overlaps(full, side).astype(np.float32) * side / full
    rows = np.einsum("ih,nhwc->niwc", area, pixels.astype(np.float32), optimize=True)
    return np.einsum("jw,niwc->nijc", area, rows, optimize=True).round().astype(np.uint8)


def _overlaps(full: int, side: int) -> NDArray[np.float64]:
    """(side, full): how much of each of ``full`` pixels, of length 1, lies under each of ``side`` larger ones."""
    edges, small = np.arange(full + 1.0), np.arange(side + 1.0) * full / side
    ends = np.minimum(small[1:, None], edges[None, 1:])
    return (ends - np.maximum(small[:-1, None], edges[None, :-1])).clip(0)
