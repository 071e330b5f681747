"""Photos of things that are none of our classes: near ones, far ones and generated ones, in two halves.

One half is for choosing the gate's features, the other for reporting, and no class, category or generator is in both.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runners.images import SIDE, read_photo
from training.readers import parquet_rows
from training.sources import CIFAR100, CifarSet, cifar_samples, sample_pixels

Pixels = NDArray[np.uint8]
Group = Literal["near", "far", "generated"]
Half = Literal["choosing", "reporting"]
GENERATED = 200
"""Pictures of each generator."""
CATEGORY = "category"


@dataclass(frozen=True, slots=True)
class UnknownSet:
    """Unknown photos, uint8 (n, 32, 32, 3). ``classes``: what they show, as their source names it."""

    name: str
    group: Group
    half: Half
    pixels: Pixels
    classes: tuple[str, ...]


def read_unknowns(data_root: Path, dataset: Path, seed: int = 0) -> list[UnknownSet]:
    """All unknown sets that ``data_root`` has, and the generated ones; ``dataset``: the prepared one.

    Raises:
        SourceError: a set is there but damaged.
    """
    sets = near_sets(data_root, ours(dataset))
    for path in sorted((data_root / "ood").glob("*.parquet")):
        sets += far_sets(path)
    return sets + generated_sets(seed)


def ours(dataset: Path) -> frozenset[str]:
    """CIFAR-100 labels that are known to the prepared ``dataset``: those it took in, and names of its classes."""
    import pyarrow.parquet as pq

    table = pq.read_table(dataset / "train.parquet", columns=["source", "original", "label"])
    rows = zip(*(table[name].to_pylist() for name in ("source", "original", "label")), strict=True)
    names = {(source, original, label) for source, original, label in rows}
    return frozenset(original for source, original, _ in names if source == CIFAR100.name) | {n for _, _, n in names}


def near_sets(data_root: Path, excluded: frozenset[str]) -> list[UnknownSet]:
    """CIFAR-100's test photos of all labels but ``excluded``, half of the labels each; nothing is fetched for it."""
    if not _is_there(CIFAR100, data_root):
        return []
    every = {name: name for name in CIFAR100.labels}
    samples = [s for s in cifar_samples(CIFAR100, every, "test", data_root) if s.original not in excluded]
    rows = ((sample.original, sample_pixels(sample)) for sample in samples)
    return _halves("CIFAR-100", "near", rows, CIFAR100.labels)


def far_sets(path: Path) -> list[UnknownSet]:
    """The parquet file ``path``, half of its column `category` each; without two categories, half of the photos."""
    import pyarrow.parquet as pq

    name = path.stem.replace("_", " ")
    if CATEGORY in pq.read_schema(path).names:
        rows = [(str(category), read_photo(data).pixels) for data, category in parquet_rows(path, CATEGORY)]
        if len(categories := sorted({category for category, _ in rows})) > 1:
            return _halves(name, "far", rows, categories)
    photos = [(hashlib.sha256(data).hexdigest(), read_photo(data).pixels) for data, _ in parquet_rows(path, None)]
    sets = _halves(name, "far", photos, sorted({digest for digest, _ in photos}))
    return [UnknownSet(s.name, s.group, s.half, s.pixels, ()) for s in sets]


def generated_sets(seed: int = 0, count: int = GENERATED) -> list[UnknownSet]:
    """Pictures of nothing: noise, one flat colour, gradients, text; the two halves come from different generators."""
    rng = {half: np.random.default_rng([seed, number]) for number, half in enumerate(("choosing", "reporting"))}
    choose, report = rng["choosing"], rng["reporting"]
    pictures: dict[str, tuple[Pixels, Pixels]] = {
        "noise": (choose.integers(0, 256, (count, SIDE, SIDE, 3), dtype=np.uint8), grain(count, report)),
        "flat colour": (flat(count, choose), flat(count, report)),
        "gradient": (linear_gradient(count, choose), radial_gradient(count, report)),
        "text": (text_pages(count, choose, dark=False), text_pages(count, report, dark=True)),
    }
    halves: tuple[Half, Half] = ("choosing", "reporting")
    return [
        UnknownSet(name, "generated", half, pixels, ())
        for name, pair in pictures.items()
        for half, pixels in zip(halves, pair, strict=True)
    ]


