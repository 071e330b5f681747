"""How much of the accuracy is left when photos get worse: six corruptions at five severities.

Functions and constants are those of CIFAR-10-C (Hendrycks and Dietterich 2019, arXiv 1903.12261; `make_cifar_c.py` of
their code), done for many 32×32 photos at once. CIFAR-10-C has thirteen more, so its mean error is another number.
"""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import BaseModel, ConfigDict

from runners.images import SIDE
from runners.pipeline import Pipeline
from training.sources import Labelled, Progress

Pixels = NDArray[np.uint8]
Corruption = Callable[[Pixels, int, np.random.Generator], Pixels]
"""Pixels uint8 (n, 32, 32, 3) and a severity 1..5 -> as many worse ones."""

SEVERITIES = (1, 2, 3, 4, 5)
MOST_PHOTOS = 2_000
"""Size of the sample: the interval of each share is then about ±1.5 points, and the whole takes about a minute."""


class Degraded(BaseModel):
    """The sample under one corruption: share right, mean probability of the answer, share refused; each 0..1."""

    model_config = ConfigDict(frozen=True)

    accuracy: float
    confidence: float
    refused: float


class Robustness(BaseModel):
    """``clean``: the sample as it is; ``corruptions``: name -> the same at severities 1 to 5."""

    model_config = ConfigDict(frozen=True)

    images: int
    clean: Degraded
    corruptions: dict[str, tuple[Degraded, Degraded, Degraded, Degraded, Degraded]]

    @property
    def mean_accuracy(self) -> float:
        """Over all corruptions and severities."""
        return float(np.mean([cell.accuracy for cells in self.corruptions.values() for cell in cells]))


def gaussian_noise(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:
    scale = (0.04, 0.06, 0.08, 0.09, 0.10)[severity - 1]
    return _bytes(pixels / 255 + rng.normal(size=pixels.shape, scale=scale))


def gaussian_blur(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:  # noqa: ARG001
    from scipy.ndimage import gaussian_filter

    sigma = (0.4, 0.6, 0.7, 0.8, 1.0)[severity - 1]
    return _bytes(gaussian_filter(pixels / 255, (0, sigma, sigma, 0), mode="nearest"))


def brightness(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:  # noqa: ARG001
    """Adds to the value of HSV, hue and saturation kept: all channels scale alike, and black becomes grey."""
    unit = pixels / 255
    value = unit.max(axis=-1, keepdims=True)
    brighter = np.minimum(value + (0.05, 0.1, 0.15, 0.2, 0.3)[severity - 1], 1)
    return _bytes(np.where(value > 0, unit * (brighter / np.where(value > 0, value, 1)), brighter))


def contrast(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:  # noqa: ARG001
    unit = pixels / 255
    means = unit.mean(axis=(1, 2), keepdims=True)
    return _bytes((unit - means) * (0.75, 0.5, 0.4, 0.3, 0.15)[severity - 1] + means)


def pixelate(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:  # noqa: ARG001
    side = int(SIDE * (0.95, 0.9, 0.85, 0.75, 0.65)[severity - 1])
    box = Image.Resampling.BOX
    small = (Image.fromarray(photo).resize((side, side), box) for photo in pixels)
    return np.stack([np.asarray(photo.resize((SIDE, SIDE), box)) for photo in small])


def jpeg(pixels: Pixels, severity: int, rng: np.random.Generator) -> Pixels:  # noqa: ARG001
    quality = (80, 65, 58, 50, 40)[severity - 1]

    def compressed(photo: Pixels) -> Pixels:
        buffer = io.BytesIO()
        Image.fromarray(photo).save(buffer, "JPEG", quality=quality)
        with Image.open(buffer) as image:
            return np.asarray(image)

    return np.stack([compressed(photo) for photo in pixels])


CORRUPTIONS: dict[str, Corruption] = {
    "Gaussian noise": gaussian_noise,
    "blur": gaussian_blur,
    "brightness": brightness,
    "contrast": contrast,
    "pixelate": pixelate,
    "JPEG": jpeg,
}


def sample_rows(photos: int, most: int = MOST_PHOTOS) -> NDArray[np.int64]:
    """The rows of the sample, ascending: the same ones each time, all of them where there are at most ``most``."""
    return np.sort(np.random.default_rng(0).choice(photos, min(photos, most), replace=False))


def robustness(pipeline: Pipeline, test: Labelled, refuse_share: float, progress: Progress) -> Robustness:
    """Score a fixed sample of ``test`` under each corruption, with the pair as it is served."""
    rows = sample_rows(len(test[1]))
    pixels, labels = test[0][rows], test[1][rows]
    total = len(rows) * (1 + len(CORRUPTIONS) * len(SEVERITIES))
    done = 0

    def degraded(photos: Pixels, note: str) -> Degraded:
        nonlocal done
        scores = pipeline.score(photos, batch=250)
        done += len(photos)
        progress("robustness", done, total, note)
        return Degraded(
            accuracy=float((scores.best == labels).mean()),
            confidence=float(scores.confidence.mean()),
            refused=float((scores.ood_p_value <= refuse_share).mean()),
        )

    clean = degraded(pixels, "clean")
    found = {
        name: tuple(
            degraded(corrupt(pixels, severity, np.random.default_rng((number, severity))), f"{name} {severity}")
            for severity in SEVERITIES
        )
        for number, (name, corrupt) in enumerate(CORRUPTIONS.items())
    }
    return Robustness.model_validate({"images": len(rows), "clean": clean, "corruptions": found})


def _bytes(unit: NDArray[np.float64]) -> Pixels:
    """0..1 as 0..255, cut off like the original code does."""
    return (np.clip(unit, 0, 1) * 255).astype(np.uint8)
