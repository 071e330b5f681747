"""Near-duplicates: pictures of one camera shot that differ in crop, colour, size or compression.

Hashes propose and pixels decide. All pairs of hashes within `NEAR_BITS` are found by multi-index hashing, in blocks of
bounded size, and each is confirmed by the correlation of the pictures themselves. All arithmetic on pixels is exact, so
that every machine finds the same pairs.

Measured on CIFAR-10, its test set against its training set, with the 255 test photos that Barz and Denzler ("Do we
train on test data?", J. Imaging 2020) judged by eye to have a near-duplicate there: this finds 154 of them (60 %; the
others are cropped or shifted by more than a dHash bears) and 96 that their list does not name. Seen by eye, about 6 of
those 96 are two things that look alike, such as two ships under one sky: some 97 % of the 250 are right. Least
correlation and most bits: 0.92 and 12 find 136 and 74, 0.85 and 12 find 173 and 154 of which a good part is wrong, 0.90
and 10 find 145 and 76, 0.90 and 14 find 161 and 114 among five times as many candidates.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NEAR_BITS = 12
"""Largest Hamming distance of two dHashes of 32×32 pictures that is looked into."""
NEAR_CORRELATION = 0.90
"""Least `correlation` of near-duplicates."""

Rows = NDArray[np.int64]
Hashes = NDArray[np.uint64]
Pixels = Callable[[Rows], NDArray[np.uint8]]
"""Rows (m,), ascending and distinct -> their pixels, uint8 (m, 32, 32, 3); asked for at most 2,000 photos at once."""

_BANDS = 4  # of 16 bits
_BLOCK = 2_000_000  # pairs of hashes compared at once: about 100 MB
_CONFIRM = 1_000  # pairs of pictures compared at once: about 60 MB


@dataclass(frozen=True, slots=True)
class Pairs:
    """Near-duplicates: rows ``first`` < ``second``, sorted; ``distance`` in bits; ``correlation`` -1..1; each (m,)."""

    first: Rows
    second: Rows
    distance: NDArray[np.uint8]
    correlation: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.first)


def near_duplicates(hashes: Hashes, pixels: Pixels, bits: int = NEAR_BITS, at_least: float = NEAR_CORRELATION) -> Pairs:
    """Every pair of rows whose ``hashes`` (n,) differ in at most ``bits`` and whose pictures correlate ``at_least``.

    Memory grows with the pairs that are confirmed, not with the square of n.
    """
    found = []
    for first, second in _batches(near_hashes(hashes, bits), _CONFIRM):
        rows, places = np.unique(np.concatenate([first, second]), return_inverse=True)
        grey = luma(pixels(rows))[places]
        alike = correlation(grey[: len(first)], grey[len(first) :])
        keep = alike >= at_least
        first, second = first[keep], second[keep]
        found.append((first, second, np.bitwise_count(hashes[first] ^ hashes[second]), alike[keep]))
    if not found:
        empty = np.empty(0, np.int64)
        return Pairs(empty, empty, empty.astype(np.uint8), empty.astype(np.float64))
    first, second, distance, alike = (np.concatenate(column) for column in zip(*found, strict=True))
    order = np.lexsort((second, first))
    return Pairs(first[order], second[order], distance[order], alike[order])


def near_hashes(hashes: Hashes, bits: int) -> Iterator[tuple[Rows, Rows]]:
    """All pairs of rows, lower row first, whose hashes differ in at most ``bits`` (0..63); each pair once, in blocks.

    Multi-index hashing (Norouzi, Punjani and Fleet, CVPR 2012): hashes that close differ in at most r of the 16 bits of
    at least one band, if the radii r of the bands, each plus one, sum to ``bits`` + 1; so only rows whose bands are
    that close are compared.
    """
    bands = [(hashes >> np.uint64(48 - 16 * k)).astype(np.uint16) for k in range(_BANDS)]
    radii = [(bits + 1 + k) // _BANDS - 1 for k in reversed(range(_BANDS))]
    masks = np.arange(2**16, dtype=np.uint16)
    for k, (band, radius) in enumerate(zip(bands, radii, strict=True)):
        order = np.argsort(band, kind="stable")
        values, width = band[order], np.bincount(band, minlength=2**16)
        start = np.cumsum(width) - width
        for mask in masks[np.bitwise_count(masks) <= radius]:
            partner = values ^ mask
            begin, count = start[partner], np.where(partner > values, width[partner], 0)
            if mask == 0:  # partners in the same bucket: those that come later
                begin = np.arange(1, len(order) + 1)
                count = start[values] + width[values] - begin
            for left, right in _products(begin, count):
                i, j = order[left], order[right]
                differ = hashes[i] ^ hashes[j]
                close = np.bitwise_count(differ) <= bits
                i, j = i[close], j[close]
                for earlier in range(k):  # this pair was given already if an earlier band is close enough
                    seen = np.bitwise_count(bands[earlier][i] ^ bands[earlier][j]) <= radii[earlier]
                    i, j = i[~seen], j[~seen]
                if len(i):
                    yield np.minimum(i, j), np.maximum(i, j)


def luma(pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """ITU-R BT.601 luma in whole grey levels, uint8 (n, 32, 32, 3) RGB -> float64 (n, 32, 32) in 0..255."""
    red, green, blue = (pixels[..., channel].astype(np.int64) for channel in range(3))
    return ((299 * red + 587 * green + 114 * blue + 500) // 1000).astype(np.float64)


def correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Likeness of pictures: the largest correlation of two lumas over shifts of -1, 0, 1 pixels each way; symmetric.

    ``a``, ``b`` float64 (n, h, w) in whole numbers -> float64 (n,) in -1..1: Pearson's r over the area in which the
    shifted pictures overlap, 0 where one is constant there. Brightness, contrast and colour casts do not matter.
    """
    best = np.full(len(a), -1.0)
    for dy in (-1, 0, 1):
        for dx in (-1, 0, 1):
            x, y = _overlap(a, dy, dx), _overlap(b, -dy, -dx)
            size = x.shape[1] * x.shape[2]
            sum_x, sum_y = x.sum(axis=(1, 2)), y.sum(axis=(1, 2))
            covariance, spread_x, spread_y = (
                size * np.einsum("nij,nij->n", u, v) - s * t
                for u, v, s, t in ((x, y, sum_x, sum_y), (x, x, sum_x, sum_x), (y, y, sum_y, sum_y))
            )
            spread = np.sqrt(spread_x * spread_y)
            best = np.maximum(best, np.divide(covariance, spread, out=np.zeros(len(a)), where=spread > 0))
    return best


