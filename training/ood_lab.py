"""The lab: all scores on the same network and the same photos. One half of the unknown photos chooses the gate's
features, the other half says how good every score is."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.intervals import wilson
from runners.gate import FEATURES, Gate
from runners.isolation import Doubles
from runners.network import Network
from training.evaluate import GATE
from training.export import outputs
from training.ood_known import KnownPhotos, Outputs
from training.ood_metrics import METRICS, auroc, compare, interval
from training.ood_scores import Score, forest_scores, gate_scores, single_scores
from training.readers import CIFAR10_LABELS
from training.unknowns import Group, Half, UnknownSet

SERVED = "p_value"
"""The gate's p-value among the scores, beside its score `GATE`."""
RESULT = "ood-lab.json"
WITHIN = 0.005
"""How far the gate's mean AUROC on near and on far photos may lie below the best single score's."""
MEANS: Mapping[str, tuple[Group, ...]] = {
    "near": ("near",),
    "far": ("far",),
    "generated": ("generated",),
    "far and generated": ("far", "generated"),
}
"""Each mean gives its sets equal weight."""
GOALS = ("near", "far", "far and generated")
"""The means that the gate must reach; the last two differ in that a photo of nothing is no photo."""
PROTOCOL_NEAR = ("CIFAR-100", "tiny imagenet")
"""Near sets of OpenOOD v1.5 (Zhang et al. 2023) for CIFAR-10; its far ones are MNIST, SVHN, textures and Places."""


@dataclass(frozen=True, slots=True)
class Measured:
    """An unknown set as the network sees it."""

    name: str
    group: Group
    half: Half
    outputs: Outputs
    classes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Choice:
    """``names``: the features chosen for the gate. ``table``: title -> mean AUROC by group, on the choosing half."""

    names: tuple[str, ...]
    table: dict[str, dict[str, float]]


def measure(network: Network, sets: Iterable[UnknownSet]) -> list[Measured]:
    """Run ``network`` over every set."""
    return [Measured(s.name, s.group, s.half, outputs(network, s.pixels), s.classes) for s in sets]


def choose(photos: KnownPhotos, unknown: Sequence[Measured], trees: int, seed: int) -> Choice:
    """The features with which the gate's forest tells the calibration photos from the choosing half best.

    Of the candidates within `WITHIN` of the best single score on near and on far photos, generated ones counted or not,
    the one of the highest mean, or where there is none, the one that falls short the least. `runners.gate.FEATURES`
    without near and far photos.
    """
    sets = [s for s in unknown if s.half == "choosing"]
    if all(s.group == "generated" for s in sets):
        return Choice(FEATURES, {})
    singles, candidates = single_scores(), gate_scores(trees, seed)
    table = {}
    for score in (*singles, *candidates):
        score.fit(photos.fitting)
        known = score.score(photos.calibration)
        by_set = {(s.name, s.group): auroc(known, score.score(s.outputs)) for s in sets}
        table[score.title] = _means(by_set)
    goals = [goal for goal in GOALS if goal in table[singles[0].title]]
    best = {goal: max(table[s.title][goal] for s in singles) for goal in goals}

    def merit(title: str) -> tuple[float, float]:
        short = max(best[goal] - table[title][goal] for goal in goals)
        return -max(short, WITHIN), sum(table[title][goal] for goal in goals if goal != "far")

    chosen = max(candidates, key=lambda candidate: merit(candidate.title))
    return Choice(chosen.names, table)


@dataclass(frozen=True, slots=True)
class Lab:
    """What every score is judged on: the photos it is fitted on, unknown sets, and known photos of the test split."""

    photos: KnownPhotos
    unknown: Sequence[Measured]
    known: Outputs
    sources: NDArray[np.str_]
    labels: Sequence[str]
    trees: int
    seed: int


def report(lab: Lab, gate: Gate, choice: Choice, refuse_share: float) -> dict[str, Any]:
    """Every score on the test photos against the reporting half, as JSON types.

    ``gate`` is the one that is served; it is judged by its score and by its p-value.
    """
    sets = {s.name: s for s in lab.unknown if s.half == "reporting"}
    protocol = _protocol_sets(lab.unknown) if set(lab.labels) == set(CIFAR10_LABELS) else {}
    rows = []
    for kind, score in _all_scores(gate, lab.trees, lab.seed):
        score.fit(lab.photos.fitting)
        known = score.score(lab.known)
        compared = compare(known, {name: score.score(s.outputs) for name, s in sets.items()}, lab.seed)
        row: dict[str, Any] = {"name": score.name, "title": score.title, "source": score.source, "kind": kind}
        row |= _summary(compared, sets)
        if protocol:
            row["protocol"] = _protocol({name: auroc(known, score.score(part)) for name, part in protocol.items()})
        rows.append(row)
    served = {name: gate.score(*part) for name, part in (("", lab.known), *((n, s.outputs) for n, s in sets.items()))}
    described = [
        {"name": s.name, "group": s.group, "half": s.half, "photos": len(s.outputs[0]), "classes": list(s.classes)}
        for s in lab.unknown
    ]
    return {
        "features": list(choice.names),
        "classes": len(lab.labels),
        "known": {str(s): int((lab.sources == s).sum()) for s in np.unique(lab.sources)},
        "sets": described,
        "choice": choice.table,
        "scores": rows,
        "targets": targets(rows),
        "refuse_share": refuse_share,
        "refused": _refused(served, lab.sources, refuse_share),
        "histogram": _histogram({name or "known": scores for name, (scores, _) in served.items()}),
    }


