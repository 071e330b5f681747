"""What is in the dataset: counts, samples, colours, a map, duplicates and suspected labels, as one object.

Memory grows with the batch, the classes and the pairs, not with the rows.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from training.analysis_map import Embed, EmbeddingMap, embedding_map
from training.analysis_statistics import CAPTURED, NOTHING, Contrast, Spread, captured_sentence, contrasts
from training.analysis_survey import SHAPE, Batches, Place, Row, Survey, fetch, survey
from training.dataset import SPLITS

PHOTOS_PER_GROUP = 8
MOST_ON_MAP = 3000
MOST_SHOWN = 60
"""Pairs, and suspected labels, that are shown with their pictures."""
MOST_DROPPED = 200
_MOST_SAMPLES = 480  # over all groups: the page stays small however many classes there are


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class Pair(_Model):
    """Two photos that are the same or nearly so; ``distance`` 0 for equal ones, in the measure that found the pair."""

    kind: str
    distance: float
    a: Place
    b: Place

    @property
    def straddles(self) -> bool:
        """Both are in the dataset, in different splits: what is learned from one leaks into the test on the other."""
        return bool(self.a.split and self.b.split and self.a.split != self.b.split)

    @property
    def conflicts(self) -> bool:
        """They stand for different classes."""
        return bool(self.a.label and self.b.label and self.a.label != self.b.label)


class Duplicates(_Model):
    """Pairs by kind; how many straddle two splits, how many disagree on the class; the worst at most 60."""

    counts: dict[str, int]
    across_splits: int
    conflicts: int
    shown: list[Pair]


class Suspect(NamedTuple):
    """A photo whose class is doubtful; ``confidence`` 0..1 is the network's probability of the suggested one."""

    id: str
    given: str
    suggested: str
    confidence: float


class Suspects(_Model):
    """How many labels are doubtful, and the worst at most 60."""

    count: int
    shown: list[Suspect]


class Dropped(NamedTuple):
    """A photo left out. ``reason`` is one of few phrases; details, if any, follow after a colon or "of"."""

    id: str
    source: str
    label: str
    reason: str


class DroppedPhotos(_Model):
    """``counts``: reason without its details -> photos; ``photos``: at most 200, in fair shares of the reasons."""

    counts: dict[str, int]
    photos: list[Dropped]


class Group(_Model):
    """The photos of one class from one source: per split, by the source's own label, and ``samples``, some ids."""

    label: str
    source: str
    splits: dict[str, int]
    originals: dict[str, int]
    statistics: dict[str, Spread]
    samples: list[str]


class Source(_Model):
    """One source: photos per split; least and greatest width and height, pixels, as the photos came."""

    splits: dict[str, int]
    width: tuple[int, int]
    height: tuple[int, int]
    statistics: dict[str, Spread]


class Statistics(_Model):
    """Colour and brightness by class, and captured photos against the others: in numbers and in one sentence.

    ``variation``: by class, the mean over the pixels of their standard deviation over the photos, 0..1; low where the
    photos of a class are alike.
    """

    classes: dict[str, dict[str, Spread]]
    variation: dict[str, float]
    contrasts: list[Contrast]
    captured: str


class Analysis(_Model):
    """All figures of the page and, kept out of the JSON, the pictures: 3,072 bytes of RGB by id and by class.

    ``classes``: class -> split -> photos. ``suspects``: `None` before there is a network. ``map``: `None` for too few
    photos. ``marks``: quality mark -> photos that bear it.
    """

    digest: str
    seed: int
    classes: dict[str, dict[str, int]]
    sources: dict[str, Source]
    groups: list[Group]
    marks: dict[str, int]
    statistics: Statistics
    map: EmbeddingMap | None
    duplicates: Duplicates
    suspects: Suspects | None
    dropped: DroppedPhotos
    pictures: dict[str, bytes] = Field({}, exclude=True, repr=False)
    mean_pictures: dict[str, bytes] = Field({}, exclude=True, repr=False)


