"""The isolation-forest gate: how unusual a photo is for the network, and what share of good photos is as unusual.

A forest on raw embeddings is worse than chance, because unknown photos sit in the dense middle of the embedding. Here
each feature is a score whose high side means "unknown" (`runners.ood_scores`), brought to one scale on held-out photos:
minus the logarithm of the share of them that score higher.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, is_dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from runners.artifacts import GATE_FILE, ArtifactError
from runners.isolation import Doubles, Forest
from runners.ood_scores import FORMULAS, Floats, Known, Seen, energy, softmax

__all__ = ["FEATURES", "Floats", "Gate", "energy", "load_gate", "save_gate", "softmax"]

VERSION = 3
"""Version of the arrays in the gate's file."""
FEATURES = ("gen", "energy")
"""What a gate is made of where the lab had nothing to choose by."""
EXCESS = "residual"
"""A score that counts only far out: it finds photos that excite the network more than any known one does."""
EXCESS_FROM = float(np.log(1000.0))
"""Far out is beyond what one known photo in a thousand reaches."""
EXCESS_WEIGHT = 4.0

WEIGHT_OF_ALL = 0.1
"""Share of the refusals that are promised which a photo may get for standing out among all calibration photos."""


@dataclass(frozen=True, slots=True)
class Gate:
    """Forest, feature definition and conformal calibration.

    ``names``: the scores it is made of. ``excess``: a score that counts only far out, or none. ``knots`` (scores,
    k): where each score, ``excess`` last, reaches the ``levels`` (k,). ``tail`` (t,): where the forest's score reaches
    the ``tail_levels`` (t,), -log of the share of held-out photos above it. By predicted class: ``class_scale``
    (classes,), the mean of that, shrunk, and ``groups`` (classes,), the calibration group, 0 and up. ``calibration``
    (m,): group number + `conformity` of other held-out photos, ascending. In no file, since they follow from the rest:
    ``scale``, the knots as `_Scale`; ``steps`` (m,) and ``p_values`` (groups, m + 1), the p-value in each group between
    one conformity of ``steps`` and the next.
    """

    forest: Forest
    known: Known
    names: tuple[str, ...]
    excess: str
    knots: Doubles
    levels: Doubles
    tail: Doubles
    tail_levels: Doubles
    class_scale: Doubles
    groups: NDArray[np.intp]
    calibration: Doubles
    steps: Doubles = field(init=False, repr=False)
    p_values: Floats = field(init=False, repr=False)
    scale: _Scale = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "scale", _one_scale(self.knots, self.levels))
        steps, p_values = _table(self.calibration, int(self.groups.max(initial=0)) + 1)
        object.__setattr__(self, "steps", steps)
        object.__setattr__(self, "p_values", p_values)

    @property
    def class_means(self) -> Floats:
        """Unit mean embedding of each class, (classes, d)."""
        return self.known.directions

    def features(self, logits: Floats, embedding: Floats) -> Floats:
        """What the forest reads, (n, len(names)): 0 for the most ordinary photo, 3 for one in twenty, 4.6 in a hundred.

        Raises:
            ValueError: NaN or infinity in the network's outputs.
        """
        if not (np.isfinite(logits).all() and np.isfinite(embedding).all()):
            raise ValueError("the gate got NaN or infinite network outputs")
        names = (*self.names, self.excess) if self.excess else self.names
        seen = Seen(logits, embedding)
        scaled = self.scale.of(np.array([FORMULAS[name].score(seen, self.known) for name in names]))
        if self.excess:  # far out in one score is far out in all
            excess = np.add.reduce(np.maximum(scaled - EXCESS_FROM, 0.0), axis=1, keepdims=True)
            scaled = scaled[:, :-1] + EXCESS_WEIGHT * excess
        return scaled.astype(np.float32)

    def conformity(self, score: Doubles, guess: NDArray[np.intp]) -> Doubles:
        """How unusual a forest's ``score`` (n,) is for the predicted class ``guess`` (n,), 0 to below 1."""
        unusual = np.interp(score, self.tail, self.tail_levels) / self.class_scale[guess]
        return np.asarray(unusual / (1.0 + unusual))

    def score(self, logits: Floats, embedding: Floats) -> tuple[Floats, Floats]:
        """Anomaly score and conformal p-value, each (n,).

        A conformal p-value is (1 + #{calibration photos >= `conformity`}) / (m + 1) over m photos (Vovk et al. 2005).
        There are two: among the photos of the group of the predicted class (section 4.5: Mondrian), which keeps the
        promise in every group, and among all, which tells more than a small group can. Theirs is the weighted
        Bonferroni p (Genovese, Roeder and Wasserman 2006): of photos drawn like the calibration ones, refusing at
        p <= a refuses at most a share a.
        """
        score = self.forest.score(self.features(logits, embedding))
        guess = logits.argmax(axis=1)
        place = self.steps.searchsorted(self.conformity(score, guess))
        return score.astype(np.float32), self.p_values[self.groups[guess], place]


