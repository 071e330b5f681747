"""The Bento: composes network and gate, and serves the HTTP API and the page. Start it with `bentoml serve`."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from settings import Settings, configure_environment

SETTINGS = Settings()
configure_environment(SETTINGS)

# The libraries below read the environment when they are imported. Gradio, MLflow and whylogs are not among them: this
# module is imported by every process of the server, and only the worker needs those.
import bentoml  # noqa: E402

from http_api import Handlers, add_fallback, add_routes, new_app  # noqa: E402
from monitoring.feedback import FeedbackStore  # noqa: E402
from runners.artifacts import NetworkCard, read_gate_card, read_network_card  # noqa: E402
from runners.batching import MicroBatcher, Score  # noqa: E402
from runners.pipeline import Scores, combine  # noqa: E402
from runners.prediction import ModelTags  # noqa: E402
from runners.store import Served, gate_tag, open_pair  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

SEPARATE = SETTINGS.runners == "separate"
if SEPARATE:
    from runners.cnn import CnnRunner
    from runners.forest import ForestRunner

app = new_app(SETTINGS)


@bentoml.service(name="cifar", workers=1, traffic={"timeout": 60}, http={"host": "127.0.0.1", "port": 3000})
@bentoml.asgi_app(app, path="/")
class Cifar:
    """One process that owns the queue, the API, the page and the monitoring; the runners inside it or beside it."""

    cnn_model = bentoml.models.BentoModel(SETTINGS.cnn_tag)
    forest_model = bentoml.models.BentoModel(gate_tag(SETTINGS.cnn_tag))
    if SEPARATE:
        cnn = bentoml.depends(CnnRunner)
        forest = bentoml.depends(ForestRunner)

    def __init__(self) -> None:
        from monitoring.recorder import Recorder
        from monitoring.tracking import ensure_store

        pair = Served(
            str(self.cnn_model.tag),
            str(self.forest_model.tag),
            Path(self.cnn_model.path),
            Path(self.forest_model.path),
        )
        card = read_network_card(pair.cnn_path)
        read_gate_card(pair.forest_path, card)
        score = self._remote(card) if SEPARATE else _local(pair)
        tags = ModelTags(cnn=pair.cnn_tag, forest=pair.forest_tag)
        self.recorder = Recorder(SETTINGS, tags.cnn, tags.forest, card.labels) if SETTINGS.monitoring else None
        if self.recorder:
            ensure_store(SETTINGS)
            self.recorder.start()
        self.feedback_store = FeedbackStore.open(SETTINGS)
        batcher = MicroBatcher(score, SETTINGS.max_batch, SETTINGS.max_queue)
        handlers = Handlers(SETTINGS, card.labels, tags, batcher, self.feedback_store, self.recorder)
        add_routes(app, lambda: handlers, SETTINGS)
        if SETTINGS.page:
            _mount_page(handlers)
        add_fallback(app)

    def _remote(self, card: NetworkCard) -> Score:
        async def score(pixels: NDArray[np.uint8]) -> Scores:
            outputs = await self.cnn.to_async.infer(pixels=pixels)
            logits, embedding = np.split(outputs, [len(card.labels)], axis=1)
            verdict = await self.forest.to_async.score(outputs=outputs)
            return combine(logits, embedding, (verdict[:, 0], verdict[:, 1]), card.temperature)

        return score

    @bentoml.on_shutdown
    def close(self) -> None:
        """Flush what is being profiled."""
        if self.recorder:
            self.recorder.close()


def _local(pair: Served) -> Score:
    """Network and gate in this process, on one thread of their own, warm."""
    pipeline, _ = open_pair(pair, SETTINGS.engine)
    pipeline.score(np.zeros((SETTINGS.max_batch, 32, 32, 3), np.uint8))
    thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="network")

    async def score(pixels: NDArray[np.uint8]) -> Scores:
        return await asyncio.get_running_loop().run_in_executor(thread, pipeline.score, pixels)

    return score


def _mount_page(handlers: Handlers) -> None:
    from ui.page import mount

    mount(app, handlers, max_file_bytes=SETTINGS.max_upload_bytes)
