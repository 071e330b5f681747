"""Readers: official batches, hostile and damaged pickles, parquet copies, folders with everything in them."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from training.readers import (
    CIFAR100_LABELS,
    LARGEST_PHOTO,
    SourceError,
    batch_rows,
    folder_files,
    parquet_rows,
    read_batch,
    read_file,
)


def batch_file(path: Path, content: object, protocol: int = 2) -> Path:
    path.write_bytes(pickle.dumps(content, protocol))
    return path


def test_an_official_batch_is_read_and_its_planes_interleaved(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 32, 32, 3), dtype=np.uint8)
    planes = images.transpose(0, 3, 1, 2).reshape(5, 3072)
    path = batch_file(tmp_path / "batch", {b"data": planes, b"fine_labels": [1, 2, 3, 4, 5]})
    rows, labels = read_batch(path, b"fine_labels")
    assert np.array_equal(rows, planes)
    assert labels == [1, 2, 3, 4, 5]
    assert list(batch_rows(path, b"fine_labels")) == [
        (image.tobytes(), n) for image, n in zip(images, labels, strict=True)
    ]


class Hostile:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return print, ("owned",)


def test_a_pickle_with_code_in_it_is_refused_and_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    batch_file(tmp_path / "batch", {b"data": Hostile(), b"labels": []})
    with pytest.raises(SourceError, match="not allowed"):
        read_batch(tmp_path / "batch")
    assert capsys.readouterr().out == ""


ROWS = np.zeros((5, 3072), np.uint8)


@pytest.mark.parametrize(
    "content",
    [
        {b"data": ROWS},
        {b"data": ROWS, b"labels": [0] * 4},
        {b"data": ROWS, b"labels": ["a"] * 5},
        {b"data": ROWS[:, :3000], b"labels": [0] * 5},
        {b"data": ROWS.astype(np.float32), b"labels": [0] * 5},
        {b"data": [1, 2], b"labels": [0, 0]},
        [1, 2, 3],
        None,
    ],
)
def test_a_pickle_of_something_else_is_refused(tmp_path: Path, content: object) -> None:
    batch_file(tmp_path / "batch", content)
    with pytest.raises(SourceError, match="not a CIFAR batch"):
        read_batch(tmp_path / "batch")


def test_damaged_and_missing_batches_are_refused(tmp_path: Path) -> None:
    data = batch_file(tmp_path / "batch", {b"data": ROWS, b"labels": [0] * 5}).read_bytes()
    noise = np.random.default_rng(0).bytes(20)
    damaged = [data[:-100], data[:50], b"", b"\x80\x02garbage", data[:40] + noise + data[60:]]
    for content in damaged:
        (tmp_path / "batch").write_bytes(content)
        with pytest.raises(SourceError, match="batch: not a CIFAR batch"):
            read_batch(tmp_path / "batch")
    with pytest.raises(SourceError, match="not a CIFAR batch"):
        read_batch(tmp_path / "none")


def test_a_parquet_copy_is_streamed(tmp_path: Path) -> None:
    images = [{"bytes": b"one", "path": None}, {"bytes": None, "path": None}, None]
    pq.write_table(pa.table({"img": images, "fine_label": [7, 8, 9]}), tmp_path / "a.parquet")
    assert list(parquet_rows(tmp_path / "a.parquet", "fine_label")) == [(b"one", 7), (b"", 8), (b"", 9)]


def test_a_damaged_or_foreign_parquet_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(pa.table({"img": [{"bytes": os.urandom(9000)}], "label": [1]}), path)
    with pytest.raises(SourceError, match="readable parquet"):
        list(parquet_rows(path, "fine_label"))
    whole = path.read_bytes()
    for content in (whole[: len(whole) // 2], b"", b"PAR1 and no more"):
        path.write_bytes(content)
        with pytest.raises(SourceError, match="readable parquet"):
            list(parquet_rows(path, "label"))
    pq.write_table(pa.table({"img": [1], "label": [1]}), path)
    with pytest.raises(SourceError, match="readable parquet"):
        list(parquet_rows(path, "label"))


def test_a_folder_gives_its_files_in_order_at_any_depth(tmp_path: Path) -> None:
    names = ["b.jpg", "a.png", "z/2.jpg", "z/1.jpg", "c/d/e.jpg", "notes.txt"]
    for name in [*names, ".hidden.png", ".git/x.png", "Thumbs.db", "c/desktop.ini", "burst.partial/0.png"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path)
    found = [path.relative_to(tmp_path).as_posix() for path in folder_files(tmp_path)]
    assert found == ["a.png", "b.jpg", "notes.txt", "c/d/e.jpg", "z/1.jpg", "z/2.jpg"]


def test_what_cannot_be_read_has_no_bytes_and_a_pipe_does_not_block(tmp_path: Path) -> None:
    (tmp_path / "gone.jpg").symlink_to(tmp_path / "nowhere")
    os.mkfifo(tmp_path / "pipe.jpg")
    assert read_file(tmp_path / "gone.jpg") == b""
    assert read_file(tmp_path / "pipe.jpg") == b""


def test_of_a_huge_file_only_the_beginning_is_read(tmp_path: Path) -> None:
    with (tmp_path / "film.jpg").open("wb") as file:
        file.truncate(LARGEST_PHOTO * 50)  # a sparse file: no such room is taken
    assert len(read_file(tmp_path / "film.jpg")) == LARGEST_PHOTO + 1


def test_the_fine_labels_are_a_hundred_in_alphabetical_order() -> None:
    assert len(set(CIFAR100_LABELS)) == 100
    assert list(CIFAR100_LABELS) == sorted(CIFAR100_LABELS)
