"""The worker's side of the Bento: network, queue, API, page and monitoring in one process, put together and ended."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from http_api import add_fallback, add_probes, add_routes, new_app
from http_handlers import Handlers, Serving
from http_health import Health
from http_lifecycle import EndsStreams, listening_addresses, refuse_open_door
from http_observe import log_requests
from http_owner import OwnerCalls
from http_reload import Reloader
from http_trace import start_tracing
from monitoring.feedback import FeedbackStore
from monitoring.keeper import Keeper
from runners.artifacts import read_gate_card, read_network_card
from runners.batching import MicroBatcher, Score, ScoreHere
from runners.leaving import when_told_to_leave
from runners.opening import FirstPair, warm
from runners.pipeline import Pipeline, Scores
from runners.prediction import ModelTags
from runners.remote import (
    PREPARE_SECONDS,
    READY_SECONDS,
    keep_reachable,
    remote_prepare,
    remote_ready,
    remote_score,
)
from runners.store import Served, open_pair, served
from settings import Settings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from monitoring.recorder import Recorder

GRACE_SECONDS, LEAVE_SECONDS, END_SECONDS = 5.0, 7.5, 1.0
"""After the word to leave: when requests in flight have to be done, and when the last window has to be in MLflow. One
that is not waits on disk for the next start. Last, how long the libraries may take for an end of their own."""


class Server:
    """Everything that answers, ready; ``app`` is the ASGI application. Made in the event loop that will run it.

    ``first`` is the pair that it begins with; ``runners`` gives the two services beside this one, and is None where
    network and gate are in this process.
    """

    def __init__(self, settings: Settings, first: FirstPair, runners: Callable[[], tuple[Any, Any]] | None) -> None:
        self.settings = settings
        refuse_open_door(settings, listening_addresses())  # however the server was started
        self.app = app = new_app(settings)
        self.leaving = asyncio.Event()
        app.add_middleware(EndsStreams, leaving=self.leaving)
        self.sockets = keep_reachable() if runners else None  # before they are looked for
        self.runners = runners() if runners else None
        self.traces = start_tracing(settings)
        if settings.request_log:
            log_requests()
        self.thread = first.thread
        store = FeedbackStore.named_by(settings)
        self.health = Health(store, self._network_ready)
        self.health.start()
        self.keeper = _start_keeping(settings, store)
        serving = self._compose(first.pair, first.pipeline.result() if first.pipeline else None)
        self._swapped(serving)
        self.handlers = handlers = Handlers(settings, serving, store, app.state.metrics, self.keeper)
        self.reloader: Reloader | None = None
        if settings.reload_seconds and not first.fixed:  # a Bento is what it was built with
            self.reloader = Reloader(
                handlers,
                lambda: served(settings),
                self._load,
                self._swapped,
                app.state.metrics,
                settings.reload_seconds,
            )
            self.reloader.start()
        add_routes(app, lambda: handlers, settings)
        add_probes(app, self.health)
        if settings.page:
            from ui.page import mount

            owner = OwnerCalls(settings, handlers, store, app.state.metrics)
            mount(app, handlers, owner=owner, max_file_bytes=settings.max_upload_bytes)
        add_fallback(app)
        if serving.recorder:  # last: it imports MLflow and makes its store, seconds in which photos can be answered
            serving.recorder.start()
        self.told: float | None = None
        when_told_to_leave(self._leave)

    def _compose(self, pair: Served, pipeline: Pipeline | None = None) -> Serving:
        """``pair`` verified, loaded and warm, with its queue and its recorder, not started; raises `ArtifactError`.

        ``pipeline``: the same, where it is warm already.
        """
        settings = self.settings
        tags = ModelTags(cnn=pair.cnn_tag, forest=pair.forest_tag)
        if self.runners:
            card = read_network_card(pair.cnn_path)
            read_gate_card(pair.forest_path, card)
            labels, here = card.labels, None
            score = remote_score(*self.runners, tags, len(labels), card.temperature)
        else:
            pipeline = pipeline or warm(open_pair(pair, settings.engine)[0], settings.max_batch)
            labels, (score, here) = pipeline.labels, self._local(pipeline)
        observe = self.app.state.metrics.batch
        batcher = MicroBatcher(score, settings.max_batch, settings.max_queue, settings.max_wait_seconds, observe, here)
        return Serving(tags, labels, batcher, _recorder(settings, tags, labels) if settings.monitoring else None)

    def _local(self, pipeline: Pipeline) -> tuple[Score, ScoreHere]:
        """Network and gate in this process: on the one thread of all networks, and in that of the caller."""

        async def score(pixels: NDArray[np.uint8]) -> Scores:
            return await asyncio.get_running_loop().run_in_executor(self.thread, pipeline.score, pixels)

        return score, pipeline.score

    async def _load(self, pair: Served) -> Serving:
        """`_compose` beside the pair that answers; its halves in the runners first."""
        if self.runners:
            tags = ModelTags(cnn=pair.cnn_tag, forest=pair.forest_tag)
            await remote_prepare(*self.runners, tags, PREPARE_SECONDS)
        new = await asyncio.to_thread(self._compose, pair)
        if new.recorder:
            new.recorder.start()
        return new

    def _swapped(self, serving: Serving) -> None:
        metrics = self.app.state.metrics
        metrics.serve(self.settings, serving.tags, serving.labels)
        metrics.watch(serving.batcher, self.health, serving.recorder, self.keeper)

    async def _network_ready(self) -> bool:
        """Whether the runners answer, and have the pair that is served."""
        if not self.runners:
            return True
        if not await remote_ready(self.runners):
            return False
        try:
            await remote_prepare(*self.runners, self.handlers.serving.tags, READY_SECONDS)
        except Exception:  # no connection, no answer in time, no such model: no photo can be answered
            return False
        return True

    def _leave(self) -> None:
        self.told = time.monotonic()
        self.leaving.set()
        last_call = threading.Timer(GRACE_SECONDS, self._leave_now)
        last_call.daemon = True
        last_call.start()

    def _leave_now(self) -> None:
        """The server waits for whoever still sends, without end; we do not."""
        self.close()
        os._exit(0)

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


def _start_keeping(settings: Settings, store: FeedbackStore) -> Keeper | None:
    """The keeper of photos without feedback, started; None where the owner wants none of them."""
    if settings.keep_images in ("none", "feedback"):
        return None
    keeper = Keeper(settings, store)
    keeper.start()
    return keeper


def _recorder(settings: Settings, tags: ModelTags, labels: tuple[str, ...]) -> Recorder:
    """The recorder of a pair; without MLflow it keeps its windows on disk until MLflow is back."""
    from monitoring.recorder import Recorder

    return Recorder(settings, tags.cnn, tags.forest, labels)
