"""The one perceptual hash: two pictures that look alike differ in few of its bits."""

from __future__ import annotations

import numpy as np
from PIL import Image


def difference_hash(image: Image.Image) -> int:
    """The dHash of ``image``, any mode that converts to grey: an integer of 64 bits, the first the most significant.

    Each bit says whether a pixel of the 9×8 grey miniature outshines its left neighbour, row by row. Integer
    arithmetic all the way, so equal pixels hash equally on any machine. Source: N. Krawetz, "Kind of Like That"
    (2013).
    """
    grey = np.asarray(image.convert("L").resize((9, 8), Image.Resampling.LANCZOS))
    return int.from_bytes(np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(), "big")
