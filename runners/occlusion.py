"""Where the network looked: parts of a photo are hidden one after the other; what that costs the answer is its heat.

Zeiler and Fergus, "Visualizing and Understanding Convolutional Networks", 2014, section 2.1. It asks the pair as it is
served, whatever runs it, for one batch more; nothing in the network is made for it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from runners.images import SIDE
from runners.pipeline import Scores

PATCH, STEP = 8, 4
"""Side of the hidden square and distance of one to the next, pixels of the 32×32 photo."""
GRID = (SIDE - PATCH) // STEP + 1
"""Squares across, and down."""
_SURE = 1e-6  # a float32 probability closer to 0 or 1 has no digits left to lose


def occluded(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The photo, uint8 (32, 32, 3), and each of its `GRID`² occlusions, row by row: uint8 (1 + GRID², 32, 32, 3).

    A hidden square is the photo out of focus: its means of `PATCH`, interpolated. That removes what there is to see and
    adds no edge of its own; of the fills tried, its maps held best what the answer needs.
    """
    photos = np.repeat(pixels[None], 1 + GRID * GRID, axis=0)
    coarse = Image.fromarray(pixels).resize((SIDE // PATCH, SIDE // PATCH), Image.Resampling.BOX)
    blurred = np.asarray(coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC))
    for number in range(GRID * GRID):
        top, left = STEP * (number // GRID), STEP * (number % GRID)
        square = np.s_[top : top + PATCH, left : left + PATCH]
        photos[1 + number][square] = blurred[square]
    return photos


def heat(scores: Scores) -> NDArray[np.float64]:
    """What hiding each square costs the best guess, from the scores of `occluded`: float64 (GRID, GRID), row by row.

    In nats of log-odds, log p/(1-p): a sure answer loses as visibly as an unsure one. Below 0 the square speaks
    against the class.
    """
    p = scores.probabilities[:, int(scores.best[0])].astype(np.float64).clip(_SURE, 1 - _SURE)
    odds = np.log(p / (1 - p))
    cost: NDArray[Any] = (odds[0] - odds[1:]).reshape(GRID, GRID)
    return cost
