"""The traffic of `bench.closed_loop`: ordinary photos, a new camera, a new kind of object; when drift is flagged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from monitoring import drift, profiles
from monitoring.rows import Table, rows
from runners.pipeline import Pipeline
from runners.progress import Progress
from training.dataset import Dataset
from training.sources import CIFAR100, Labelled, cifar_samples, sample_pixels

SHARE, STREAM, WINDOW, STREAMS = 0.1, 1_000, 100, 20
"""A tenth of each stream is new. It comes in windows; after each one the drift check merges all so far and judges."""
POOL = 2_000
"""Held-out photos that are traffic; they are taken out of the splits that the challenger is fitted and judged on."""
KIND = "bicycle"
"""A class of CIFAR-100 that the network does not know."""
LAMPLIGHT = (0.6, 0.45, 0.25)


def new_camera(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Photos uint8 (n, 32, 32, 3) as a cheap camera in lamplight takes them: dim and yellow."""
    return np.rint(pixels * np.array(LAMPLIGHT, np.float32)).astype(np.uint8)


def new_kind(data_root: Path, progress: Progress) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Photos of `KIND`: 500 that are traffic, and 100 to report on."""
    chosen = {KIND: KIND}
    photos = [
        np.stack([sample_pixels(sample) for sample in cifar_samples(CIFAR100, chosen, split, data_root, progress)])
        for split in ("train", "test")
    ]
    return photos[0], photos[1]


def parts(data: Dataset, test_photos: int | None) -> tuple[Dataset, Labelled]:
    """The dataset without the photos of the pool, and the pool: a random part of both held-out splits."""
    rng = np.random.default_rng(0)
    splits, sources, pool = dict(data.splits), dict(data.sources), []
    for split in ("validation", "calibration"):
        (pixels, labels), order = data[split], rng.permutation(len(data[split][1]))
        mine, rest = order[: POOL // 2], np.sort(order[POOL // 2 :])
        pool.append((pixels[mine], labels[mine]))
        splits[split], sources[split] = (pixels[rest], labels[rest]), data.sources[split][rest]
    if test_photos is not None and test_photos < len(data["test"][1]):
        chosen = np.sort(rng.choice(len(data["test"][1]), test_photos, replace=False))
        splits["test"] = (data["test"][0][chosen], data["test"][1][chosen])
        sources["test"] = data.sources["test"][chosen]
    pixels, labels = (np.concatenate(side) for side in zip(*pool, strict=True))
    return replace(data, splits=splits, sources=sources), (pixels, labels)


def rows_of(champion: Pipeline, pixels: NDArray[np.uint8], refuse_share: float) -> Table:
    """The rows that monitoring records of these photos."""
    sizes = np.full((len(pixels), 2), pixels.shape[1], np.int64)
    return rows(pixels, sizes, champion.score(pixels, batch=250), champion.labels, refuse_share)


def delays(
    ordinary: Table, new: Table | None, reference: profiles.Profile, alpha: float, progress: Progress
) -> list[int]:
    """Photos until drift is flagged in each of `STREAMS` streams, a `SHARE` of which is ``new``; a window more than a
    stream has where it never is."""
    rng = np.random.default_rng(1)
    found = []
    for number in range(STREAMS):
        stream = _stream(ordinary, new, rng)
        windows: list[profiles.Profile] = []
        delay = STREAM + WINDOW
        for start in range(0, STREAM, WINDOW):
            windows.append(profiles.profile({name: column[start : start + WINDOW] for name, column in stream.items()}))
            if drift.check(reference, profiles.merge(windows), alpha).verdict == "drift":
                delay = start + WINDOW
                break
        found.append(delay)
        progress("drift", number + 1, STREAMS, unit="streams")
    return sorted(found)


def _stream(ordinary: Table, new: Table | None, rng: np.random.Generator) -> Table:
    old = rng.choice(len(ordinary["label"]), STREAM, replace=False)
    if new is None:
        return {name: column[old] for name, column in ordinary.items()}
    other = rng.choice(len(new["label"]), STREAM, replace=len(new["label"]) < STREAM)
    chosen = rng.random(STREAM) < SHARE
    return {name: np.where(chosen, new[name][other], column[old]) for name, column in ordinary.items()}
