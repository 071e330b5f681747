"""Pillow's Lanczos resampling to a small square, bit for bit, by matrix products: in half of Pillow's time.

Pillow (`src/libImaging/Resample.c`) sums pixels times coefficients in integers, rows first, and rounds to 8 bits after
each of the two passes. The same integers as float64 are exact whatever the order of the sum: 8 bits times 22, and the
absolute coefficients of one output add up to less than 2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from functools import lru_cache, reduce
from itertools import count
from operator import add

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Doubles = NDArray[np.float64]

SMALLEST, MOST_PIXELS = 64, 262_144
"""Shortest side and largest photo that are worth it: below, Pillow is as fast; above, doubles take too much memory.
Within both no photo is 100 times as high as wide, when Pillow takes the columns first."""
WORTH = 8
"""Photos whose sides have the same lengths before the weights of these are worked out, which takes five times as long
as Pillow takes for a photo. Among photos of all sizes they never are."""
LENGTHS = 128
"""Lengths of which the weights are kept, 0.1 MB each: those that came last."""
_BAND = 8
"""Outputs per product. Fewer waste less on zeros, more have fewer calls."""
_ONE_THREAD = 262_144
"""Multiplications below which OpenBLAS uses one thread. Others of its threads would look for more work in a loop, and
the network's next call would take twice as long (see `runners.gate`)."""
_PRECISION_BITS = 22
_REACH = 3.0


def fits(image: Image.Image) -> bool:
    """Whether `lanczos_square` is for this image."""
    return image.mode == "RGB" and min(image.size) >= SMALLEST and image.width * image.height <= MOST_PIXELS


def pays(image: Image.Image) -> bool:
    """Whether `lanczos_square` is for this image and the lengths of its sides come often; called once a photo."""
    return fits(image) and min(next(_times(length)) for length in image.size) >= WORTH


@lru_cache(maxsize=LENGTHS)
def _times(length: int) -> Iterator[int]:  # noqa: ARG001
    """Counts, from 0, how often a side of ``length`` came."""
    return count()


def lanczos_square(image: Image.Image, side: int) -> NDArray[np.uint8]:
    """What ``image.resize((side, side), LANCZOS)`` gives for an image that `fits`: uint8 (side, side, 3)."""
    planes = np.empty((3, image.height, image.width))
    np.copyto(planes, np.asarray(image).transpose(2, 0, 1))
    across = np.empty((3, image.height, side))
    for outputs, inputs, weights in _bands(image.width, side):
        rows = max(1, _ONE_THREAD // weights.size)
        for top in range(0, image.height, rows):
            part = slice(top, top + rows)
            np.matmul(planes[:, part, inputs], weights, out=across[:, part, outputs])
    _round(across)
    down = np.empty((3, side, side))
    for outputs, inputs, weights in _bands(image.height, side):
        np.matmul(weights.T, across[:, inputs], out=down[:, outputs])
    _round(down)
    return np.ascontiguousarray(down.transpose(1, 2, 0).astype(np.uint8))


def _round(values: Doubles) -> None:
    """To the next integer within 0..255, halves up."""
    values += 0.5
    np.floor(values, out=values)
    np.clip(values, 0.0, 255.0, out=values)


@lru_cache(maxsize=LENGTHS)
def _bands(length: int, side: int) -> list[tuple[slice, slice, Doubles]]:
    """For each `_BAND` outputs: which they are, the inputs that they are made of, and the weights (inputs, outputs)."""
    weights = _weights(length, side)
    bands = []
    for start in range(0, side, _BAND):
        outputs = slice(start, start + _BAND)
        used = np.flatnonzero(weights[:, outputs].any(axis=1))
        inputs = slice(int(used[0]), int(used[-1]) + 1)
        bands.append((outputs, inputs, np.ascontiguousarray(weights[inputs, outputs])))
    return bands


def _weights(length: int, side: int) -> Doubles:
    """Pillow's coefficients, (length, side): multiples of 2^-22, as it rounds them."""
    scale = length / side
    stretch = max(scale, 1.0)
    weights = np.zeros((length, side))
    for output in range(side):
        centre = (output + 0.5) * scale
        first = max(0, int(centre - _REACH * stretch + 0.5))
        last = min(length, int(centre + _REACH * stretch + 0.5))
        taps = [_lanczos((x - centre + 0.5) * (1.0 / stretch)) for x in range(first, last)]
        total = reduce(add, taps)  # not `sum`, which since Python 3.12 rounds otherwise than Pillow
        for x, tap in enumerate(taps, first):
            scaled = tap / total * (1 << _PRECISION_BITS)
            weights[x, output] = math.trunc(scaled + math.copysign(0.5, scaled))
    return weights / (1 << _PRECISION_BITS)


def _lanczos(x: float) -> float:
    return _sinc(x) * _sinc(x / _REACH) if abs(x) < _REACH else 0.0


def _sinc(x: float) -> float:
    return math.sin(x * math.pi) / (x * math.pi) if x else 1.0