def analyse(
    batches: Batches,
    labels: Sequence[str],
    digest: str,
    dropped: Iterable[tuple[str, str, str, str]] = (),
    pairs: Iterable[tuple[str, str, str, float]] = (),
    suspects: Sequence[tuple[str, str, str, float]] | None = None,
    embed: Embed | None = None,
    seed: int = 0,
    pictures: Mapping[str, bytes] | None = None,
) -> Analysis:
    """Everything that `training.analysis_page.page` shows, in two passes over ``batches``.

    ``labels``: the classes in their order. ``dropped``: (id, source, label, reason). ``pairs``: (id, id, kind,
    distance). ``suspects``: (id, given label, suggested label, confidence 0..1), worst first; `None` before there is a
    network. ``embed``: the served network's embedding, for the map; without it the map is of pixels. ``pictures``:
    3,072 bytes of RGB of photos that were left out but stand in ``pairs``.

    Raises:
        SourceError: no rows, or a row of a class that is not in ``labels``.
    """
    left_out = [Dropped(*row) for row in dropped]
    twins = list(pairs)
    ids = set(chain.from_iterable(twin[:2] for twin in twins))
    found = survey(batches, labels, ids, seed, per_group=PHOTOS_PER_GROUP, on_map=MOST_ON_MAP)
    duplicates = _duplicates(twins, {d.id: Place(d.id, d.label, "") for d in left_out} | found.places)
    groups = _groups(found, labels)
    doubtful = [Suspect(*row) for row in (suspects or ())[:MOST_SHOWN]]
    on_map = [(name, label) for label in labels for name in found.on_map.drawn(label)]

    shown = {name for group in groups for name in group.samples} | {suspect.id for suspect in doubtful}
    shown |= {place.id for pair in duplicates.shown for place in (pair.a, pair.b)}
    pixels = fetch(batches, shown | {name for name, _ in on_map})
    sample = np.stack([np.frombuffer(pixels[name], np.uint8).reshape(SHAPE) for name, _ in on_map])
    return Analysis(
        digest=digest,
        seed=seed,
        classes={label: _splits(row for row in found.counts.items() if row[0].label == label) for label in labels},
        sources=_sources(found),
        groups=groups,
        marks=dict(found.marks.most_common()),
        statistics=_statistics(found, labels),
        map=embedding_map([name for name, _ in on_map], [label for _, label in on_map], sample, embed, seed),
        duplicates=duplicates,
        suspects=None if suspects is None else Suspects(count=len(suspects), shown=doubtful),
        dropped=_dropped(left_out),
        pictures=dict(pictures or {}) | {name: data for name, data in pixels.items() if name in shown},
        mean_pictures={label: total.mean_picture() for label, total in found.pixels.items()},
    )


def _splits(rows: Iterable[tuple[Row, int]]) -> dict[str, int]:
    counts = dict.fromkeys(SPLITS, 0)
    for row, count in rows:
        counts[row.split] += count
    return counts


def _groups(found: Survey, labels: Sequence[str]) -> list[Group]:
    rows: dict[tuple[str, str], list[tuple[Row, int]]] = defaultdict(list)
    for row, count in found.counts.items():
        rows[row.label, row.source].append((row, count))
    photos = max(1, min(PHOTOS_PER_GROUP, _MOST_SAMPLES // len(rows)))
    groups = []
    for key in sorted(rows, key=lambda key: (labels.index(key[0]), key[1])):
        originals: Counter[str] = Counter()
        for row, count in rows[key]:
            originals[row.original] += count
        groups.append(
            Group(
                label=key[0],
                source=key[1],
                splits=_splits(rows[key]),
                originals=dict(sorted(originals.items())),
                statistics=found.moments[key].spreads(),
                samples=found.samples.drawn(key)[:photos],
            )
        )
    return groups


def _sources(found: Survey) -> dict[str, Source]:
    return {
        source: Source(
            splits=_splits(row for row in found.counts.items() if row[0].source == source),
            width=sizes[:2],
            height=sizes[2:],
            statistics=sum((m for key, m in found.moments.items() if key[1] == source), NOTHING).spreads(),
        )
        for source, sizes in sorted(found.sizes.items())
    }


def _statistics(found: Survey, labels: Sequence[str]) -> Statistics:
    of_class, others, captured = (dict.fromkeys(labels, NOTHING) for _ in range(3))
    for (label, source), own in found.moments.items():
        of_class[label] += own
        part = captured if source == CAPTURED else others
        part[label] += own
    ours = sum(captured.values(), NOTHING)
    differences = contrasts(ours, {label: own for label, own in others.items() if own.count})
    base = sorted({source for _, source in found.moments if source != CAPTURED})
    return Statistics(
        classes={label: own.spreads() for label, own in of_class.items() if own.count},
        variation={label: round(found.pixels[label].variation(), 5) for label in labels if label in found.pixels},
        contrasts=differences,
        captured=captured_sentence(differences, ours.count, base),
    )


def _duplicates(twins: Sequence[tuple[str, str, str, float]], places: Mapping[str, Place]) -> Duplicates:
    pairs = [
        Pair(kind=kind, distance=distance, a=places.get(a, Place(a, "", "")), b=places.get(b, Place(b, "", "")))
        for a, b, kind, distance in twins
    ]
    pairs.sort(key=lambda p: (not p.straddles, not p.conflicts, p.kind, p.distance, p.a.id, p.b.id))
    return Duplicates(
        counts=dict(sorted(Counter(pair.kind for pair in pairs).items())),
        across_splits=sum(pair.straddles for pair in pairs),
        conflicts=sum(pair.conflicts for pair in pairs),
        shown=pairs[:MOST_SHOWN],
    )


def _dropped(left_out: Sequence[Dropped]) -> DroppedPhotos:
    counts: Counter[str] = Counter()
    ranked = []
    for photo in left_out:
        reason = re.split(r":| of ", photo.reason, maxsplit=1)[0]
        ranked.append((counts[reason], reason, photo))
        counts[reason] += 1
    shown = sorted(ranked, key=lambda entry: entry[:2])[:MOST_DROPPED]
    return DroppedPhotos(
        counts=dict(counts.most_common()), photos=[photo for _, _, photo in sorted(shown, key=lambda e: (e[1], e[0]))]
    )
