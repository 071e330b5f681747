"""The analysis of the dataset: figures against a direct computation, what is shown, and a page that stands alone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator, Sequence
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from runners.images import photo_statistics
from training.analysis import MOST_DROPPED, PHOTOS_PER_GROUP, Analysis, analyse
from training.analysis_findings import findings
from training.analysis_map import embedding_map
from training.analysis_page import page
from training.analysis_statistics import cohens_d, effect_size, measure, moments
from training.analysis_survey import Batches
from training.dataset import SPLITS, schema
from training.sources import SourceError, load_cifar10

Record = dict[str, object]


def record(number: int, label: str, source: str, pixels: np.ndarray, **changed: object) -> Record:
    made = {
        "id": f"{source}/{label}/{number:04d}",
        "sha256": "",
        "source": source,
        "original": label,
        "label": label,
        "split": SPLITS[number % 4],
        "width": 32 + number,
        "height": 32,
        "marks": [],
        "pixels": pixels.tobytes(),
    }
    return made | changed


def tinted(count: int, level: int, seed: int = 0) -> np.ndarray:
    """Noise around the grey ``level``: uint8 (count, 32, 32, 3)."""
    noise = np.random.default_rng(seed).normal(level, 25, (count, 32, 32, 3))
    return noise.clip(0, 255).astype(np.uint8)


def rows_of(rows: Sequence[Record], size: int = 7) -> Batches:
    """``rows`` in batches that start in the middle of an Arrow array, as slices do."""
    table = pa.RecordBatch.from_pylist(list(rows), schema=schema()) if rows else None

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(rows), size):
            assert table is not None
            yield table.slice(start, size)

    return batches


@pytest.fixture
def rows() -> list[Record]:
    """30 dark cats and 20 dark dogs from cifar10, 12 bright mugs from a folder."""
    made = [record(i, "cat", "cifar10", p) for i, p in enumerate(tinted(30, 70, 1))]
    made += [record(i, "dog", "cifar10", p) for i, p in enumerate(tinted(20, 80, 2))]
    return made + [record(i, "mug", "folder", p, marks=["enlarged"]) for i, p in enumerate(tinted(12, 200, 3))]


LABELS = ("cat", "dog", "mug")


def analysed(rows: Sequence[Record], size: int = 7, **options: object) -> Analysis:
    return analyse(rows_of(rows, size), LABELS, "d1", **options)  # type: ignore[arg-type]


def test_counts_sizes_and_marks_are_those_of_the_rows(rows: list[Record]) -> None:
    found = analysed(rows)
    assert found.classes["cat"] == {"train": 8, "validation": 8, "calibration": 7, "test": 7}
    assert {name: sum(source.splits.values()) for name, source in found.sources.items()} == {
        "cifar10": 50,
        "folder": 12,
    }
    assert found.sources["folder"].width == (32, 43)
    assert found.marks == {"enlarged": 12}
    assert [(g.label, g.source, g.originals) for g in found.groups][-1] == ("mug", "folder", {"mug": 12})


def test_statistics_equal_those_of_all_photos_at_once(rows: list[Record]) -> None:
    found = analysed(rows)
    cats = np.stack([np.frombuffer(r["pixels"], np.uint8).reshape(32, 32, 3) for r in rows if r["label"] == "cat"])  # type: ignore[call-overload]
    for name, values in photo_statistics(cats).items():
        spread = found.statistics.classes["cat"][name]
        assert spread.mean == pytest.approx(values.mean(), abs=2e-5)
        assert spread.sd == pytest.approx(values.std(ddof=1), abs=2e-5)
    red, _, blue = cats.reshape(len(cats), -1, 3).mean(axis=1).T / 255
    assert found.statistics.classes["cat"]["warmth"].mean == pytest.approx((red - blue).mean(), abs=2e-5)
    assert found.statistics.variation["cat"] == pytest.approx(cats.std(axis=0).mean() / 255, abs=2e-5)
    mean = np.frombuffer(found.mean_pictures["cat"], np.uint8).reshape(32, 32, 3)
    assert np.abs(mean - cats.mean(axis=0)).max() <= 0.51


def test_the_order_and_the_batches_of_the_rows_change_nothing(rows: list[Record]) -> None:
    one = analysed(rows)
    shuffled = [rows[i] for i in np.random.default_rng(5).permutation(len(rows))]
    other = analysed(shuffled, size=11)
    assert one.model_dump_json() == other.model_dump_json()
    assert one.pictures == other.pictures


def test_samples_are_drawn_by_the_seed_and_belong_to_their_group(rows: list[Record]) -> None:
    drawn = {seed: analysed(rows, seed=seed).groups[0].samples for seed in range(3)}
    assert all(len(set(ids)) == PHOTOS_PER_GROUP for ids in drawn.values())
    assert len({tuple(ids) for ids in drawn.values()}) == 3
    assert all(name.startswith("cifar10/cat/") for ids in drawn.values() for name in ids)


def test_cohens_d_is_the_one_of_the_book_and_keeps_its_sign() -> None:
    dark, bright = measure(tinted(40, 60, 1)), measure(tinted(25, 61, 2))
    a, b = bright[:, 0], dark[:, 0]
    pooled = np.sqrt(((len(a) - 1) * a.var(ddof=1) + (len(b) - 1) * b.var(ddof=1)) / (len(a) + len(b) - 2))
    expected = (a.mean() - b.mean()) / max(pooled, 0.5 / 255)
    assert cohens_d(moments(bright), moments(dark))[0] == pytest.approx(expected, rel=1e-6)
    assert expected > 0
    assert [effect_size(d) for d in (0.19, -0.2, 0.5, -3.0)] == ["negligible", "small", "medium", "large"]


def test_captured_photos_that_differ_are_described(rows: list[Record]) -> None:
    sentence = analysed(rows).statistics.captured
    assert "12 captured photos differ from those of cifar10" in sentence
    assert "brighter" in sentence
    assert "large" in sentence


def test_captured_photos_that_do_not_differ_are_said_not_to() -> None:
    rng = np.random.default_rng(0)
    pixels = (rng.normal(0, 25, (600, 32, 32, 3)) + rng.normal(120, 30, (600, 1, 1, 3))).clip(0, 255).astype(np.uint8)
    same = [record(i, LABELS[i % 3], "folder" if i % 3 == 2 else "cifar10", p) for i, p in enumerate(pixels)]
    assert "look like those of cifar10" in analysed(same).statistics.captured


def test_with_folders_only_there_is_nothing_to_compare(rows: list[Record]) -> None:
    found = analyse(rows_of(rows[-12:]), ("mug",), "d1")
    assert found.statistics.contrasts == []
    assert "nothing to compare" in found.statistics.captured
    assert "mug" in page(found)


def test_pairs_know_their_splits_and_the_worst_come_first(rows: list[Record]) -> None:
    cats = [str(r["id"]) for r in rows if r["label"] == "cat"]
    dogs = [str(r["id"]) for r in rows if r["label"] == "dog"]
    pairs = [
        (cats[0], cats[4], "near-duplicate", 0.1),  # both in train
        (cats[0], cats[3], "near-duplicate", 0.2),  # train and test
        (cats[1], dogs[1], "near-duplicate", 0.3),  # one split, two classes
        (cats[2], "cifar10/gone", "exact", 0.0),
    ]
    dropped = [("cifar10/gone", "cifar10", "cat", f"duplicate of {cats[2]}")]
    found = analysed(rows, pairs=pairs, dropped=dropped).duplicates
    assert found.counts == {"exact": 1, "near-duplicate": 3}
    assert (found.across_splits, found.conflicts) == (1, 1)
    assert [pair.b.id for pair in found.shown] == [cats[3], dogs[1], "cifar10/gone", cats[4]]
    assert found.shown[2].b == ("cifar10/gone", "cat", "")


def test_every_reason_is_counted_and_rare_ones_are_listed(rows: list[Record]) -> None:
    dropped = [(f"cifar10/{i}", "cifar10", "cat", f"duplicate of cifar10/{i + 1}") for i in range(5000)]
    dropped += [("mug/x.jpg", "folder", "mug", "unreadable: the image is truncated")]
    found = analysed(rows, dropped=dropped).dropped
    assert found.counts == {"duplicate": 5000, "unreadable": 1}
    assert len(found.photos) == MOST_DROPPED
    assert found.photos[-1].id == "mug/x.jpg"


def test_no_network_no_suspects_is_not_no_doubt(rows: list[Record]) -> None:
    assert analysed(rows).suspects is None
    assert "A network is needed" in page(analysed(rows))
    assert "doubts no label" in page(analysed(rows, suspects=[]))
    doubted = analysed(rows, suspects=[(str(rows[0]["id"]), "cat", "dog", 0.97)])
    assert doubted.suspects is not None
    assert doubted.suspects.count == 1
    assert "97.0%" in page(doubted)


def test_the_map_separates_what_the_embedding_separates(rows: list[Record]) -> None:
    def embed(pixels: np.ndarray) -> np.ndarray:
        return np.column_stack([pixels.mean(axis=(1, 2, 3)) > 150, np.ones(len(pixels))]).astype(np.float32) * 9 + (
            pixels[:, :2, 0, 0].astype(np.float32) / 255
        )

    found = analysed(rows, embed=embed).map
    assert found is not None
    assert found.space == "network"
    assert len(found.points) == len(rows)
    mugs = np.array([(p.x, p.y) for p in found.points if p.label == "mug"])
    others = np.array([(p.x, p.y) for p in found.points if p.label != "mug"])
    apart = np.linalg.norm(mugs[:, None] - others[None], axis=2).min(axis=1)
    together = np.sort(np.linalg.norm(mugs[:, None] - mugs[None], axis=2), axis=1)[:, 1]
    assert (together < apart).all()
    assert found.mixed[0][:2] == ("cat", "dog")
    assert analysed(rows).map.space == "pixels"  # type: ignore[union-attr]


def test_no_map_of_few_or_of_equal_photos() -> None:
    names = [str(i) for i in range(20)]
    assert embedding_map(names[:5], names[:5], tinted(5, 90), None, 0) is None
    assert embedding_map(names, names, np.full((20, 32, 32, 3), 7, np.uint8), None, 0) is None


def test_an_unknown_class_and_an_empty_dataset_are_refused(rows: list[Record]) -> None:
    with pytest.raises(SourceError, match="photos of mug, which is none of its classes"):
        analyse(rows_of(rows), ("cat", "dog"), "d1")
    with pytest.raises(SourceError, match="no photos"):
        analyse(rows_of([]), LABELS, "d1")


def test_json_has_the_figures_and_no_pictures(rows: list[Record]) -> None:
    found = json.loads(analysed(rows).model_dump_json())
    assert {"classes", "digest", "dropped", "sources", "statistics", "duplicates", "suspects"} <= found.keys()
    assert not {"pictures", "mean_pictures"} & found.keys()
    assert Analysis.model_validate(found).classes == found["classes"]


def test_findings_say_what_is_out_of_balance(rows: list[Record]) -> None:
    uneven = [record(i, "cat", "cifar10", p, split="train") for i, p in enumerate(tinted(90, 70, 1))] + rows[-12:]
    text = " ".join(findings(analysed(uneven)))
    assert "cat has 90 training photos and mug 3, 30 to 1" in text
    assert "No test photos of cat, dog" in text


class _Links(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.ids: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        for name, value in attrs:
            if name in ("src", "href"):
                self.addresses.append(value or "")
            if name == "id":
                self.ids.add(value or "")


def test_the_page_stands_alone_and_its_links_lead_somewhere(rows: list[Record]) -> None:
    parser = _Links()
    text = page(analysed(rows))
    parser.feed(text)
    assert not parser.tags & {"script", "link", "iframe"}
    inner = [a.removeprefix("#") for a in parser.addresses if a.startswith("#")]
    assert inner
    assert set(inner) <= parser.ids
    assert all(a.startswith(("#", "data:image/webp;base64,")) for a in parser.addresses)
    assert not re.search(r"url\(|@import|https?://", text)


def test_names_of_files_and_classes_are_text_on_the_page() -> None:
    bad = "<img src=x onerror=alert(1)>"
    mean = [record(i, bad, "folder", p, id=f"{bad}/{i}.jpg", original=bad) for i, p in enumerate(tinted(14, 90))]
    found = analyse(
        rows_of(mean),
        (bad,),
        bad,
        dropped=[(bad, bad, bad, bad)],
        pairs=[(f"{bad}/0.jpg", f"{bad}/1.jpg", bad, 1.0)],
        suspects=[(f"{bad}/0.jpg", bad, bad, 0.5)],
    )
    text = page(found)
    assert "<img src=x" not in text
    assert "&lt;img src=x" in text


def test_memory_does_not_grow_with_the_rows(rows: list[Record]) -> None:
    import tracemalloc

    batch = pa.RecordBatch.from_pylist(rows, schema=schema())

    def many(times: int) -> Batches:
        return lambda: (
            batch.set_column(0, "id", pa.array([f"{time}/{i}" for i in range(len(rows))])) for time in range(times)
        )

    def peak(times: int) -> int:
        tracemalloc.start()
        analyse(many(times), LABELS, "d1", embed=lambda pixels: np.zeros((len(pixels), 2), np.float32))
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    assert peak(200) < 1.3 * peak(50)


@pytest.mark.browser
def test_choosing_a_class_on_the_map_fades_the_others(rows: list[Record], tmp_path: Path) -> None:
    from playwright.sync_api import sync_playwright

    (tmp_path / "page.html").write_text(page(analysed(rows)))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=["--no-sandbox"])
        shown = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
        asked: list[str] = []
        shown.on("request", lambda request: asked.append(request.url))
        shown.goto((tmp_path / "page.html").as_uri())
        assert shown.evaluate("document.documentElement.scrollWidth") <= 390
        assert all(url.startswith(("file:", "data:")) for url in asked)
        shown.locator(".pick label", has_text="dog").click()
        shown.wait_for_function("getComputedStyle(document.querySelector('.map .k0')).fillOpacity < 0.1")
        assert float(shown.evaluate("getComputedStyle(document.querySelector('.map .k1')).fillOpacity")) > 0.5
        browser.close()


def test_ten_thousand_real_photos_are_analysed(data_root: Path) -> None:
    pixels, labels = load_cifar10(data_root, "test")
    names = [str(label) for label in range(10)]
    photos = [
        record(i, names[n], "cifar10", p, split="test") for i, (n, p) in enumerate(zip(labels, pixels, strict=True))
    ]
    start = time.process_time()  # of the processor, which other tests keep busy too
    found = analyse(rows_of(photos, 1000), names, "d1")
    text = page(found)
    assert time.process_time() - start < 60
    assert len(text.encode()) < 5_000_000
    assert found.map is not None
    assert found.map.same_class > 2 * found.map.chance
    assert found.statistics.classes["0"]["brightness"].mean > found.statistics.classes["6"]["brightness"].mean
