"""The search for near-duplicates: complete, exact, in bounded blocks; pixels confirm what hashes propose."""

from __future__ import annotations

import io
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance

from runners.images import read_photo
from runners.perceptual import difference_hash
from settings import ROOT
from training import near_duplicates
from training.near_duplicates import NEAR_BITS, NEAR_CORRELATION, clusters, correlation, luma, near_hashes


def picture(seed: int) -> Image.Image:
    patches = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(patches).resize((32, 32), Image.Resampling.BICUBIC)


def hashed(pixels: NDArray[np.uint8]) -> NDArray[np.uint64]:
    return np.array([difference_hash(Image.fromarray(one)) for one in pixels], np.uint64)


def by_force(hashes: NDArray[np.uint64], bits: int) -> set[tuple[int, int]]:
    first, second = np.triu_indices(len(hashes), 1)
    close = np.bitwise_count(hashes[first] ^ hashes[second]) <= bits
    return set(zip(first[close].tolist(), second[close].tolist(), strict=True))


def neighbours(count: int) -> NDArray[np.uint64]:
    """Hashes in families: copies of a few, each with 0 to 20 bits turned."""
    rng = np.random.default_rng(0)
    family = rng.integers(0, 2**63, 40, dtype=np.uint64)[rng.integers(0, 40, count)]
    turned = [rng.permutation(64)[: rng.integers(0, 21)] for _ in range(count)]
    return family ^ np.array([sum(1 << int(bit) for bit in bits) for bits in turned], np.uint64)


@pytest.mark.parametrize("bits", [0, 1, 2, 3, 4, 7, 8, 12, 13, 17])
@pytest.mark.parametrize("block", [50, 2_000_000])
def test_all_pairs_are_found_once(bits: int, block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_BLOCK", block)
    hashes = neighbours(300)
    found = [pair for i, j in near_hashes(hashes, bits) for pair in zip(i.tolist(), j.tolist(), strict=True)]
    assert len(found) == len(set(found))
    assert set(found) == by_force(hashes, bits)


def test_blocks_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(near_duplicates, "_BLOCK", 1000)
    same = np.full(200, 7, np.uint64)
    sizes = [len(i) for i, _ in near_hashes(same, 0)]
    assert sum(sizes) == 200 * 199 // 2
    assert max(sizes) <= 1000


def test_correlation_ignores_light_and_small_shifts_and_sees_another_picture() -> None:
    one = picture(1)
    darker = ImageEnhance.Brightness(one).enhance(0.6)
    moved = Image.fromarray(np.roll(np.asarray(one), (1, -1), axis=(0, 1)))
    a = luma(np.stack([np.asarray(one)] * 4))
    b = luma(np.stack([np.asarray(p) for p in (one, darker, moved, picture(2))]))
    same, dark, shifted, other = correlation(a, b)
    assert same == pytest.approx(1.0)
    assert dark > 0.99
    assert shifted > 0.99
    assert other < 0.6


def test_correlation_is_symmetric_to_the_last_bit_and_the_same_in_any_batch() -> None:
    grey = luma(np.random.default_rng(0).integers(0, 256, (64, 32, 32, 3), dtype=np.uint8))
    a, b = grey[:32], grey[32:]
    assert np.array_equal(correlation(a, b), correlation(b, a))
    assert np.array_equal(
        correlation(a, b), np.concatenate([correlation(a[k : k + 1], b[k : k + 1]) for k in range(32)])
    )


def test_correlation_is_pearsons() -> None:
    grey = luma(np.random.default_rng(0).integers(0, 256, (2, 3, 3, 3), dtype=np.uint8))
    expected = max(
        np.corrcoef(
            grey[0, max(y, 0) : 3 + min(y, 0), max(x, 0) : 3 + min(x, 0)].ravel(),
            grey[1, max(-y, 0) : 3 + min(-y, 0), max(-x, 0) : 3 + min(-x, 0)].ravel(),
        )[0, 1]
        for y in (-1, 0, 1)
        for x in (-1, 0, 1)
    )
    assert correlation(grey[:1], grey[1:])[0] == pytest.approx(expected)


def test_a_constant_picture_is_like_nothing() -> None:
    flat = np.full((1, 32, 32), 80.0)
    assert correlation(flat, flat)[0] == 0
    assert correlation(flat, luma(np.asarray(picture(1))[None]))[0] == 0


def test_luma_is_that_of_pillow_within_a_level() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    pillow = np.stack([np.asarray(Image.fromarray(one).convert("L")) for one in pixels])
    assert np.abs(luma(pixels) - pillow).max() <= 1


def copies(image: Image.Image) -> list[Image.Image]:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=60)
    with Image.open(buffer) as jpeg:
        recoded = jpeg.convert("RGB")
    return [recoded, ImageEnhance.Contrast(image).enhance(0.7), ImageEnhance.Color(image).enhance(0.3)]