def clusters(pairs: Pairs) -> list[Rows]:
    """Rows connected by ``pairs``, each cluster ascending, the clusters by their first row."""
    from scipy.sparse import coo_array
    from scipy.sparse.csgraph import connected_components

    if not len(pairs):
        return []
    rows, places = np.unique(np.concatenate([pairs.first, pairs.second]), return_inverse=True)
    first, second = places[: len(pairs)], places[len(pairs) :]
    graph = coo_array((np.ones(len(pairs), np.int8), (first, second)), shape=(len(rows), len(rows)))
    _, label = connected_components(graph, directed=False)
    order = np.argsort(label, kind="stable")
    parts = np.split(rows[order], np.flatnonzero(np.diff(label[order])) + 1)
    return sorted(parts, key=lambda part: int(part[0]))


def _overlap(pictures: NDArray[np.float64], dy: int, dx: int) -> NDArray[np.float64]:
    """The part of each picture that remains when it is moved by (dy, dx) within its frame."""
    height, width = pictures.shape[1:]
    return pictures[:, max(dy, 0) : height + min(dy, 0), max(dx, 0) : width + min(dx, 0)]


def _products(begin: Rows, count: Rows) -> Iterator[tuple[Rows, Rows]]:
    """Pairs (row, begin[row] + 0 .. count[row] - 1) of all rows, in blocks of about `_BLOCK` pairs."""
    rows = np.flatnonzero(count > 0)
    begin, count = begin[rows], count[rows]
    ends = np.cumsum(count)
    at = 0
    while at < len(rows):
        done = ends[at] - count[at]
        to = max(int(np.searchsorted(ends, done + _BLOCK, side="right")), at + 1)
        widths = count[at:to]
        total = int(ends[to - 1] - done)
        offset = np.arange(total) - np.repeat(ends[at:to] - widths - done, widths)
        yield np.repeat(rows[at:to], widths), np.repeat(begin[at:to], widths) + offset
        at = to


def _batches(pairs: Iterator[tuple[Rows, Rows]], size: int) -> Iterator[tuple[Rows, Rows]]:
    """The same pairs, ``size`` at a time."""
    waiting: list[tuple[Rows, Rows]] = []
    held = 0
    for block in pairs:
        waiting.append(block)
        held += len(block[0])
        if held >= size:
            first, second = (np.concatenate(column) for column in zip(*waiting, strict=True))
            whole = held - held % size
            for at in range(0, whole, size):
                yield first[at : at + size], second[at : at + size]
            waiting, held = [(first[whole:], second[whole:])], held - whole
    if held:
        first, second = (np.concatenate(column) for column in zip(*waiting, strict=True))
        yield first, second
