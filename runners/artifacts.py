"""What lies in the BentoML models `cifar_cnn` and `ood_forest`, and how a damaged or mismatched one is told apart."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

CNN, FOREST = "cifar_cnn", "ood_forest"
"""Their names in the store."""
FORMAT = 1
"""Version of the folder layout below; a model of another version is refused."""
NETWORK_CARD, GATE_CARD = "network.json", "gate.json"
KERAS_FILE, OPENVINO_FILE, REFERENCE_FILE, GATE_FILE = "network.keras", "network.xml", "reference.bin", "gate.npz"

Card = TypeVar("Card", "NetworkCard", "GateCard")


class ArtifactError(Exception):
    """A model on disk that must not be served; the message says which file and why."""


def gate_tag(cnn_tag: str) -> str:
    """The gate of a network has the same version."""
    return f"{FOREST}:{cnn_tag.partition(':')[2] or 'latest'}"


class NetworkCard(BaseModel):
    """`network.json`: what the network answers with, and the digests of the files beside it."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    labels: tuple[str, ...] = Field(min_length=2, description="class names in the order of the logits")
    temperature: float = Field(gt=0, description="logits are divided by it before the softmax (Guo et al. 2017)")
    embedding_size: int = Field(ge=1)
    digests: dict[str, str] = Field(description="file name -> SHA-256")
    record: dict[str, Any] = Field(default_factory=dict, description="configuration, data digest, seed, metrics")

    @property
    def digest(self) -> str:
        """The network's identity: SHA-256 of its `.keras` file. A gate names the network it belongs to by it."""
        return self.digests[KERAS_FILE]


class GateCard(BaseModel):
    """`gate.json`: which network the gate belongs to, and the digest of its arrays."""

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT
    network_digest: str
    features: tuple[str, ...]
    digests: dict[str, str]
    record: dict[str, Any] = Field(default_factory=dict)


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_card(folder: Path, name: str, card: BaseModel) -> None:
    (folder / name).write_text(card.model_dump_json(indent=2) + "\n")


def read_network_card(folder: Path) -> NetworkCard:
    """The card of a verified network folder.

    Raises:
        ArtifactError: a file is missing or damaged, or the layout is of another version.
    """
    return _read(folder, NETWORK_CARD, NetworkCard)


def read_gate_card(folder: Path, network: NetworkCard) -> GateCard:
    """The card of a verified gate folder that belongs to ``network``; raises like `read_network_card`."""
    card = _read(folder, GATE_CARD, GateCard)
    if card.network_digest != network.digest:
        raise ArtifactError(
            f"{folder}: this gate belongs to the network {card.network_digest[:12]}, not to {network.digest[:12]}; "
            "a gate and its network travel as a pair"
        )
    return card


def _read(folder: Path, name: str, kind: type[Card]) -> Card:
    try:
        raw = json.loads((folder / name).read_text())
        if raw.get("format") != FORMAT:
            raise ArtifactError(f"{folder / name}: layout version {raw.get('format')}, this program reads {FORMAT}")
        card = kind.model_validate(raw)
    except (OSError, ValueError, ValidationError) as error:
        raise ArtifactError(f"{folder / name}: not readable as a model card ({type(error).__name__})") from error
    for file, digest in card.digests.items():
        path = folder / file
        if not path.is_file():
            raise ArtifactError(f"{path}: missing")
        if sha256(path) != digest:
            raise ArtifactError(f"{path}: damaged, its SHA-256 is not the one in {name}")
    return card