def test_copies_are_found_and_strangers_are_not() -> None:
    photos = [picture(seed) for seed in range(30)]
    family = [photos[0], *copies(photos[0])]
    pixels = np.stack([np.asarray(p) for p in (*photos, *family[1:])])
    asked: list[int] = []

    def fetch(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        assert (np.diff(rows) > 0).all()
        asked.extend(rows.tolist())
        return pixels[rows]

    pairs = near_duplicates.near_duplicates(hashed(pixels), fetch)
    assert set(zip(pairs.first.tolist(), pairs.second.tolist(), strict=True)) == {
        (i, j) for i in (0, 30, 31, 32) for j in (30, 31, 32) if i < j
    }
    assert (pairs.correlation >= NEAR_CORRELATION).all()
    assert (pairs.distance <= NEAR_BITS).all()
    assert [part.tolist() for part in clusters(pairs)] == [[0, 30, 31, 32]]
    assert len(set(asked)) < len(pixels), "only pictures with a close hash are fetched"


def test_pixels_overrule_the_hash() -> None:
    pixels = np.stack([np.asarray(picture(seed)) for seed in range(3)])
    assert len(near_duplicates.near_duplicates(np.zeros(3, np.uint64), lambda rows: pixels[rows])) == 0


@pytest.mark.parametrize("size", [3, 7, 1000])
def test_the_batch_size_changes_nothing(size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = np.stack([np.asarray(copy) for seed in range(6) for copy in copies(picture(seed))])
    hashes = hashed(pixels)
    whole = near_duplicates.near_duplicates(hashes, lambda rows: pixels[rows])
    monkeypatch.setattr(near_duplicates, "_CONFIRM", size)
    largest = 0

    def fetch(rows: NDArray[np.int64]) -> NDArray[np.uint8]:
        nonlocal largest
        largest = max(largest, len(rows))
        return pixels[rows]

    parts = near_duplicates.near_duplicates(hashes, fetch)
    assert len(whole) == 18
    assert np.array_equal(parts.first, whole.first)
    assert np.array_equal(parts.second, whole.second)
    assert np.array_equal(parts.correlation, whole.correlation)
    assert largest <= 2 * size


def test_nothing_and_one_have_no_pairs() -> None:
    for count in (0, 1):
        pairs = near_duplicates.near_duplicates(
            np.zeros(count, np.uint64), lambda rows: np.empty((len(rows), 32, 32, 3), np.uint8)
        )
        assert len(pairs) == 0
        assert clusters(pairs) == []


MEMORY = """
import resource, sys
import numpy as np
from training.near_duplicates import near_hashes
hashes = np.random.default_rng(0).integers(0, 2**63, int(sys.argv[1]), dtype=np.uint64)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
found = sum(len(first) for first, _ in near_hashes(hashes, 6))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""


def test_memory_does_not_grow_with_the_square() -> None:
    """10 and 140 thousand rows: 196 times the pairs, less than 120 MB more memory."""
    grown = [
        int(subprocess.run([sys.executable, "-c", MEMORY, str(n)], cwd=ROOT, capture_output=True, check=True).stdout)
        for n in (10_000, 140_000)
    ]
    assert (grown[1] - grown[0]) * resource_unit() < 120e6


def resource_unit() -> int:
    """Bytes per unit of ru_maxrss."""
    return 1 if sys.platform == "darwin" else 1024


def cifar10(root: Path, split: str, rows: list[int]) -> NDArray[np.uint8]:
    files = sorted((root / "cifar10").glob(f"{split}-*.parquet"))
    column = pq.read_table(files, columns=["img"]).column("img").take(rows)
    return np.stack([read_photo(image["bytes"]).pixels for image in column.to_pylist()])


def test_known_near_duplicates_of_cifar_are_found(data_root: Path) -> None:
    """Six test photos and the training photos that Barz and Denzler found them in, among 3,000 others."""
    known = {6611: 49007, 159: 25768, 2901: 6801, 896: 22402, 673: 34116, 516: 43161}
    test = cifar10(data_root, "test", list(known))
    train = cifar10(data_root, "train", [*known.values(), *range(3000)])
    pixels = np.concatenate([test, train])
    pairs = near_duplicates.near_duplicates(hashed(pixels), lambda rows: pixels[rows])
    across = {(i, j) for i, j in zip(pairs.first.tolist(), pairs.second.tolist(), strict=True) if i < 6 <= j}
    assert {(i, i + 6) for i in range(6)} <= across
    assert len(across) <= 8
