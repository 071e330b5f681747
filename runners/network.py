"""The network at prediction time: OpenVINO by default, Keras on TensorFlow on request, same numbers from both."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from queue import SimpleQueue
from types import ModuleType
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from runners.artifacts import KERAS_FILE, OPENVINO_FILE

Floats = NDArray[np.float32]
Network = Callable[[NDArray[np.uint8]], tuple[Floats, Floats]]
"""Pixels uint8 (n, 32, 32, 3) -> logits (n, classes) and embedding (n, d), float32. Safe to call from threads."""

Engine = Literal["openvino", "tensorflow"]


def load_network(folder: Path, engine: Engine = "openvino", streams: int = 0) -> Network:
    """The network in ``folder`` (a `cifar_cnn` model), run by ``engine``; ``streams`` as in `openvino_network`."""
    openvino = engine == "openvino"
    return openvino_network(folder / OPENVINO_FILE, streams) if openvino else keras_network(folder / KERAS_FILE)


def openvino_network(path: Path, streams: int = 0) -> Network:
    """Compile an OpenVINO IR. bfloat16 where the processor has it, else float32: OpenVINO's own choice.

    ``streams`` 0: one call at a time, on all cores, for the soonest answer. Else that many calls at a time, on one core
    each: none waits for a core that is late because something else runs there.
    """
    core = import_openvino().Core()
    options: dict[str, object] = {"PERFORMANCE_HINT": "LATENCY"}
    if streams:
        options = {"NUM_STREAMS": streams, "INFERENCE_NUM_THREADS": streams}
    # A thread that stays on its core waits there for whatever decodes a photo meanwhile, and the others for it.
    options["ENABLE_CPU_PINNING"] = False
    compiled = core.compile_model(core.read_model(path), "CPU", options)
    free: SimpleQueue[Any] = SimpleQueue()
    for _ in range(max(1, streams)):
        free.put(compiled.create_infer_request())

    def infer(pixels: NDArray[np.uint8]) -> tuple[Floats, Floats]:
        request = free.get()
        try:
            result = request.infer({0: pixels})
            # Copied before another call has the request, which uses its buffers again.
            return np.array(result[0], dtype=np.float32), np.array(result[1], dtype=np.float32)
        finally:
            free.put(request)

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