class _Scale(NamedTuple):
    """The ``knots`` of all scores one after the other, so that one search finds the places of all.

    ``low``, ``high`` and ``shift`` (scores, 1): where each begins and ends, and how far it was moved.
    """

    low: Doubles
    high: Doubles
    shift: Doubles
    knots: Doubles
    levels: Doubles

    def of(self, raw: Floats) -> Doubles:
        """The level that each of ``raw`` (scores, n) reaches, (n, scores)."""
        moved = np.minimum(np.maximum(raw, self.low), self.high) + self.shift
        return np.interp(moved, self.knots, self.levels).T


def _one_scale(knots: Doubles, levels: Doubles) -> _Scale:
    low, high = knots[:, :1], knots[:, -1:]
    lengths = high - low + 1.0
    shift = np.cumsum(lengths, axis=0) - lengths - low
    return _Scale(low, high, shift, (knots + shift).ravel(), np.tile(levels, len(knots)))


def _table(calibration: Doubles, groups: int) -> tuple[Doubles, Floats]:
    """``steps`` and ``p_values`` of a `Gate`."""
    group = np.floor(calibration)
    conformity = calibration - group + np.spacing(calibration)  # it was rounded; an equal one is at least as unusual
    order = np.argsort(conformity)
    members = group[order] == np.arange(groups)[:, None]  # (groups, m)
    at_least = np.zeros((groups, len(order) + 1), np.intp)  # of the group, from each place on
    at_least[:, :-1] = np.cumsum(members[:, ::-1], axis=1)[:, ::-1]
    within = (1 + at_least) / (1 + at_least[:, :1])
    among_all = (1 + at_least.sum(axis=0)) / (1 + len(order))
    p_values = np.minimum(within / (1 - WEIGHT_OF_ALL), among_all / WEIGHT_OF_ALL)
    return conformity[order], np.minimum(p_values, 1.0).astype(np.float32)


def save_gate(folder: Path, gate: Gate) -> Path:
    """Write ``gate`` as plain arrays (no pickle) and return the file."""
    arrays = {f"forest_{name}": value for name, value in _arrays(gate.forest).items()}
    arrays |= {f"isolation_{name}": value for name, value in _arrays(gate.known.isolation).items()}
    arrays |= {f"known_{name}": value for name, value in _arrays(gate.known).items()}
    arrays |= _arrays(gate)
    np.savez_compressed(folder / GATE_FILE, allow_pickle=False, version=VERSION, **arrays)
    return folder / GATE_FILE


def load_gate(folder: Path) -> Gate:
    """Read what `save_gate` wrote; pickled objects are refused by numpy.

    Raises:
        ArtifactError: no file of arrays, of another version, or with a part missing.
    """
    path = folder / GATE_FILE
    try:
        with np.load(path, allow_pickle=False) as arrays:
            values: dict[str, Any] = {name: array if array.ndim else array.item() for name, array in arrays.items()}
        version = values.pop("version", 1)
        if version != VERSION:
            raise ArtifactError(f"{path}: a gate of version {version}, this program reads {VERSION}")
        forest, isolation = (
            Forest(**{f.name: values.pop(f"{part}_{f.name}") for f in fields(Forest) if f.init})
            for part in ("forest", "isolation")
        )
        plain = [f.name for f in fields(Known) if f.name != "isolation"]
        known = Known(isolation=isolation, **{name: values.pop(f"known_{name}") for name in plain})
        names = tuple(str(name) for name in values.pop("names"))
        gate = Gate(forest=forest, known=known, names=names, **values)
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise ArtifactError(f"{path}: not readable as a gate ({type(error).__name__})") from error
    if unknown := [name for name in gate.names if name not in FORMULAS]:
        raise ArtifactError(f"{path}: made of the score {unknown[0]}, which this program does not have")
    return gate


def _arrays(part: Forest | Known | Gate) -> dict[str, Any]:
    """The fields of ``part`` that are arrays or numbers."""
    return {f.name: getattr(part, f.name) for f in fields(part) if f.init and not is_dataclass(getattr(part, f.name))}
