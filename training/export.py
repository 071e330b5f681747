"""The trained network and its gate as the two folders that the store holds."""

from __future__ import annotations

import os
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
    _join_gelus(folder / OPENVINO_FILE)
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


def _join_gelus(path: Path) -> None:
    """Keras exports GELU as x / 2 · (1 - erf(-x / √2)), which OpenVINO computes in passes of their own over memory and,
    in bfloat16, rounds between them. As one operation it becomes part of the convolution before it.
    """
    openvino = import_openvino()
    model = openvino.Core().read_model(path)
    for erf in [node for node in model.get_ops() if node.get_type_name() == "Erf"]:
        scaled = erf.input_value(0).get_node()
        x = next(value for value in scaled.input_values() if value.get_node().get_type_name() != "Constant")
        complement, product = _only_user(erf), _only_user(_only_user(erf))
        if (complement.get_type_name(), product.get_type_name()) == ("Subtract", "Multiply"):
            product.output(0).replace(openvino.opset13.gelu(x, "erf").output(0))
    partial = path.with_stem("joined")
    openvino.save_model(model, partial, compress_to_fp16=False)
    del model  # its weights are mapped from the file that is replaced
    for suffix in (".xml", ".bin"):
        os.replace(partial.with_suffix(suffix), path.with_suffix(suffix))


def _only_user(node: Any) -> Any:
    (user,) = node.output(0).get_target_inputs()
    return user.get_node()


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
