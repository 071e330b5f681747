"""`python -m runners score`: a folder of photos becomes a parquet file, unreadable ones are set aside."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image

from settings import ROOT


def runners(var: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if name != "BENTOML_HOME"}
    return subprocess.run(
        [sys.executable, "-m", "runners", *arguments],
        cwd=ROOT,
        env={**clean, "CIFAR_VAR": str(var)},
        capture_output=True,
        text=True,
    )


@pytest.fixture(scope="module")
def var(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("score")
    assert runners(folder, "starters").returncode == 0
    return folder


def test_photos_are_scored_and_the_unreadable_set_aside(var: Path, tmp_path: Path, picture: Image.Image) -> None:
    (tmp_path / "photos" / "deep").mkdir(parents=True)
    picture.save(tmp_path / "photos" / "a.png")
    picture.rotate(90).save(tmp_path / "photos" / "deep" / "b.jpg")
    (tmp_path / "photos" / "broken.jpg").write_bytes(b"no photo")
    done = runners(var, "score", str(tmp_path / "photos"), "--out", str(tmp_path / "out"))
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    assert [Path(row["path"]).name for row in rows] == ["a.png", "b.jpg"]
    assert all(sum(row["probabilities"]) == pytest.approx(1, abs=1e-5) for row in rows)
    [error] = [json.loads(line) for line in (tmp_path / "out" / "errors.jsonl").read_text().splitlines()]
    assert error["path"].endswith("broken.jpg")
    assert error["error"] == "The file is not an image."


@pytest.mark.parametrize(("path", "message"), [("nothing", "no photos"), ("only", "none of 1 photos could be read")])
def test_nothing_to_score_is_one_clear_line(var: Path, tmp_path: Path, path: str, message: str) -> None:
    (tmp_path / "only").mkdir()
    (tmp_path / "only" / "x.jpg").write_bytes(b"no photo")
    done = runners(var, "score", str(tmp_path / path), "--out", str(tmp_path / "out"))
    assert done.returncode == 1
    assert message in done.stderr.splitlines()[-1]
    assert not (tmp_path / "out" / "predictions.parquet").exists()
