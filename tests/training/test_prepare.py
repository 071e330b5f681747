"""From folders of photos to splits on disk: fixed by content, versioned, whole or not there at all."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from training import dataset
from training.prepare import prepare
from training.readers import SourceError


def silent(what: str, done: int, total: int, note: str = "", unit: str = "images") -> None:
    """A progress that shows nothing."""


def photo(seed: int, size: tuple[int, int] = (48, 40)) -> Image.Image:
    """A picture of its own for each seed: coloured blocks, so that no two are near-duplicates."""
    blocks = np.random.default_rng(seed).integers(0, 256, (6, 6, 3), dtype=np.uint8)
    return Image.fromarray(blocks).resize(size, Image.Resampling.BICUBIC)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number, name in enumerate(("mug", "pen")):
        (tmp_path / name).mkdir()
        for i in range(60):
            photo(1000 * number + i).save(tmp_path / name / f"{i:03d}.png")
    (tmp_path / "classes.yaml").write_text("folders:\n  mug: mug\n  pen: pen\n")
    return tmp_path


def run(root: Path, into: str = "dataset") -> dict[str, Any]:
    return prepare(root / "classes.yaml", root, root / "var" / into, silent)


def placed(root: Path, into: str = "dataset") -> dict[str, str]:
    """Split of each photo by its id."""
    table = [pq.read_table(root / "var" / into / f"{split}.parquet") for split in dataset.SPLITS]
    return {row["id"]: row["split"] for part in table for row in part.select(["id", "split"]).to_pylist()}


def test_rows_say_where_a_photo_comes_from_and_load_as_arrays(root: Path) -> None:
    figures = run(root)
    data = dataset.load(root / "var" / "dataset")
    assert data.labels == ("mug", "pen")
    assert data.digest == figures["digest"]
    assert {s: len(data[s][0]) for s in dataset.SPLITS} == {
        s: sum(figures["classes"][c][s] for c in data.labels) for s in dataset.SPLITS
    }
    assert sum(len(data[s][0]) for s in dataset.SPLITS) == 120
    row = pq.read_table(root / "var" / "dataset" / "train.parquet").slice(0, 1).to_pylist()[0]
    assert (row["source"], row["original"], row["label"], row["width"], row["height"]) == (
        "folder",
        "mug",
        "mug",
        48,
        40,
    )
    from runners.images import read_photo

    expected = read_photo((root / row["id"]).read_bytes()).pixels
    assert row["pixels"] == expected.tobytes()
    assert np.array_equal(data["train"][0][0], expected)


def test_the_same_inputs_give_the_same_digest_and_other_inputs_another(root: Path) -> None:
    first = run(root)["digest"]
    assert run(root, "again")["digest"] == first
    photo(5000).save(root / "mug" / "new.png")
    assert run(root, "more")["digest"] != first


def test_a_second_run_with_nothing_changed_writes_nothing(root: Path) -> None:
    run(root)
    file = root / "var" / "dataset" / "train.parquet"
    before = file.stat().st_mtime_ns
    run(root)
    assert file.stat().st_mtime_ns == before


def test_adding_photos_never_moves_an_old_one(root: Path) -> None:
    run(root)
    before = placed(root)
    for i in range(300):
        photo(7000 + i).save(root / "pen" / f"a{i:03d}.png")
    run(root)
    after = placed(root)
    assert {name: after[name] for name in before} == before
    assert len(after) == 420
    assert set(after.values()) == set(dataset.SPLITS)


def test_a_burst_never_straddles_splits(root: Path) -> None:
    for burst in range(8):
        (root / "mug" / f"burst{burst}").mkdir()
        for i in range(10):
            frame = photo(9000 + 20 * burst + i)
            frame.save(root / "mug" / f"burst{burst}" / f"{i}.png")
    run(root)
    where = placed(root)
    for burst in range(8):
        assert len({split for name, split in where.items() if name.startswith(f"mug/burst{burst}/")}) == 1


def test_copies_survive_in_one_split_only_and_are_reported(root: Path) -> None:
    run(root)
    for name, split in sorted(placed(root).items()):
        if split == "test":
            Image.open(root / name).save(root / "mug" / f"copy-{Path(name).stem}-{name[:3]}.webp", quality=60)
    figures = run(root)
    where = placed(root)
    copies = [name for name in where if "copy-" in name]
    dropped = figures["dropped"]["photos"]
    assert len(copies) < sum("copy-" in row[0] for row in dropped) + len(copies)
    assert all(where[name] == "test" for name in copies)
    assert all("duplicate" in row[3] for row in dropped)


def test_bad_photos_are_set_aside_with_their_reason_and_stop_nothing(root: Path) -> None:
    (root / "mug" / "text.jpg").write_bytes(b"no photo")
    (root / "mug" / "empty.png").write_bytes(b"")
    (root / "mug" / "cut.png").write_bytes((root / "mug" / "000.png").read_bytes()[:200])
    Image.new("RGB", (64, 64), (10, 200, 30)).save(root / "mug" / "flat.png")
    photo(1, (12, 12)).save(root / "mug" / "small.png")
    figures = run(root)
    reasons = {row[0]: row[3].partition(":")[0] for row in figures["dropped"]["photos"]}
    assert reasons == {
        "mug/text.jpg": "unreadable",
        "mug/empty.png": "unreadable",
        "mug/cut.png": "unreadable",
        "mug/flat.png": "blank",
        "mug/small.png": "too small",
    }


def test_a_failed_run_leaves_the_former_dataset_whole(root: Path) -> None:
    digest = run(root)["digest"]
    shutil.rmtree(root / "pen")
    (root / "pen").mkdir()
    (root / "pen" / "text.jpg").write_bytes(b"no photo")
    with pytest.raises(SourceError, match="no usable training photo of class pen"):
        run(root)
    assert dataset.load(root / "var" / "dataset").digest == digest
    assert not list((root / "var").glob("*.partial"))


def test_a_damaged_dataset_is_named(root: Path) -> None:
    run(root)
    file = root / "var" / "dataset" / "test.parquet"
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(SourceError, match="damaged"):
        dataset.load(root / "var" / "dataset")
    with pytest.raises(SourceError, match="training prepare"):
        dataset.load(root / "nowhere")


def test_shares_of_the_splits_are_those_that_are_stated() -> None:
    for official, expected in (("train", (0.9, 0.05, 0.05, 0)), ("", (0.6, 0.1, 0.1, 0.2)), ("test", (0, 0, 0, 1))):
        names = [dataset.split_of(official, str(i)) for i in range(5000)]
        for split, share in zip(dataset.SPLITS, expected, strict=True):
            assert names.count(split) / 5000 == pytest.approx(share, abs=0.02)
