"""`python -m runners score`: photos become a parquet dataset and a profile, unreadable ones are set aside."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import tarfile
from io import BytesIO
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from monitoring import profiles
from runners import score, score_sources
from runners.__main__ import main
from runners.pipeline import Scores
from runners.score_sources import ScoreError
from runners.store import Served
from settings import ROOT, Settings
from tests.live import png


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


SETTINGS = Settings(_env_file=None)  # type: ignore[call-arg]
PHOTOS = {f"{i}.png": png(np.random.default_rng(i).integers(0, 256, (40, 30 + i, 3), dtype=np.uint8)) for i in range(5)}


class MadeUp:
    """Stands in for the pair: dog for light photos, cat for dark ones, all known."""

    labels, cnn_tag, forest_tag = ("cat", "dog"), "cifar_cnn:made", "ood_forest:made"

    def score(self, pixels: np.ndarray) -> Scores:
        light = pixels.mean(axis=(1, 2, 3), dtype=np.float64).astype(np.float32) / 255
        p = np.stack([1 - light, light], axis=1)
        return Scores(p, p, -light, light, np.full(len(p), 0.5, np.float32))


@pytest.fixture(autouse=True)
def pipeline(monkeypatch: pytest.MonkeyPatch) -> MadeUp:
    """What this process finds to be served; commands of their own find the shipped pair."""
    made = MadeUp()
    monkeypatch.setattr(score, "served", lambda _: Served(made.cnn_tag, made.forest_tag, Path(), Path()))
    monkeypatch.setattr(score, "load_pipeline", lambda *_: made)
    return made


def rows(out: Path) -> list[dict[str, Any]]:
    found = pq.read_table(out / "predictions.parquet").to_pylist()
    return [{name: value for name, value in row.items() if name != "path"} for row in found]


def profile(out: Path) -> profiles.Profile:
    return profiles.from_bytes((out / "profile.bin").read_bytes())


def tar(photos: dict[str, bytes]) -> bytes:
    buffer = BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, data in photos.items():
            about = tarfile.TarInfo(name)
            about.size = len(data)
            archive.addfile(about, BytesIO(data))
    return buffer.getvalue()


def folder(place: Path, photos: dict[str, bytes] = PHOTOS) -> Path:
    place.mkdir(parents=True)
    for name, data in photos.items():
        (place / name).write_bytes(data)
    return place


def errors(out: Path) -> list[dict[str, str]]:
    return [json.loads(line) for line in (out / "errors.jsonl").read_text().splitlines()]


def test_folder_tar_parquet_and_elsewhere_give_the_same(tmp_path: Path) -> None:
    structs = [{"bytes": data, "path": name} for name, data in PHOTOS.items()]
    pq.write_table(pa.table({"img": structs, "label": list(range(5))}), tmp_path / "hub.parquet")
    pq.write_table(pa.table({"image": list(PHOTOS.values())}), tmp_path / "plain.parquet")
    (tmp_path / "shard.tar").write_bytes(tar({"read.me": b"no photo", **PHOTOS}))
    (tmp_path / "shard.tgz").write_bytes(gzip.compress(tar(PHOTOS)))
    with fsspec.open("memory://photos/shard.tar", "wb") as file:
        file.write(tar(PHOTOS))
    places = [
        folder(tmp_path / "photos"),
        *(tmp_path / name for name in ("hub.parquet", "plain.parquet", "shard.tar", "shard.tgz")),
    ]
    outs = []
    for number, place in enumerate([*map(str, places), "memory://photos"]):
        outs.append(tmp_path / f"out{number}")
        assert score.run(place, outs[-1], SETTINGS) == 0
        assert errors(outs[-1]) == []
        assert not (outs[-1] / "unfinished").exists()
    first, *others = outs
    assert len(rows(first)) == profile(first).rows == 5
    assert profile(first).numeric("width").mean == pytest.approx(32)
    for out in others:
        assert rows(out) == rows(first)
        assert profile(out).categorical("label") == profile(first).categorical("label")
        assert profile(out).numeric("brightness").mean == pytest.approx(profile(first).numeric("brightness").mean)


def test_an_interrupted_run_goes_on_where_it_was(
    tmp_path: Path, pipeline: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos = folder(tmp_path / "photos", {**PHOTOS, "a.png": b"no photo"})
    monkeypatch.setattr(score_sources, "PHOTOS_IN_A_PART", 2)
    assert score.run(str(photos), tmp_path / "whole", SETTINGS) == 0
    calls: list[int] = []

    def counting(pixels: np.ndarray) -> Scores:
        calls.append(len(pixels))
        if len(calls) == 2:
            raise KeyboardInterrupt
        return MadeUp().score(pixels)

    monkeypatch.setattr(pipeline, "score", counting)
    with pytest.raises(KeyboardInterrupt):
        score.run(str(photos), tmp_path / "out", SETTINGS)
    assert not (tmp_path / "out" / "predictions.parquet").exists()
    with pytest.raises(ScoreError, match="of other photos"):
        score.run(str(folder(tmp_path / "other")), tmp_path / "out", SETTINGS)
    assert score.run(str(photos), tmp_path / "out", SETTINGS) == 0
    assert sum(calls) - calls[1] == 5  # the part that was interrupted once more, the one before it not
    assert rows(tmp_path / "out") == rows(tmp_path / "whole")
    assert errors(tmp_path / "out") == errors(tmp_path / "whole")
    assert profile(tmp_path / "out").categorical("label") == profile(tmp_path / "whole").categorical("label")
    with pytest.raises(ScoreError, match="is there already"):
        score.run(str(photos), tmp_path / "out", SETTINGS)


def test_a_damaged_shard_is_set_aside_from_where_it_is_damaged(tmp_path: Path) -> None:
    whole = tar(PHOTOS)
    (tmp_path / "shards").mkdir()
    (tmp_path / "shards" / "between.tar").write_bytes(whole[: whole.rindex(b"ustar") - 257])
    (tmp_path / "shards" / "cut.tar").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "shards" / "good.tar").write_bytes(whole)
    (tmp_path / "shards" / "none.parquet").write_bytes(b"no parquet")
    assert score.run(str(tmp_path / "shards"), tmp_path / "out", SETTINGS) == 0
    assert 10 <= len(rows(tmp_path / "out")) < 15
    found = [Path(error["path"]).name for error in errors(tmp_path / "out")]
    assert found == ["between.tar", "cut.tar", "none.parquet"]


def test_memory_holds_no_more_than_a_few_batches(
    tmp_path: Path, pipeline: MadeUp, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shard.tar").write_bytes(tar({f"{i}.png": PHOTOS["0.png"] for i in range(12 * score.BATCH)}))
    monkeypatch.setattr(score.os, "cpu_count", lambda: 2)
    made = 0
    reached: list[int] = []

    def scored(pixels: np.ndarray) -> Scores:
        reached.append(made)
        return MadeUp().score(pixels)

    def counting(part: score_sources.Part) -> Any:
        nonlocal made
        for item in score_sources.photos(part):
            made += 1
            yield item

    monkeypatch.setattr(score, "photos", counting)
    monkeypatch.setattr(pipeline, "score", scored)
    assert score.run(str(tmp_path / "shard.tar"), tmp_path / "out", SETTINGS) == 0
    assert len(reached) == 12
    for number, read in enumerate(sorted(reached), 1):  # two are scored, one waits, one is decoded; no more
        assert read <= (number + 3) * score.BATCH


def test_ray_that_is_not_installed_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(ScoreError, match="needs Ray, which is not installed"):
        score.run(str(folder(tmp_path / "photos")), tmp_path / "out", SETTINGS, "ray")


def test_a_place_that_cannot_be_written_is_one_clear_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path))
    (tmp_path / "file").write_text("in the way")
    assert main(["score", str(folder(tmp_path / "photos")), "--out", str(tmp_path / "file" / "out")]) == 1
    assert capsys.readouterr().err == f"error: Not a directory: {tmp_path / 'file' / 'out' / 'unfinished'}\n"


@pytest.mark.parametrize("options", [("--workers", "2"), ("--workers", "0", "--engine", "ray")])
def test_workers_that_make_no_sense_are_told(options: tuple[str, ...], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["score", "photos", "--out", "out", *options])
    assert "--workers needs --engine ray and is 1 or more" in capsys.readouterr().err
