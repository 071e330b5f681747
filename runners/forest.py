"""The gate as a BentoML service of its own, for `CIFAR_RUNNERS=separate`."""

from __future__ import annotations

from pathlib import Path

import bentoml
import numpy as np

from runners.cnn import KEEP_SESSION
from runners.gate import load_gate
from runners.store import gate_tag
from settings import Settings


@bentoml.service(name="ood_forest_runner", workers=1, traffic={"timeout": 30}, runner_connection=KEEP_SESSION)
class ForestRunner:
    """Network outputs to anomaly scores and p-values."""

    model = bentoml.models.BentoModel(gate_tag(Settings().cnn_tag))

    def __init__(self) -> None:
        self._gate = load_gate(Path(self.model.path))

    @bentoml.api
    def score(self, outputs: np.ndarray) -> np.ndarray:
        """What `CnnRunner.infer` returned, float32 (n, classes + d) -> score and p-value, float32 (n, 2)."""
        outputs = np.asarray(outputs, np.float32)
        classes = len(self._gate.class_means)
        return np.stack(self._gate.score(outputs[:, :classes], outputs[:, classes:]), axis=1)
