"""The network at prediction time: OpenVINO by default, Keras on TensorFlow on request, same numbers from both."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from runners.artifacts import KERAS_FILE, OPENVINO_FILE

Floats = NDArray[np.float32]
Network = Callable[[NDArray[np.uint8]], tuple[Floats, Floats]]
"""Pixels uint8 (n, 32, 32, 3) -> logits (n, classes) and embedding (n, d), float32. Safe to call from threads."""

Engine = Literal["openvino", "tensorflow"]


def load_network(folder: Path, engine: Engine = "openvino") -> Network:
    """The network in ``folder`` (a `cifar_cnn` model), run by ``engine``."""
    return openvino_network(folder / OPENVINO_FILE) if engine == "openvino" else keras_network(folder / KERAS_FILE)


def openvino_network(path: Path) -> Network:
    """Compile an OpenVINO IR. bfloat16 where the processor has it, else float32: OpenVINO's own choice."""
    core = import_openvino().Core()
    compiled = core.compile_model(core.read_model(path), "CPU", {"PERFORMANCE_HINT": "LATENCY"})
    request, lock = compiled.create_infer_request(), threading.Lock()

    def infer(pixels: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        with lock:  # one request object: its output buffers are reused by the next call
            result = request.infer({0: pixels})
            return np.array(result[0], dtype=np.float32), np.array(result[1], dtype=np.float32)

    return infer


def import_openvino() -> ModuleType:
    """The openvino package, without its telemetry: importing it as it is sends an event to Google Analytics.

    It does without the package `openvino_telemetry` where that cannot be imported.
    """
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    return openvino


def keras_network(path: Path) -> Network:
    """Load a `.keras` file on the configured Keras back end."""
    import keras

    return from_keras(keras.saving.load_model(path, compile=False))


def from_keras(model: object) -> Network:
    """A Keras model with outputs (logits, embedding) as a `Network`."""

    def infer(pixels: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        logits, embedding = model.predict_on_batch(pixels)  # type: ignore[attr-defined]
        return np.asarray(logits, np.float32), np.asarray(embedding, np.float32)

    return infer