def targets(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The gate against the best single score: on near, on far, and on the mean of both."""
    [gate] = [row for row in rows if row["name"] == GATE]
    singles = [row for row in rows if row["kind"] == "single"]
    found = []
    for goal in (*GOALS, "near and far"):
        if goal not in gate["means"] or (goal == "far and generated" and "far" not in gate["means"]):
            continue
        best = max(singles, key=lambda row: row["means"][goal]["auroc"])
        wanted = best["means"][goal]["auroc"] - (WITHIN if goal != "near and far" else 0.0)
        measured = gate["means"][goal]["auroc"]
        found.append(
            {"name": goal, "measured": measured, "wanted": wanted, "best": best["title"], "met": measured >= wanted}
        )
    return found


def brief(result: Mapping[str, Any]) -> dict[str, dict[str, dict[str, float]]]:
    """The numbers for report and tracking: set or mean -> score -> metric, of the gate and the best single scores."""
    singles = {row["title"]: row["name"] for row in result["scores"] if row["kind"] == "single"}
    kept = {GATE, SERVED, *(singles[target["best"]] for target in result["targets"])}
    table: dict[str, dict[str, dict[str, float]]] = {}
    for row in result["scores"]:
        if row["name"] in kept:
            for name, values in (*row["sets"].items(), *((f"mean {n}", v) for n, v in row["means"].items())):
                table.setdefault(name, {})[row["name"]] = {metric: values[metric] for metric in METRICS}
    return table


class _Fitted:
    """The gate as it is served, in the shape of a `Score`; it is fitted already."""

    def __init__(self, gate: Gate, name: str, title: str) -> None:
        self.name, self.title, self.source = name, title, "runners.gate"
        self._gate = gate

    def fit(self, features: object) -> None:
        pass

    def score(self, features: Outputs) -> Doubles:
        score, p_value = self._gate.score(*features)
        return (score if self.name == GATE else -p_value).astype(np.float64)


def _all_scores(gate: Gate, trees: int, seed: int) -> list[tuple[str, Score]]:
    return [
        ("gate", _Fitted(gate, GATE, "The gate")),
        ("gate", _Fitted(gate, SERVED, "The gate's p-value")),
        *(("single", score) for score in single_scores()),
        *(("candidate", score) for score in gate_scores(trees, seed)),
        *(("forest", score) for score in forest_scores(trees, seed)),
    ]


def _means(values: Mapping[tuple[str, Group], float]) -> dict[str, float]:
    means = {}
    for name, groups in MEANS.items():
        if picked := [value for (_, group), value in values.items() if group in groups]:
            means[name] = float(np.mean(picked))
    return means


def _summary(compared: Mapping[str, dict[str, Any]], sets: Mapping[str, Measured]) -> dict[str, Any]:
    """The metrics by set and their means, with intervals, without the bootstrap samples."""
    samples = {name: row["samples"] for name, row in compared.items()}
    means: dict[str, dict[str, Any]] = {}
    groups = {name: [n for n, s in sets.items() if s.group in kinds] for name, kinds in MEANS.items()}
    for name, members in groups.items():
        if members:
            means[name] = {m: float(np.mean([compared[n][m] for n in members])) for m in METRICS}
            drawn = {m: np.mean([samples[n][m] for n in members], axis=0) for m in METRICS}
            means[name] |= {f"{m}_interval": interval(values) for m, values in drawn.items()}
    if "near" in means and "far" in means:
        both = {m: (means["near"][m] + means["far"][m]) / 2 for m in METRICS}
        halves = {g: {m: np.mean([samples[n][m] for n in groups[g]], axis=0) for m in METRICS} for g in ("near", "far")}
        drawn = {m: (halves["near"][m] + halves["far"][m]) / 2 for m in METRICS}
        means["near and far"] = both | {f"{m}_interval": interval(values) for m, values in drawn.items()}
    plain = {name: {key: value for key, value in row.items() if key != "samples"} for name, row in compared.items()}
    return {"sets": plain, "means": means}


def _protocol_sets(unknown: Sequence[Measured]) -> dict[str, Outputs]:
    """Both halves of each set of photos together, as OpenOOD has them."""
    together: dict[str, list[Outputs]] = {}
    for s in unknown:
        if s.group != "generated":
            together.setdefault(s.name, []).append(s.outputs)
    return {
        name: (np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts]))
        for name, parts in together.items()
    }


def _protocol(by_set: Mapping[str, float]) -> dict[str, float]:
    """AUROC by set, and the mean of OpenOOD's near and far sets as far as they are there."""
    near = [value for name, value in by_set.items() if name in PROTOCOL_NEAR]
    far = [value for name, value in by_set.items() if name not in PROTOCOL_NEAR]
    means = {name: float(np.mean(values)) for name, values in (("near", near), ("far", far)) if values}
    return {**by_set, **means}


def _refused(
    served: Mapping[str, tuple[NDArray[np.float32], NDArray[np.float32]]], sources: NDArray[np.str_], share: float
) -> list[dict[str, Any]]:
    """Share of photos that the gate refuses at ``share``, by source and by unknown set, with Wilson's interval."""
    known = served[""][1] <= share
    parts = [("all known photos", known), *((f"known: {s}", known[sources == s]) for s in np.unique(sources))]
    parts += [(name, p <= share) for name, (_, p) in served.items() if name]
    return [
        {"name": n, "photos": len(v), "refused": float(v.mean()), "interval": wilson(int(v.sum()), len(v))}
        for n, v in parts
    ]


def _histogram(scores: Mapping[str, NDArray[np.float32]]) -> dict[str, Any]:
    """Share of each set in 40 equal bins of the gate's score."""
    every = np.concatenate(list(scores.values()))
    edges = np.linspace(float(every.min()), float(every.max()) + 1e-6, 41)
    return {
        "edges": edges.tolist(),
        "shares": {name: (np.histogram(v, edges)[0] / len(v)).tolist() for name, v in scores.items()},
    }
