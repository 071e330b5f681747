"""The network as a BentoML service of its own, for `CIFAR_RUNNERS=separate`."""

from __future__ import annotations

import asyncio
from pathlib import Path

import bentoml
import numpy as np

from runners.artifacts import read_network_card
from runners.leaving import RUNNER_SECONDS, when_told_to_leave
from runners.network import Network, load_network
from runners.remote import KEEP_SESSION, QUIET, NoPickle, from_named, to_npy
from runners.versions import Versions
from settings import Settings

SETTINGS = Settings()


@bentoml.service(name="cifar_cnn_runner", workers=1, traffic={"timeout": 30}, runner_connection=KEEP_SESSION, **QUIET)
class CnnRunner:
    """Pixels to network outputs. The caller batches, so this does not."""

    model = bentoml.models.BentoModel(SETTINGS.cnn_tag)

    def __init__(self) -> None:
        self._networks = Versions(_load)
        self._networks.get(str(self.model.tag))
        when_told_to_leave(lambda: None, delay=RUNNER_SECONDS)

    @bentoml.api
    def infer(self, request: bytes, /) -> bytes:
        """Tag and pixels uint8 (n, 32, 32, 3), by `to_named` -> logits and embedding side by side, float32 (n, classes
        + d), as .npy."""
        tag, pixels = from_named(request)
        return to_npy(np.concatenate(self._networks.get(tag)(np.asarray(pixels, np.uint8)), axis=1))

    @bentoml.api
    async def prepare(self, tag: bytes, /) -> bytes:
        """Load and warm the network ``tag``, while the one before answers; nothing comes back."""
        await asyncio.to_thread(self._networks.get, tag.decode())
        return b""


def _load(tag: str) -> Network:
    folder = Path(bentoml.models.get(tag).path)
    read_network_card(folder)  # verifies the files
    network = load_network(folder, SETTINGS.engine)
    network(np.zeros((SETTINGS.max_batch, 32, 32, 3), np.uint8))
    return network


CnnRunner.add_asgi_middleware(NoPickle)  # type: ignore[attr-defined]
