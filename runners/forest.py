"""The gate as a BentoML service of its own, for `CIFAR_RUNNERS=separate`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import bentoml
import numpy as np

from runners.artifacts import gate_tag
from runners.blas import one_blas_thread
from runners.gate import Gate, load_gate
from runners.leaving import RUNNER_SECONDS, when_told_to_leave
from runners.remote import KEEP_SESSION, QUIET, NoPickle, from_named, to_npy
from runners.versions import Versions
from settings import Settings


@bentoml.service(name="ood_forest_runner", workers=1, traffic={"timeout": 30}, runner_connection=KEEP_SESSION, **QUIET)
class ForestRunner:
    """Network outputs to anomaly scores and p-values."""

    model = bentoml.models.BentoModel(gate_tag(Settings().cnn_tag))

    def __init__(self) -> None:
        one_blas_thread()
        self._gates = Versions(_load)
        self._gates.get(str(self.model.tag))
        when_told_to_leave(lambda: None, delay=RUNNER_SECONDS)

    @bentoml.api
    def score(self, request: bytes, /) -> bytes:
        """Tag and what `CnnRunner.infer` returned, float32 (n, classes + d), by `to_named` -> score and p-value,
        float32 (n, 2), as .npy."""
        tag, outputs = from_named(request)
        gate, array = self._gates.get(tag), np.asarray(outputs, np.float32)
        classes = len(gate.class_means)
        return to_npy(np.stack(gate.score(array[:, :classes], array[:, classes:]), axis=1))

    @bentoml.api
    async def prepare(self, tag: bytes, /) -> bytes:
        """Load the gate ``tag``, while the one before answers; nothing comes back."""
        await asyncio.to_thread(self._gates.get, tag.decode())
        return b""


def _load(tag: str) -> Gate:
    return load_gate(Path(bentoml.models.get(tag).path))


ForestRunner.add_asgi_middleware(NoPickle)  # type: ignore[attr-defined]
