"""The whole HTTP application in this process: real routes, guard, batcher and feedback store, a made-up network."""

from __future__ import annotations

import asyncio
import io
import selectors
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from fastapi import FastAPI
from PIL import Image

from http_api import add_fallback, add_probes, add_routes, new_app
from http_handlers import Handlers, Serving
from http_health import Health
from monitoring.feedback import FeedbackStore
from monitoring.keeper import Keeper
from runners.batching import MicroBatcher, Score
from runners.pipeline import Scores
from runners.prediction import ModelTags, Prediction, Timings
from settings import Settings

LABELS = ("cat", "dog")


def scores(pixels: np.ndarray) -> Scores:
    """Cat for dark photos, dog for light ones, always known."""
    light = pixels.reshape(len(pixels), -1).mean(axis=1, dtype=np.float64).astype(np.float32) / 255
    p = np.stack([1 - light, light], axis=1)
    return Scores(p, p, -p.max(axis=1), 1 - p.max(axis=1), np.full(len(p), 0.5, np.float32))


async def at_once(pixels: np.ndarray) -> Scores:
    return scores(pixels)


class Slow:
    """A network that takes ``seconds`` per photo, and fails while ``broken``."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self.broken, self.photos = seconds, False, 0

    async def __call__(self, pixels: np.ndarray) -> Scores:
        await asyncio.sleep(self.seconds * len(pixels))
        if self.broken:
            raise ConnectionResetError("/run/secret.sock: the runner was killed")
        self.photos += len(pixels)
        return scores(pixels)


@dataclass
class World:
    app: FastAPI
    handlers: Handlers
    batcher: MicroBatcher
    health: Health
    settings: Settings
    keeper: Keeper | None = None

    def client(self, **options: Any) -> httpx.AsyncClient:
        transport = httpx.ASGITransport(self.app, **options)
        return httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1", timeout=None)

    def metric(self, line: str) -> float:
        """The value of the metric ``line``: its name and labels as Prometheus writes them."""
        text = self.app.state.metrics.text().decode()
        [found] = [row for row in text.splitlines() if row.startswith(line + " ")]
        return float(found.rpartition(" ")[2])


def world(
    var: Path,
    score: Score = at_once,
    network_ready: Callable[[], Awaitable[bool]] | None = None,
    migrate: bool = True,
    **options: Any,
) -> World:
    """The application over folder ``var``; options are settings."""
    settings = Settings(var=var, data_dir=var / "data", **{"page": False, **options})
    store = FeedbackStore.named_by(settings)
    if migrate:
        store.prepare()
    app = new_app(settings)
    metrics = app.state.metrics
    tags = ModelTags(cnn="cifar_cnn:1", forest="ood_forest:1")
    metrics.serve(settings, tags, LABELS)
    batcher = MicroBatcher(score, settings.max_batch, settings.max_queue, settings.max_wait_seconds, metrics.batch)
    health = Health(store, network_ready) if network_ready else Health(store)
    keeper = Keeper(settings, store) if settings.keep_images not in ("none", "feedback") else None
    metrics.watch(batcher, health, None, keeper)
    handlers = Handlers(settings, Serving(tags, LABELS, batcher, None), store, metrics, keeper)
    add_routes(app, lambda: handlers, settings)
    add_probes(app, health)
    add_fallback(app)
    return World(app, handlers, batcher, health, settings, keeper)


def predicted(**changes: Any) -> Prediction:
    """A prediction that nobody made."""
    fields: dict[str, Any] = {
        "prediction_id": "p",
        "label": "cat",
        "best_guess": "cat",
        "probability": 0.9,
        "probabilities": {"cat": 0.9, "dog": 0.1},
        "in_distribution": True,
        "ood_score": 0.1,
        "ood_p_value": 0.5,
        "model": ModelTags(cnn="cifar_cnn:1", forest="ood_forest:1"),
        "timings": Timings(decode_ms=1, predict_ms=1),
    }
    return Prediction(**fields | changes)


def photo(brightness: int = 200, size: tuple[int, int] = (32, 32), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", size, (brightness,) * 3).save(buffer, kind)
    return buffer.getvalue()


async def classify(client: httpx.AsyncClient, data: bytes, **headers: str) -> httpx.Response:
    return await client.post("/classify", files={"image": ("photo", data)}, headers=headers)


class _Jumping(selectors.DefaultSelector):  # type: ignore[misc, valid-type]
    """Never waits for a timer: moves the clock to it instead."""

    now = 1000.0

    def select(self, timeout: float | None = None) -> Any:
        ready = super().select(0 if timeout is not None else None)
        if timeout and not ready:
            self.now += timeout
        return ready


def in_jumping_time(main: Callable[[], Coroutine[Any, Any, None]]) -> None:
    """Run ``main`` in an event loop whose seconds pass only while everything waits: exact on the busiest machine.

    Not for code that waits for threads.
    """
    selector = _Jumping()
    loop = asyncio.SelectorEventLoop(selector)
    loop.time = lambda: selector.now  # type: ignore[method-assign]
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
