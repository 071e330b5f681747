"""The scores that the lab compares: each has ``fit`` and ``score``, and is higher for a more unknown photo."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from runners.gate import EXCESS, Gate
from runners.isolation import Doubles, Forest
from runners.ood_scores import FORMULAS, Floats, Seen, class_distances, raw_scores, softmax
from training.gate import fit_gate
from training.isolation import fit_forest
from training.ood_known import Fitting, Outputs

FOREST_SOURCE = "isolation forest (Liu, Ting and Zhou 2008)"
CANDIDATES = (
    ("gen", "energy"),
    ("gen", "max_logit"),
    ("entropy", "energy"),
    ("gen", "energy", "entropy"),
    ("gen", "energy", "cosine"),
    ("gen", "energy", "knn"),
    ("gen", "max_logit", "cosine"),
    ("gen", "energy", "relative_mahalanobis"),
    ("gen", "energy", "entropy", "relative_mahalanobis"),
    ("entropy", "energy", "relative_mahalanobis"),
    ("gen", "energy", "knn", "relative_mahalanobis"),
    ("energy", "cosine", "knn"),
    ("gen", "energy", "isolation"),
    ("gen", "energy", "cosine", "isolation"),
    ("gen", "energy", "relative_mahalanobis", "isolation"),
    ("gen", "energy", "cosine", "relative_mahalanobis", "isolation"),
)
"""Feature sets that the gate may be made of. The lab's choosing half decides."""
EARLIER = ("energy", "entropy", "cosine", "exceedance")
COMPONENTS = 32
LEAST_OF_CLASS = 20
"""Held-out photos that a class needs for a forest of its own."""


class Score(Protocol):
    """Anything that tells how unknown a photo is. ``fit`` before ``score``; ``source``: where its formula is from."""

    @property
    def name(self) -> str: ...

    @property
    def title(self) -> str: ...

    @property
    def source(self) -> str: ...

    def fit(self, features: Fitting) -> None: ...

    def score(self, features: Outputs) -> Doubles:
        """(n,), higher for a more unknown photo."""
        ...


class FormulaScore:
    """One of `runners.ood_scores.FORMULAS`."""

    def __init__(self, name: str) -> None:
        self.name, self.title, self.source = name, FORMULAS[name].title, FORMULAS[name].source

    def fit(self, features: Fitting) -> None:
        self._known = features.known

    def score(self, features: Outputs) -> Doubles:
        return FORMULAS[self.name].score(Seen(*features), self._known).astype(np.float64)


class ForestScore:
    """An isolation forest on some view of the outputs; ``view`` is made by ``prepare`` from what is fitted on."""

    def __init__(
        self, name: str, title: str, prepare: Callable[[Fitting], Callable[[Outputs], Floats]], trees: int, seed: int
    ) -> None:
        self.name, self.title, self.source = name, title, FOREST_SOURCE
        self._prepare, self._trees, self._seed = prepare, trees, seed

    def fit(self, features: Fitting) -> None:
        self._view = self._prepare(features)
        self._forest = fit_forest(self._view(features.held_out), self._trees, self._seed)

    def score(self, features: Outputs) -> Doubles:
        return self._forest.score(self._view(features))


class ClassForestScore:
    """A forest per class on the embedding of its held-out photos; a photo is scored by that of its predicted class."""

    name, title, source = "forest_per_class", "Forest per class, embedding", FOREST_SOURCE

    def __init__(self, trees: int, seed: int) -> None:
        self._trees, self._seed = trees, seed

    def fit(self, features: Fitting) -> None:
        logits, embedding = features.held_out
        guess = logits.argmax(axis=1)
        self._rest = fit_forest(embedding, self._trees, self._seed)
        self._forests: dict[int, Forest] = {
            int(c): fit_forest(embedding[guess == c], self._trees, self._seed)
            for c in np.unique(guess)
            if (guess == c).sum() >= LEAST_OF_CLASS
        }

    def score(self, features: Outputs) -> Doubles:
        logits, embedding = features
        guess, result = logits.argmax(axis=1), np.empty(len(logits))
        for c in np.unique(guess):
            result[guess == c] = self._forests.get(int(c), self._rest).score(embedding[guess == c])
        return result


class GateScore:
    """The gate's forest on a set of one-sided scores, mirrored (`training.gate`)."""

    source = FOREST_SOURCE + ", on -log of held-out shares"

    def __init__(self, names: Sequence[str], trees: int, seed: int) -> None:
        self.names = tuple(names)
        self.name = "gate_" + "+".join(names)
        self.title = "Gate forest: " + ", ".join(FORMULAS[name].title for name in names)
        self._trees, self._seed = trees, seed

    def fit(self, features: Fitting) -> None:
        held = features.held_out
        self._gate: Gate = fit_gate(held, features.known, held, self.names, self._trees, self._seed)

    def score(self, features: Outputs) -> Doubles:
        return self._gate.forest.score(self._gate.features(*features))


def single_scores() -> list[Score]:
    """The published single scores."""
    return [FormulaScore(name) for name in FORMULAS if name not in (EXCESS, "exceedance", "isolation")]


def gate_scores(trees: int, seed: int) -> list[GateScore]:
    """The candidates for the gate."""
    return [GateScore(names, trees, seed) for names in CANDIDATES]


def forest_scores(trees: int, seed: int) -> list[Score]:
    """Isolation forests on other views: what does not work, and what served before."""
    views: list[tuple[str, str, Callable[[Fitting], Callable[[Outputs], Floats]]]] = [
        ("forest_embedding", "Forest, raw embedding", lambda _: lambda o: o[1]),
        ("forest_pca", f"Forest, {COMPONENTS} whitened components", _components),
        ("forest_logits", "Forest, logits", lambda _: lambda o: o[0]),
        ("forest_softmax", "Forest, softmax", lambda f: lambda o: softmax(o[0], f.temperature)),
        ("forest_relative", "Forest, distance to the nearest classes", _relative),
        ("forest_one_sided", "Forest, one-sided scores, cut at the median", _one_sided),
    ]
    return [
        *(ForestScore(name, title, prepare, trees, seed) for name, title, prepare in views),
        ClassForestScore(trees, seed),
    ]


def _components(features: Fitting) -> Callable[[Outputs], Floats]:
    embedding = features.train[1]
    centre = embedding.mean(axis=0)
    _, size, directions = np.linalg.svd(embedding - centre, full_matrices=False)
    kept = min(COMPONENTS, len(size))
    scale = directions[:kept].T * np.sqrt(len(embedding)) / np.maximum(size[:kept], 1e-6)
    return lambda outputs: ((outputs[1] - centre) @ scale).astype(np.float32)


def _relative(features: Fitting) -> Callable[[Outputs], Floats]:
    known = features.known

    def view(outputs: Outputs) -> Floats:
        background = (((outputs[1] - known.centre) @ known.total) ** 2).sum(axis=1, keepdims=True)
        return np.sort(class_distances(outputs[1], known) - background, axis=1)[:, :5].astype(np.float32)

    return view


def _one_sided(features: Fitting) -> Callable[[Outputs], Floats]:
    held = raw_scores(EARLIER, Seen(*features.held_out), features.known)
    low, centre, high = np.percentile(held, [25, 50, 75], axis=0).astype(np.float32)
    scale = np.where(high > low, high - low, 1.0).astype(np.float32)
    return lambda outputs: np.maximum((raw_scores(EARLIER, Seen(*outputs), features.known) - centre) / scale, 0.0)
