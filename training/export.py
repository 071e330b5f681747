"""The trained network and its gate as the two folders that the store holds.

`python -m training.export FOLDER` writes the network of FOLDER for OpenVINO.
"""

from __future__ import annotations

import os
import subprocess
import sys
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
from settings import ROOT, configure_environment, read_settings
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
    import keras

    inference = served_form(model, mirror=mirror)
    inference.save(folder / KERAS_FILE)
    if keras.backend.backend() == "tensorflow":
        write_openvino(inference, folder)
    else:  # OpenVINO does not read JAX' operations, and PyTorch's are others than `rewrite` knows
        command = [sys.executable, "-m", "training.export", str(folder.resolve())]
        subprocess.run(command, check=True, cwd=ROOT, env={**os.environ, "KERAS_BACKEND": "tensorflow"})  # noqa: S603
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


def write_openvino(served: keras.Model, folder: Path) -> None:
    """Write ``served``, of Keras on TensorFlow, into ``folder`` for OpenVINO."""
    import_openvino()  # before Keras imports it
    served.export(str(folder / OPENVINO_FILE), format="openvino", verbose=False)
    rewrite(folder / OPENVINO_FILE)


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


def main() -> int:
    folder = Path(sys.argv[1])
    configure_environment(read_settings())
    import keras

    write_openvino(keras.saving.load_model(folder / KERAS_FILE, compile=False), folder)
    return 0


if __name__ == "__main__":
    sys.exit(main())
