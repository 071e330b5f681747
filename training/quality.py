"""Inspect one photo on its way into the dataset: its pixels and fingerprints, or why it is set aside."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runners.images import FORMATS, SIDE, read_photo
from runners.perceptual import difference_hash
from runners.prediction import ApiError
from training.samples import Sample

Reason = Literal["unreadable", "too small", "blank", "wrong mode"]


@dataclass(frozen=True, slots=True)
class Limits:
    """What a photo must satisfy to enter the dataset.

    ``min_side``: fewest pixels of the shorter side of a photo from a folder; below it the 32×32 picture is mostly
    interpolation. ``blank``: least standard deviation of the luma, in grey levels 0..255; half of
    what the flattest CIFAR-10 photo has (4.2). ``max_bytes``, ``max_pixels``: as for uploads.
    """

    min_side: int = 24
    blank: float = 2.0
    max_bytes: int = 10_000_000
    max_pixels: int = 50_000_000


LOW_CONTRAST = 10.0
"""Standard deviation of the luma below which a photo is marked; 0.05 % of the CIFAR-10 photos are that flat."""
ELONGATED = 2.0
"""Ratio of the longer to the shorter side above which a photo is marked: a square shows less than half of it."""

# Pillow's words for a type that it knows in a mode that it doesn't: TIFF, JPEG and BMP in this order.
_MODE_FAULT = re.compile(r"unknown pixel mode|-(layer|bit)|pixel depth")


@dataclass(frozen=True, slots=True)
class Inspected:
    """A photo fit for the dataset.

    ``pixels``: uint8 (32, 32, 3) RGB, exactly as serving would see them. ``width``, ``height``: pixels of the upright
    original. ``sha256``: hex digest of ``pixels``; ``file_sha256``: of the file. ``dhash``: 64-bit perceptual hash of
    ``pixels``. ``marks``: of `enlarged` (a side under 32 pixels), `elongated`, `low contrast`.
    """

    id: str
    pixels: NDArray[np.uint8]
    width: int
    height: int
    sha256: str
    file_sha256: str
    dhash: int
    marks: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SetAside:
    """A photo that stays out of the dataset: ``reason`` for counting, ``detail`` one sentence for a person."""

    id: str
    source: str
    reason: Reason
    detail: str


def inspect(sample: Sample, limits: Limits) -> Inspected | SetAside:
    """Decode ``sample`` by the function that serving uses, and judge it; nothing in a photo makes this raise."""
    try:
        pixels, width, height = _decode(sample, limits)
    except ApiError as error:
        too_big = error.status == 413
        mode = "" if too_big or not sample.encoded else _undecodable_mode(sample.data)
        if mode:
            detail = f"The pixels cannot be converted to RGB: {mode}."
            return SetAside(sample.id, sample.source, "wrong mode", detail)
        return SetAside(sample.id, sample.source, "unreadable", error.message)
    if sample.source == "folder" and min(width, height) < limits.min_side:
        detail = f"The photo has {width} x {height} pixels; {limits.min_side} are wanted on the shorter side."
        return SetAside(sample.id, sample.source, "too small", detail)
    image = Image.fromarray(pixels)
    contrast = float(np.asarray(image.convert("L")).std())
    if contrast < limits.blank:
        detail = f"The brightness varies by {contrast:.1f} grey levels; {limits.blank:.1f} are wanted."
        return SetAside(sample.id, sample.source, "blank", detail)
    found = {
        "enlarged": min(width, height) < SIDE,
        "elongated": max(width, height) > ELONGATED * min(width, height),
        "low contrast": contrast < LOW_CONTRAST,
    }
    return Inspected(
        id=sample.id,
        pixels=pixels,
        width=width,
        height=height,
        sha256=hashlib.sha256(pixels.tobytes()).hexdigest(),
        file_sha256=hashlib.sha256(sample.data).hexdigest(),
        dhash=difference_hash(image),
        marks=tuple(name for name, present in found.items() if present),
    )


def _decode(sample: Sample, limits: Limits) -> tuple[NDArray[np.uint8], int, int]:
    if sample.encoded:
        photo = read_photo(sample.data, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels)
        return photo.pixels, photo.width, photo.height
    wanted = SIDE * SIDE * 3
    if len(sample.data) != wanted:
        raise ApiError(400, "broken_image", f"A raw photo has {wanted:,} bytes; this one has {len(sample.data):,}.")
    return np.frombuffer(sample.data, np.uint8).reshape(SIDE, SIDE, 3), SIDE, SIDE


def _undecodable_mode(data: bytes) -> str:
    """What a decoder says of a file of its own type whose pixels it has no mode for, such as 12-bit JPEG; else empty.

    `Image.open` keeps this to itself: it reports the file as unidentified.
    """
    Image.init()  # else Pillow knows the commonest formats only
    for decoder, _ in (Image.OPEN[name] for name in FORMATS if name in Image.OPEN):
        try:
            decoder(io.BytesIO(data), "").close()
        except Exception as error:  # a decoder may raise anything on damaged bytes
            if _MODE_FAULT.search(str(error)):
                return str(error)
    return ""
