"""The starter models: what the record says is what the files are, and damage is refused."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from runners.artifacts import ArtifactError, read_gate_card, read_network_card, sha256
from runners.pipeline import Scores
from runners.store import STARTERS, StoreError, import_starters, read_record
from settings import ROOT


def starters(var: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    import os

    ours = {"CIFAR_VAR": str(var), "BENTOML_HOME": str(var / "bentoml")}
    command = [sys.executable, "-m", "runners", "starters", *arguments]
    return subprocess.run(command, cwd=ROOT, env={**os.environ, **ours}, capture_output=True, text=True)


def test_the_record_names_the_files_and_they_are_small() -> None:
    record = read_record()
    for name, digest in record.archives.items():
        assert sha256(STARTERS / name) == digest
    assert sum(p.stat().st_size for p in STARTERS.iterdir()) < 25_000_000
    assert not record.commit.endswith("-dirty")


def test_importing_twice_imports_once(tmp_path: Path) -> None:
    first, second = starters(tmp_path), starters(tmp_path)
    assert first.stdout.startswith("imported ")
    assert second.stdout.strip() == "the starter models are in the store"


def test_a_folder_may_be_named_as_seen_from_here(tmp_path: Path) -> None:
    done = starters(tmp_path, "--from", STARTERS.name)
    assert done.stdout.startswith("imported "), done.stderr


def test_a_damaged_archive_leaves_the_store_untouched(tmp_path: Path) -> None:
    shutil.copytree(STARTERS, tmp_path / "models")
    archive = next((tmp_path / "models").glob("cifar_cnn*"))
    archive.write_bytes(archive.read_bytes()[:-1] + b"x")
    done = starters(tmp_path, "--from", str(tmp_path / "models"))
    assert done.returncode == 1
    assert "damaged or of another version" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not list((tmp_path / "bentoml" / "models").glob("*/*"))


def test_a_missing_record_is_one_clear_error(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"record\.json: not readable"):
        import_starters(tmp_path)


def test_a_gate_of_another_network_and_a_damaged_file_are_refused(tmp_path: Path) -> None:
    assert starters(tmp_path).returncode == 0
    cnn = next((tmp_path / "bentoml/models/cifar_cnn").glob("*/network.json")).parent
    forest = next((tmp_path / "bentoml/models/ood_forest").glob("*/gate.json")).parent
    card = read_network_card(cnn)
    other = card.model_copy(update={"digests": {**card.digests, "network.keras": "0" * 64}})
    with pytest.raises(ArtifactError, match="belongs to the network"):
        read_gate_card(forest, other)
    (cnn / "network.bin").write_bytes(b"damaged")
    with pytest.raises(ArtifactError, match="damaged"):
        read_network_card(cnn)


def test_the_stated_accuracy_comes_out_again(prepared: Path, shipped_scores: Scores) -> None:
    from training import dataset

    record, data = read_record(), dataset.load(prepared)
    assert data.digest == record.data_digest
    right, sources = shipped_scores.best == data["test"][1], data.sources["test"]
    assert right.mean() == pytest.approx(record.metrics["test_accuracy"], abs=0.003)
    for source in ("cifar10", "cifar100", "folder"):
        stated = record.metrics[f"test_accuracy_{source}"]
        assert right[sources == source].mean() == pytest.approx(stated, abs=0.003 if source != "folder" else 0.02)
