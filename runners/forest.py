"""The gate as a BentoML service of its own, for `CIFAR_RUNNERS=separate`."""

from __future__ import annotations

from pathlib import Path

import bentoml
import numpy as np

from runners.gate import load_gate
from runners.leaving import RUNNER_SECONDS, when_told_to_leave
from runners.remote import KEEP_SESSION, QUIET, NoPickle, from_npy, to_npy
from runners.store import gate_tag
from settings import Settings


@bentoml.service(name="ood_forest_runner", workers=1, traffic={"timeout": 30}, runner_connection=KEEP_SESSION, **QUIET)
class ForestRunner:
    """Network outputs to anomaly scores and p-values."""

    model = bentoml.models.BentoModel(gate_tag(Settings().cnn_tag))

    def __init__(self) -> None:
        self._gate = load_gate(Path(self.model.path))
        when_told_to_leave(lambda: None, delay=RUNNER_SECONDS)

    @bentoml.api
    def score(self, outputs: bytes, /) -> bytes:
        """What `CnnRunner.infer` returned, float32 (n, classes + d) -> score and p-value, float32 (n, 2); as .npy."""
        array = np.asarray(from_npy(outputs), np.float32)
        classes = len(self._gate.class_means)
        return to_npy(np.stack(self._gate.score(array[:, :classes], array[:, classes:]), axis=1))


ForestRunner.add_asgi_middleware(NoPickle)  # type: ignore[attr-defined]
