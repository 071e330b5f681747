"""Unknown sets: what counts as unknown, two halves with nothing in common, and what is not there."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from training.unknowns import far_sets, generated_sets, near_sets, ours, read_unknowns


def png(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def parquet(path: Path, categories: list[str] | None) -> None:
    images = [{"bytes": png(number), "path": None} for number in range(len(categories or range(20)))]
    columns: dict[str, object] = {"img": images} | ({"category": categories} if categories else {})
    path.parent.mkdir(exist_ok=True)
    pq.write_table(pa.table(columns), path)


def dataset(folder: Path) -> None:
    rows = {
        "source": ["cifar10", "cifar100", "cifar100", "folder"],
        "original": ["cat", "boy", "clock", "lamp"],
        "label": ["cat", "person", "clock", "lamp"],
    }
    folder.mkdir()
    pq.write_table(pa.table(rows), folder / "train.parquet")


def test_a_label_that_was_merged_or_has_a_name_of_ours_is_known(tmp_path: Path) -> None:
    dataset(tmp_path / "dataset")
    assert {"boy", "clock", "lamp", "person"} <= ours(tmp_path / "dataset")
    assert "bottle" not in ours(tmp_path / "dataset")


def test_the_halves_of_a_set_share_no_category_and_lose_no_photo(tmp_path: Path) -> None:
    parquet(tmp_path / "ood" / "birds_eggs.parquet", ["a", "b", "c", "d", "e"] * 4)
    choosing, reporting = far_sets(tmp_path / "ood" / "birds_eggs.parquet")
    assert (choosing.name, choosing.half, reporting.half) == ("birds eggs", "choosing", "reporting")
    assert set(choosing.classes) | set(reporting.classes) == set("abcde")
    assert not set(choosing.classes) & set(reporting.classes)
    assert len(choosing.pixels) + len(reporting.pixels) == 20


def test_a_set_without_categories_is_halved_by_content(tmp_path: Path) -> None:
    parquet(tmp_path / "ood" / "plain.parquet", None)
    parquet(tmp_path / "ood" / "one.parquet", ["a"] * 20)
    for path in (tmp_path / "ood").iterdir():
        choosing, reporting = far_sets(path)
        assert len(choosing.pixels) == len(reporting.pixels) == 10
        assert choosing.classes == ()


def test_generated_halves_differ_and_text_has_ink_on_paper() -> None:
    sets = generated_sets(0, count=4)
    assert [s.name for s in sets] == [n for n in ("noise", "flat colour", "gradient", "text") for _ in range(2)]
    for choosing, reporting in zip(sets[::2], sets[1::2], strict=True):
        assert choosing.pixels.shape == reporting.pixels.shape == (4, 32, 32, 3)
        assert not np.array_equal(choosing.pixels, reporting.pixels)
    flat = sets[2].pixels
    assert (flat == flat[:, :1, :1]).all()
    light, dark = sets[6].pixels, sets[7].pixels
    assert light.mean() > 150
    assert dark.mean() < 100
    assert (light.reshape(4, -1).std(axis=1) > 5).all()


def test_what_is_not_there_is_left_out_and_nothing_is_fetched(tmp_path: Path) -> None:
    dataset(tmp_path / "dataset")
    assert {s.group for s in read_unknowns(tmp_path, tmp_path / "dataset")} == {"generated"}


def test_near_photos_are_those_of_other_cifar100_labels(data_root: Path) -> None:
    excluded = frozenset({"boy", "clock", "lamp"})
    choosing, reporting = near_sets(data_root, excluded)
    assert not excluded & {*choosing.classes, *reporting.classes}
    assert len(choosing.classes) + len(reporting.classes) == 97
    assert abs(len(choosing.classes) - len(reporting.classes)) <= 3
    assert len(choosing.pixels) == 100 * len(choosing.classes)
