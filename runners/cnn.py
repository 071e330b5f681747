"""The network as a BentoML service of its own, for `CIFAR_RUNNERS=separate`."""

from __future__ import annotations

from pathlib import Path

import bentoml
import numpy as np

from runners.artifacts import read_network_card
from runners.leaving import RUNNER_SECONDS, when_told_to_leave
from runners.network import load_network
from runners.remote import KEEP_SESSION, QUIET, NoPickle, from_npy, to_npy
from settings import Settings

SETTINGS = Settings()


@bentoml.service(name="cifar_cnn_runner", workers=1, traffic={"timeout": 30}, runner_connection=KEEP_SESSION, **QUIET)
class CnnRunner:
    """Pixels to network outputs. The caller batches, so this does not."""

    model = bentoml.models.BentoModel(SETTINGS.cnn_tag)

    def __init__(self) -> None:
        folder = Path(self.model.path)
        read_network_card(folder)  # verifies the files
        self._infer = load_network(folder, SETTINGS.engine)
        self._infer(np.zeros((SETTINGS.max_batch, 32, 32, 3), np.uint8))
        when_told_to_leave(lambda: None, delay=RUNNER_SECONDS)

    @bentoml.api
    def infer(self, pixels: bytes, /) -> bytes:
        """Pixels uint8 (n, 32, 32, 3) -> logits and embedding side by side, float32 (n, classes + d); both as .npy."""
        return to_npy(np.concatenate(self._infer(np.asarray(from_npy(pixels), np.uint8)), axis=1))


CnnRunner.add_asgi_middleware(NoPickle)  # type: ignore[attr-defined]
