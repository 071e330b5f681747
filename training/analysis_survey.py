"""Two passes over the rows of the dataset: one adds up and draws photos to show, one fetches their pixels."""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from runners.images import SIDE
from training.analysis_statistics import NOTHING, Moments, measure, moments
from training.dataset import pixels_of
from training.sources import SourceError

if TYPE_CHECKING:
    import pyarrow as pa

Batches = Callable[[], Iterator["pa.RecordBatch"]]
"""Starts one pass over the rows: id, source, original, label, split, width, height, marks (lists of strings), pixels
(fixed-size binary, 3,072 bytes of RGB)."""

SHAPE = (SIDE, SIDE, 3)
Key = TypeVar("Key")


class Place(NamedTuple):
    """Where a photo is: ``split`` is empty for one that was left out of the dataset."""

    id: str
    label: str
    split: str


class Row(NamedTuple):
    """What is counted."""

    label: str
    source: str
    split: str
    original: str


class Lottery(Generic[Key]):
    """At most ``places`` ids per key, those of the lowest hash of (seed, id): a fair draw in any order of the rows."""

    def __init__(self, places: int) -> None:
        self._places = places
        self._drawn: dict[Key, list[tuple[int, str]]] = defaultdict(list)

    def offer(self, key: Key, rank: int, name: str) -> None:
        drawn = self._drawn[key]
        if len(drawn) < self._places:
            heapq.heappush(drawn, (-rank, name))
        else:
            heapq.heappushpop(drawn, (-rank, name))

    def drawn(self, key: Key) -> list[str]:
        """The ids drawn for ``key``; the first k are what a lottery with k places would draw."""
        return [name for _, name in sorted(self._drawn.get(key, ()), reverse=True)]


@dataclass(slots=True)
class PixelTotal:
    """Exact sums over the photos of one class, pixel by pixel: ``total`` and ``squares`` int64 (32, 32, 3)."""

    count: int = 0
    total: NDArray[np.int64] = field(default_factory=lambda: np.zeros(SHAPE, np.int64))
    squares: NDArray[np.int64] = field(default_factory=lambda: np.zeros(SHAPE, np.int64))

    def add(self, pixels: NDArray[np.uint8]) -> None:
        """``pixels`` uint8 (n, 32, 32, 3)."""
        self.count += len(pixels)
        self.total += pixels.sum(axis=0, dtype=np.int64)
        self.squares += np.einsum("nhwc,nhwc->hwc", *[pixels.astype(np.int64)] * 2)

    def mean_picture(self) -> bytes:
        """The mean photo, 3,072 bytes of RGB."""
        return np.round(self.total / self.count).astype(np.uint8).tobytes()

    def variation(self) -> float:
        """Mean over the pixels of their standard deviation over the photos, 0..1."""
        variance = self.squares / self.count - (self.total / self.count) ** 2
        return float(np.sqrt(np.clip(variance, 0, None)).mean() / 255.0)


@dataclass(slots=True)
class Survey:
    """What the first pass found. ``sizes``: source -> least width, greatest width, least height, greatest height."""

    samples: Lottery[tuple[str, str]]
    on_map: Lottery[str]
    counts: Counter[Row] = field(default_factory=Counter)
    moments: dict[tuple[str, str], Moments] = field(default_factory=lambda: defaultdict(lambda: NOTHING))
    pixels: dict[str, PixelTotal] = field(default_factory=lambda: defaultdict(PixelTotal))
    sizes: dict[str, tuple[int, int, int, int]] = field(default_factory=dict)
    marks: Counter[str] = field(default_factory=Counter)
    places: dict[str, Place] = field(default_factory=dict)


def survey(
    batches: Batches, labels: Sequence[str], find: Collection[str], seed: int, *, per_group: int, on_map: int
) -> Survey:
    """The first pass: sums, counts, where the ids of ``find`` are, and a draw by ``seed``.

    Drawn are ``per_group`` photos of each class and source, and ``on_map`` photos in equal shares of the ``labels``.

    Raises:
        SourceError: no rows, or a row of a class that is not in ``labels``.
    """
    known = set(labels)
    result = Survey(Lottery(per_group), Lottery(max(1, on_map // max(len(known), 1))))
    for batch in batches():
        columns = {name: batch.column(name).to_pylist() for name in ("id", "label", "source", "split", "original")}
        if unknown := set(columns["label"]) - known:
            raise SourceError(f"the dataset has photos of {min(unknown)}, which is none of its classes")
        result.counts.update(map(Row, *(columns[name] for name in Row._fields)))
        groups = list(zip(columns["label"], columns["source"], strict=True))
        for name, group, split in zip(columns["id"], groups, columns["split"], strict=True):
            rank = int.from_bytes(hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "big")
            result.samples.offer(group, rank, name)
            result.on_map.offer(group[0], rank, name)
            if name in find:
                result.places[name] = Place(name, group[0], split)
        result.marks.update(mark for marks in batch.column("marks").to_pylist() for mark in marks or ())
        _add_pixels(result, groups, pixels_of(batch.column("pixels")))
        _add_sizes(result, batch, columns["source"])
    if not result.counts:
        raise SourceError("the dataset has no photos: nothing to analyse")
    return result


def fetch(batches: Batches, wanted: Collection[str]) -> dict[str, bytes]:
    """The second pass: the pixels, 3,072 bytes of RGB, of those of ``wanted`` that the dataset has, by id."""
    found: dict[str, bytes] = {}
    for batch in batches():
        hits = [i for i, name in enumerate(batch.column("id").to_pylist()) if name in wanted]
        if hits:
            names, pixels = batch.column("id"), pixels_of(batch.column("pixels"))
            found |= {names[i].as_py(): pixels[i].tobytes() for i in hits}
    return found


def _add_pixels(result: Survey, groups: Sequence[tuple[str, str]], pixels: NDArray[np.uint8]) -> None:
    values = measure(pixels)
    rows: dict[tuple[str, str], list[int]] = defaultdict(list)
    for i, group in enumerate(groups):
        rows[group].append(i)
    for group, members in rows.items():
        result.moments[group] += moments(values[members])
        result.pixels[group[0]].add(pixels[members])


def _add_sizes(result: Survey, batch: pa.RecordBatch, sources: Sequence[str]) -> None:
    width, height = (np.array(batch.column(name).to_pylist(), np.int64) for name in ("width", "height"))
    of_source = np.asarray(sources)
    for source in set(sources):
        w, h = width[of_source == source], height[of_source == source]
        here = (int(w.min()), int(w.max()), int(h.min()), int(h.max()))
        a = result.sizes.get(source, here)
        result.sizes[source] = (min(a[0], here[0]), max(a[1], here[1]), min(a[2], here[2]), max(a[3], here[3]))
