"""The traffic of `bench.drift`: held-out photos and 31 ways in which they change, scored by the served model.

The population is the test split of the prepared dataset, which neither trained nor calibrated anything. References and
windows are drawn from it with replacement, so that unchanged windows of any size follow exactly the reference's law.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.rows import Table, rows
from runners.pipeline import Pipeline
from settings import Settings
from training import dataset
from training.robustness import CORRUPTIONS, SEVERITIES
from training.unknowns import near_sets, ours

CORRUPTED = ("brightness", "contrast", "blur", "Gaussian noise", "pixelate")
PHOTOS = 2_000
"""Photos under each corruption."""
MANY, MANY_SHARE = "cat", 0.30
UNKNOWN_SHARES = (0.01, 0.05, 0.20)
Ints = NDArray[np.int64]
Rows = list[tuple[str, str, str, bool]]
"""Targets: name, measured, wanted, whether it is met."""


@dataclass(frozen=True)
class Photos:
    """Scored photos: the profiled ``table`` and whether the best guess is ``right`` (n,), None for the unknown."""

    table: Table
    right: NDArray[np.bool_] | None

    def __len__(self) -> int:
        return len(self.table["label"])


@dataclass(frozen=True)
class Change:
    """Traffic in which ``share`` of the photos come from ``photos`` and the rest from the population."""

    name: str
    photos: Photos
    share: float = 1.0

    def draw(self, population: Photos, size: int, rng: np.random.Generator) -> Table:
        """A window of ``size`` independent rows."""
        new = rng.random(size) < self.share
        old, other = take(population, rng, size), take(self.photos, rng, size)
        return {name: np.where(new, other[name], values) for name, values in old.items()}


def take(photos: Photos, rng: np.random.Generator, size: int) -> Table:
    """``size`` rows, with replacement."""
    index = rng.integers(len(photos), size=size)
    return {name: values[index] for name, values in photos.table.items()}


def stored(settings: Settings) -> tuple[Photos, list[Change]]:
    """`read`, from a file in the data folder where the served model has been scored before."""
    from runners.store import load_pipeline, served

    path = settings.var / "bench" / f"drift-{served(settings).cnn_tag.replace(':', '-')}.npz"
    if not path.is_file():
        population, changes = read(settings, load_pipeline(settings))
        path.parent.mkdir(parents=True, exist_ok=True)
        parts = {"population": population, **{f"{c.name}/{c.share}": c.photos for c in changes}}
        arrays = {f"{part}/{name}": v for part, photos in parts.items() for name, v in photos.table.items()}
        arrays |= {f"{part}/right": p.right for part, p in parts.items() if p.right is not None}
        draft = path.with_suffix(".part.npz")
        np.savez(draft, allow_pickle=False, **arrays)
        draft.replace(path)
    found: dict[str, dict[str, NDArray[Any]]] = {}
    with np.load(path) as arrays:
        for key in arrays.files:
            part, _, name = key.rpartition("/")
            found.setdefault(part, {})[name] = arrays[key]
    photos = {part: Photos(table, right=table.pop("right", None)) for part, table in found.items()}
    population = photos.pop("population")
    names = [part.rpartition("/") for part in photos]
    return population, [
        Change(name, scored, float(share)) for (name, _, share), scored in zip(names, photos.values(), strict=True)
    ]


def read(settings: Settings, pipeline: Pipeline) -> tuple[Photos, list[Change]]:
    """The population and the changes; SourceError where the dataset was not prepared, StoreError without a model."""
    data = dataset.load(settings.var / "dataset")
    pixels, labels = data["test"]

    def score(photos: NDArray[np.uint8], truth: Ints | None) -> Photos:
        scores = pipeline.score(photos, batch=250)
        sizes = np.full((len(photos), 2), photos.shape[1], np.int64)
        table = rows(photos, sizes, scores, pipeline.labels, settings.refuse_share)
        return Photos(table, None if truth is None else scores.best == truth)

    rng = np.random.default_rng(0)
    some = rng.choice(len(pixels), PHOTOS, replace=False)
    changes = [
        Change(f"{name} {severity}", score(CORRUPTIONS[name](pixels[some], severity, rng), labels[some]))
        for name in CORRUPTED
        for severity in SEVERITIES
    ]
    held_out = [(data[split], data.sources[split]) for split in ("validation", "calibration", "test")]
    captured = [np.concatenate([part[i][sources == "folder"] for part, sources in held_out]) for i in (0, 1)]
    changes.append(Change("new camera", score(captured[0], captured[1])))
    of_class = labels == pipeline.labels.index(MANY)
    changes.append(Change(f"30 % {MANY}s", score(pixels[of_class], labels[of_class]), MANY_SHARE))
    sets = near_sets(settings.data_root, ours(settings.var / "dataset"))
    unknown = score(np.concatenate([s.pixels for s in sets if s.half == "reporting"])[:PHOTOS], None)
    changes += [Change(f"unknown objects {share:.0%}", unknown, share) for share in UNKNOWN_SHARES]
    return score(pixels, labels), changes
