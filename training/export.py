"""The trained network and its gate as the two folders that the store holds."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runners.artifacts import (
    GATE_CARD,
    GATE_FILE,
    KERAS_FILE,
    NETWORK_CARD,
    OPENVINO_FILE,
    GateCard,
    NetworkCard,
    sha256,
    write_card,
)
from runners.gate import Floats, Gate, save_gate
from runners.network import Network, import_openvino, openvino_network
from training.calibrate import temperature
from training.graph import rewrite
from training.network import served_form
from training.sources import Labelled

if TYPE_CHECKING:
    import keras


def outputs(network: Network, pixels: NDArray[np.uint8], batch: int = 250) -> tuple[Floats, Floats]:
    """Logits (n, classes) and embedding (n, d) of many photos, n >= 1."""
    parts = [network(pixels[start : start + batch]) for start in range(0, len(pixels), batch)]
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def export_network(
    model: keras.Model,
    folder: Path,
    labels: tuple[str, ...],
    validation: Labelled,
    record: dict[str, Any],
    *,
    mirror: bool,
) -> NetworkCard:
    """Write ``model`` for Keras and OpenVINO, with its card; the temperature is scaled on ``validation``, as served."""
    import_openvino()  # before Keras imports it
    inference = served_form(model, mirror=mirror)
    inference.save(folder / KERAS_FILE)
    inference.export(str(folder / OPENVINO_FILE), format="openvino", verbose=False)
    rewrite(folder / OPENVINO_FILE)
    logits, embedding = outputs(openvino_network(folder / OPENVINO_FILE), validation[0])
    files = (KERAS_FILE, OPENVINO_FILE, Path(OPENVINO_FILE).with_suffix(".bin").name)
    card = NetworkCard(
        labels=labels,
        temperature=temperature(logits, validation[1]),
        embedding_size=embedding.shape[1],
        digests={name: sha256(folder / name) for name in files},
        record=record,
    )
    write_card(folder, NETWORK_CARD, card)
    return card


def export_gate(gate: Gate, folder: Path, network: NetworkCard, record: dict[str, Any]) -> GateCard:
    """Write ``gate`` and the card that ties it to ``network``."""
    save_gate(folder, gate)
    card = GateCard(
        network_digest=network.digest,
        features=gate.names,
        digests={GATE_FILE: sha256(folder / GATE_FILE)},
        record=record,
    )
    write_card(folder, GATE_CARD, card)
    return card
