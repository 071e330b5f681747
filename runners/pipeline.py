"""Network and gate together: 32×32 pixels in, calibrated probabilities and conformal p-values out."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from runners.gate import Gate, energy, softmax
from runners.network import Network

Floats = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class Scores:
    """What the pair says of n photos; every field has n rows.

    ``probabilities`` (n, classes): calibrated, rows sum to 1. ``embedding`` (n, d): the network's last hidden layer.
    ``energy`` (n,): -logsumexp(logits). ``ood_score`` (n,): of the isolation forest; both are higher for the unknown.
    ``ood_p_value`` (n,): conformal, in (0, 1].
    """

    probabilities: Floats
    embedding: Floats
    energy: Floats
    ood_score: Floats
    ood_p_value: Floats

    def __len__(self) -> int:
        return len(self.probabilities)

    def __getitem__(self, rows: slice) -> Scores:
        return Scores(**{f.name: getattr(self, f.name)[rows] for f in fields(self)})

    @property
    def entropy(self) -> Floats:
        """Shannon entropy of ``probabilities`` in nats, (n,)."""
        p = np.clip(self.probabilities, 1e-12, 1.0)
        return -(p * np.log(p)).sum(axis=1)

    @property
    def best(self) -> NDArray[np.intp]:
        """Index of the most probable class, (n,)."""
        return self.probabilities.argmax(axis=1)

    @property
    def confidence(self) -> Floats:
        """Largest probability, (n,)."""
        return self.probabilities.max(axis=1)

    @staticmethod
    def concatenate(parts: list[Scores]) -> Scores:
        return Scores(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Scores)})


def combine(logits: Floats, embedding: Floats, gate_scores: tuple[Floats, Floats], temperature: float) -> Scores:
    """Put the outputs of the two runners together."""
    return Scores(softmax(logits, temperature), embedding, energy(logits), *gate_scores)


@dataclass(frozen=True, slots=True)
class Pipeline:
    """A loaded pair, ready to score pixels on this machine."""

    network: Network
    gate: Gate
    labels: tuple[str, ...]
    temperature: float
    cnn_tag: str
    forest_tag: str

    def score(self, pixels: NDArray[np.uint8], batch: int = 64) -> Scores:
        """Score uint8 (n, 32, 32, 3) pixels, n >= 1, in calls of at most ``batch`` images."""
        parts = []
        for start in range(0, len(pixels), batch):
            logits, embedding = self.network(pixels[start : start + batch])
            parts.append(combine(logits, embedding, self.gate.score(logits, embedding), self.temperature))
        return parts[0] if len(parts) == 1 else Scores.concatenate(parts)
