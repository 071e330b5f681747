"""The Bento: composes network and gate, and serves the HTTP API and the page. Start it with `bentoml serve`."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from settings import BadSettingError, Settings, configure_environment, in_bento

SETTINGS = Settings()
configure_environment(SETTINGS)

# The libraries below read the environment when they are imported. Gradio, MLflow and whylogs are not among them: this
# module is imported by every process of the server, and only the worker needs those.
import bentoml  # noqa: E402

from http_api import add_fallback, add_probes, add_routes, new_app  # noqa: E402
from http_handlers import Handlers, Serving  # noqa: E402
from http_health import Health  # noqa: E402
from http_lifecycle import (  # noqa: E402
    EndsStreams,
    Entrance,
    chosen_address,
    listening_addresses,
    refuse_open_door,
)
from http_observe import log_requests  # noqa: E402
from http_owner import OwnerCalls  # noqa: E402
from http_reload import Reloader  # noqa: E402
from http_trace import start_tracing  # noqa: E402
from monitoring.feedback import FeedbackStore  # noqa: E402
from monitoring.keeper import Keeper  # noqa: E402
from runners.artifacts import read_gate_card, read_network_card  # noqa: E402
from runners.batching import MicroBatcher, Score, ScoreHere  # noqa: E402
from runners.blas import one_blas_thread  # noqa: E402
from runners.leaving import when_told_to_leave  # noqa: E402
from runners.pipeline import Scores  # noqa: E402
from runners.prediction import ModelTags  # noqa: E402
from runners.store import Served, gate_tag, open_pair, served  # noqa: E402

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from monitoring.recorder import Recorder

SEPARATE = SETTINGS.runners == "separate"
if SEPARATE:
    from runners.cnn import CnnRunner
    from runners.forest import ForestRunner
    from runners.remote import (
        PREPARE_SECONDS,
        READY_SECONDS,
        keep_reachable,
        remote_prepare,
        remote_ready,
        remote_score,
    )

GRACE_SECONDS, LEAVE_SECONDS, END_SECONDS = 5.0, 7.5, 1.0
"""After the word to leave: when requests in flight have to be done, and when the last window has to be in MLflow. One
that is not waits on disk for the next start. Last, how long the libraries may take for an end of their own."""
app = new_app(SETTINGS)
leaving = asyncio.Event()
app.add_middleware(EndsStreams, leaving=leaving)


@bentoml.service(
    name="cifar",
    workers=1,
    traffic={"timeout": 60},
    tracing={"excluded_urls": ".*"},  # its middleware works for every request, also when nobody asked for traces
    http={"host": "127.0.0.1", "port": 3000},
    # Ours in their place: theirs make a label of every path that is asked for, and a log line that is no JSON.
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
)
@bentoml.asgi_app(app, path="/")
class Cifar:
    """One process that owns the queue, the API, the page and the monitoring; the runners inside it or beside it."""

    cnn_model = bentoml.models.BentoModel(SETTINGS.cnn_tag)
    forest_model = bentoml.models.BentoModel(gate_tag(SETTINGS.cnn_tag))
    if SEPARATE:
        cnn = bentoml.depends(CnnRunner)
        forest = bentoml.depends(ForestRunner)

    @bentoml.on_deployment
    @staticmethod
    def may_start() -> None:
        """In `bentoml serve` itself, before anything is bound: ends it with one sentence."""
        try:
            refuse_open_door(SETTINGS, [address] if (address := chosen_address()) else [])
            FeedbackStore.named_by(SETTINGS)
        except (BadSettingError, ValueError) as error:
            raise SystemExit(f"error: {error}") from None

    def __init__(self) -> None:
        refuse_open_door(SETTINGS, listening_addresses())  # however the server was started
        one_blas_thread()
        self.sockets = keep_reachable() if SEPARATE else None
        self.traces = start_tracing(SETTINGS)
        if SETTINGS.request_log:
            log_requests()
        pair = self._built_with() if in_bento() else served(SETTINGS)
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="network")
        serving = self._compose(pair)
        store = FeedbackStore.named_by(SETTINGS)
        self.health = Health(store, self._network_ready)
        self.health.start()
        self.keeper = _start_keeping(store)
        self._swapped(serving)
        self.handlers = handlers = Handlers(SETTINGS, serving, store, app.state.metrics, self.keeper)
        self.reloader: Reloader | None = None
        if SETTINGS.reload_seconds and not in_bento():  # a Bento is what it was built with
            self.reloader = Reloader(
                handlers,
                lambda: served(SETTINGS),
                self._load,
                self._swapped,
                app.state.metrics,
                SETTINGS.reload_seconds,
            )
            self.reloader.start()
        add_routes(app, lambda: handlers, SETTINGS)
        add_probes(app, self.health)
        if SETTINGS.page:
            _mount_page(handlers, OwnerCalls(SETTINGS, handlers, store, app.state.metrics))
        add_fallback(app)
        if serving.recorder:  # last: it imports MLflow and makes its store, seconds in which photos can be answered
            serving.recorder.start()
        self.told: float | None = None
        when_told_to_leave(self._leave)

    def _built_with(self) -> Served:
        cnn, forest = self.cnn_model, self.forest_model
        return Served(str(cnn.tag), str(forest.tag), Path(cnn.path), Path(forest.path))

    def _compose(self, pair: Served) -> Serving:
        """``pair`` verified, loaded and warm, with its queue and its recorder, not started; raises `ArtifactError`."""
        card = read_network_card(pair.cnn_path)
        read_gate_card(pair.forest_path, card)
        tags = ModelTags(cnn=pair.cnn_tag, forest=pair.forest_tag)
        if SEPARATE:
            score, here = remote_score(self.cnn, self.forest, tags, len(card.labels), card.temperature), None
        else:
            score, here = _local(pair, self.thread)
        observe = app.state.metrics.batch
        batcher = MicroBatcher(score, SETTINGS.max_batch, SETTINGS.max_queue, SETTINGS.max_wait_seconds, observe, here)
        return Serving(tags, card.labels, batcher, _recorder(tags, card.labels) if SETTINGS.monitoring else None)

    async def _load(self, pair: Served) -> Serving:
        """`_compose` beside the pair that answers; its halves in the runners first."""
        if SEPARATE:
            tags = ModelTags(cnn=pair.cnn_tag, forest=pair.forest_tag)
            await remote_prepare(self.cnn, self.forest, tags, PREPARE_SECONDS)
        new = await asyncio.to_thread(self._compose, pair)
        if new.recorder:
            new.recorder.start()
        return new

    def _swapped(self, serving: Serving) -> None:
        metrics = app.state.metrics
        metrics.serve(SETTINGS, serving.tags, serving.labels)
        metrics.watch(serving.batcher, self.health, serving.recorder, self.keeper)

    def _leave(self) -> None:
        self.told = time.monotonic()
        leaving.set()
        last_call = threading.Timer(GRACE_SECONDS, self._leave_now)
        last_call.daemon = True
        last_call.start()

    def _leave_now(self) -> None:
        """The server waits for whoever still sends, without end; we do not."""
        self.close()
        os._exit(0)

    async def _network_ready(self) -> bool:
        """Whether the runners answer, and have the pair that is served."""
        if not SEPARATE:
            return True
        if not await remote_ready((self.cnn, self.forest)):
            return False
        try:
            await remote_prepare(self.cnn, self.forest, self.handlers.serving.tags, READY_SECONDS)
        except Exception:  # no connection, no answer in time, no such model: no photo can be answered
            return False
        return True

    @bentoml.on_shutdown
    def close(self) -> None:
        """Flush what is being profiled."""
        self.health.close()
        if self.reloader:
            self.reloader.close()
        if self.keeper:
            self.keeper.close()
        if recorder := self.handlers.serving.recorder:
            since = time.monotonic() - self.told if self.told else 0.0
            recorder.close(max(1.0, LEAVE_SECONDS - since))
        if self.sockets:
            self.sockets.cleanup()
        if self.traces:  # a collector that is away may hold this up for long
            ending = threading.Thread(target=self.traces.shutdown, daemon=True)
            ending.start()
            ending.join(0.5)
        if self.told:  # an import of MLflow, for instance, would go on for seconds before the process ends
            end = threading.Timer(END_SECONDS, os._exit, (0,))
            end.daemon = True
            end.start()


Cifar.add_asgi_middleware(Entrance, to=app)  # type: ignore[attr-defined]


def _local(pair: Served, thread: ThreadPoolExecutor) -> tuple[Score, ScoreHere]:
    """Network and gate in this process, warm: on the one thread of all networks, and in that of the caller."""
    pipeline, _ = open_pair(pair, SETTINGS.engine)
    pipeline.score(np.zeros((SETTINGS.max_batch, 32, 32, 3), np.uint8))

    async def score(pixels: NDArray[np.uint8]) -> Scores:
        return await asyncio.get_running_loop().run_in_executor(thread, pipeline.score, pixels)

    return score, pipeline.score


def _start_keeping(store: FeedbackStore) -> Keeper | None:
    """The keeper of photos without feedback, started; None where the owner wants none of them."""
    if SETTINGS.keep_images in ("none", "feedback"):
        return None
    keeper = Keeper(SETTINGS, store)
    keeper.start()
    return keeper


def _recorder(tags: ModelTags, labels: tuple[str, ...]) -> Recorder:
    """The recorder of a pair; without MLflow it keeps its windows on disk until MLflow is back."""
    from monitoring.recorder import Recorder

    return Recorder(SETTINGS, tags.cnn, tags.forest, labels)


def _mount_page(handlers: Handlers, owner: OwnerCalls) -> None:
    from ui.page import mount

    mount(app, handlers, owner=owner, max_file_bytes=SETTINGS.max_upload_bytes)
