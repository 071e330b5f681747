"""Knowledge distillation: labels that are partly what earlier networks say of the same photos."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from runners.gate import softmax
from runners.network import Network


def softened(
    labels: NDArray[np.float32],
    images: NDArray[np.uint8],
    teachers: Sequence[Network],
    share: float,
    rng: np.random.Generator,
) -> NDArray[np.float32]:
    """``labels``, one-hot, float32 (n, classes), with ``share`` (0..1) of each row given to what a teacher says.

    ``images``: uint8 (n, 32, 32, 3), shifted, mirrored and blanked as the student sees them: a teacher that judges
    another crop teaches what is not in the picture (Beyer et al. 2022, arXiv 2106.05237, section 3.1). One of
    ``teachers``, drawn by ``rng``, judges the batch: the cost of one of them, and in the mean the gradient of the
    cross-entropy with their average (Hinton et al. 2015, arXiv 1503.02531). Without teachers nothing changes.
    """
    if not teachers:
        return labels
    logits, _ = teachers[int(rng.integers(len(teachers)))](images)
    return ((1 - share) * labels + share * softmax(logits, 1.0)).astype(np.float32)