def grain(count: int, rng: np.random.Generator) -> Pixels:
    """Gaussian noise around one colour, standard deviation 20 to 80."""
    deviation = rng.uniform(20, 80, (count, 1, 1, 1))
    noise = rng.normal(0, 1, (count, SIDE, SIDE, 3)) * deviation + rng.uniform(0, 255, (count, 1, 1, 3))
    return np.clip(noise, 0, 255).astype(np.uint8)


def flat(count: int, rng: np.random.Generator) -> Pixels:
    return np.broadcast_to(rng.integers(0, 256, (count, 1, 1, 3), dtype=np.uint8), (count, SIDE, SIDE, 3)).copy()


def linear_gradient(count: int, rng: np.random.Generator) -> Pixels:
    """From one colour to another, left to right or top to bottom."""
    start, end = rng.uniform(0, 255, (2, count, 1, 1, 3))
    pictures = (start + (end - start) * np.linspace(0, 1, SIDE)[None, None, :, None]).astype(np.uint8)
    across = np.broadcast_to(pictures, (count, SIDE, SIDE, 3)).copy()
    across[::2] = across[::2].transpose(0, 2, 1, 3)
    return across


def radial_gradient(count: int, rng: np.random.Generator) -> Pixels:
    """From one colour in a random centre to another at the corners."""
    start, end = rng.uniform(0, 255, (2, count, 1, 1, 3))
    y, x = np.mgrid[:SIDE, :SIDE]
    centre = rng.uniform(0, SIDE, (2, count, 1, 1))
    distance = np.hypot(y - centre[0], x - centre[1])[..., None] / (SIDE * 2**0.5)
    return (start + (end - start) * np.clip(distance, 0, 1)).astype(np.uint8)


def text_pages(count: int, rng: np.random.Generator, *, dark: bool) -> Pixels:
    """Screenshots of text, read as any photo is: a light page, or (``dark``) a terminal with light letters."""
    from PIL import Image, ImageDraw, ImageFont

    fonts, pages = {size: ImageFont.load_default(size) for size in (11, 13, 16, 20, 24)}, []
    for _ in range(count):
        paper, ink = rng.integers(225, 256, 3), rng.integers(0, 70, 3)
        paper, ink = (ink, paper) if dark else (paper, ink)
        size = int(rng.choice(list(fonts)))
        page = Image.new("RGB", (int(rng.integers(200, 480)), int(rng.integers(200, 360))), tuple(map(int, paper)))
        draw = ImageDraw.Draw(page)
        for line in range(size // 2, page.height, int(size * 1.5)):
            letters = rng.integers(97, 123, int(rng.integers(8, 70)))
            letters[rng.random(len(letters)) < 0.17] = 32
            start = int(rng.integers(0, 4)) * size if dark else size // 2
            draw.text((start, line), bytes(letters.astype(np.uint8)).decode(), tuple(map(int, ink)), fonts[size])
        buffer = io.BytesIO()
        page.save(buffer, "PNG", compress_level=1)
        pages.append(read_photo(buffer.getvalue()).pixels)
    return np.stack(pages)


def _halves(name: str, group: Group, rows: Iterable[tuple[str, Pixels]], labels: Sequence[str]) -> list[UnknownSet]:
    """``rows`` of (label, pixels) by the half that the hash of the label's name puts it in."""
    order = sorted(labels, key=lambda label: hashlib.sha256(label.encode()).digest())
    chosen = frozenset(order[::2])
    photos = list(rows)

    def sets() -> Iterator[UnknownSet]:
        halves: tuple[Half, Half] = ("choosing", "reporting")
        for half in halves:
            mine = [(label, pixels) for label, pixels in photos if (label in chosen) == (half == "choosing")]
            if mine:
                yield UnknownSet(name, group, half, np.stack([p for _, p in mine]), tuple(sorted({n for n, _ in mine})))

    return list(sets())


def _is_there(cifar: CifarSet, root: Path) -> bool:
    folder, archive = root / cifar.folder, root / cifar.archive.name
    return folder.is_dir() or archive.is_file() or any((root / cifar.name).glob("test-*.parquet"))
