"""The pair in the BentoML model store: which one is served, loading it, and importing the shipped starter models."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field

from runners.artifacts import (
    CNN,
    ArtifactError,
    NetworkCard,
    gate_tag,
    read_gate_card,
    read_network_card,
    sha256,
)
from runners.gate import load_gate
from runners.network import Engine, load_network
from runners.pipeline import Pipeline
from settings import ROOT, Settings

STARTERS = ROOT / "models"
RECORD = "record.json"


class StoreError(Exception):
    """No model to serve, or an archive that must not be imported; the message says which and what to do."""


@dataclass(frozen=True, slots=True)
class Served:
    """The pair that a tag stands for, and where its files lie."""

    cnn_tag: str
    forest_tag: str
    cnn_path: Path
    forest_path: Path


class StarterRecord(BaseModel):
    """`models/record.json`: the shipped archives and how they were made."""

    model_config = ConfigDict(frozen=True)

    command: str
    config: dict[str, object]
    data_digest: str
    commit: str
    seed: int
    metrics: dict[str, float]
    tags: dict[str, str] = Field(description="model name -> tag inside the archive")
    archives: dict[str, str] = Field(description="file name -> SHA-256")


def served(settings: Settings) -> Served:
    """The pair that ``settings.cnn_tag`` stands for.

    Raises:
        StoreError: it is not in the store.
    """
    import bentoml

    try:
        cnn = bentoml.models.get(settings.cnn_tag)
        forest = bentoml.models.get(gate_tag(str(cnn.tag)))
    except bentoml.exceptions.BentoMLException:
        raise StoreError(
            f"no model {settings.cnn_tag} with its gate in the BentoML store: run `python -m runners starters` for the "
            "shipped ones, or `python -m training all` for your own"
        ) from None
    return Served(str(cnn.tag), str(forest.tag), Path(cnn.path), Path(forest.path))


def open_pair(pair: Served, engine: Engine, streams: int = 0) -> tuple[Pipeline, NetworkCard]:
    """Verify and load a pair; raises `runners.artifacts.ArtifactError` for damage or a gate of another network."""
    card = read_network_card(pair.cnn_path)
    read_gate_card(pair.forest_path, card)
    pipeline = Pipeline(
        load_network(pair.cnn_path, engine, streams),
        load_gate(pair.forest_path),
        card.labels,
        card.temperature,
        pair.cnn_tag,
        pair.forest_tag,
    )
    return pipeline, card


def load_pipeline(settings: Settings, streams: int = 0) -> Pipeline:
    """The served pair, loaded; ``streams`` as in `openvino_network`. Raises `StoreError` or `ArtifactError`."""
    return open_pair(served(settings), settings.engine, streams)[0]


def read_record(folder: Path = STARTERS) -> StarterRecord:
    try:
        return StarterRecord.model_validate(json.loads((folder / RECORD).read_text()))
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder / RECORD}: not readable ({type(error).__name__})") from error


def import_starters(folder: Path = STARTERS) -> list[str]:
    """Import the shipped archives into the store and return the tags that were new.

    All archives are checked against the record before the first one is imported, so a damaged one leaves the store
    untouched.

    Raises:
        StoreError: an archive is missing, damaged or of another version than the record says.
    """
    import bentoml

    record = read_record(folder)
    for name, digest in record.archives.items():
        if not (folder / name).is_file():
            raise StoreError(f"{folder / name}: missing")
        if sha256(folder / name) != digest:
            raise StoreError(f"{folder / name}: damaged or of another version, its SHA-256 is not the one in {RECORD}")
    present = {str(model.tag) for model in bentoml.models.list()}
    new = []
    for name in sorted(
        record.archives, key=lambda file: file.startswith(CNN)
    ):  # the network last: it makes the pair visible
        tag = record.tags[name.partition("-")[0]]
        if tag not in present:
            bentoml.models.import_model(str((folder / name).resolve()))  # a relative one it looks for below /
            new.append(tag)
    return new


__all__ = [
    "ArtifactError",
    "Served",
    "StarterRecord",
    "StoreError",
    "import_starters",
    "load_pipeline",
    "open_pair",
    "served",
]
