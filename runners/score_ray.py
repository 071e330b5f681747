"""The parts of `runners.score` on a Ray cluster: Ray Data hands them to actors, each with the pair loaded on one core.

The workers need this code, the model store, the photos and the folder of results at the same paths, as they are on
one machine or on a shared disk. RAY_ADDRESS names a cluster; without it one is started here, for as long as it takes.
"""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Any

from runners.artifacts import ArtifactError
from runners.blas import one_blas_thread
from runners.score import Done, score_part
from runners.score_sources import Part, ScoreError
from runners.store import StoreError
from settings import Settings

NEEDED = {"var", "engine", "cnn_tag", "refuse_share", "max_upload_bytes", "max_pixels"}
"""The settings that a worker needs: no token and no address of a database leaves this machine."""


def score_parts(
    waiting: Iterator[tuple[int, Part]], work: Path, settings: Settings, workers: int | None
) -> Iterator[Done]:
    """Score the parts with at most ``workers`` actors of one core each (None: one per core of the cluster) and yield
    each one's `Done`, in any order.

    Raises:
        ScoreError: Ray is not installed, its cluster cannot be reached, or a worker failed.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # what matters is raised; the rest is noise at a terminal
    try:
        import ray
        import ray.data
    except ImportError:
        raise ScoreError("--engine ray needs Ray, which is not installed here: pip install 'ray[data]'") from None
    tasks = [{"number": number, "part": json.dumps(asdict(part))} for number, part in waiting]
    if not tasks:
        return
    address = os.environ.get("RAY_ADDRESS") or "local"
    try:
        _reach(address)
        ray.init(address, include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except (OSError, ValueError, RuntimeError) as error:
        hint = "" if os.environ.get("RAY_AUTH_MODE") else " (RAY_AUTH_MODE=token where it asks for a token)"
        raise ScoreError(f"no Ray cluster at {address}: {error}{hint}") from None
    try:
        logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # its errors are raised too
        ray.data.DataContext.get_current().enable_progress_bars = False
        most = min(workers or int(ray.cluster_resources().get("CPU", 1)), len(tasks))
        scored = ray.data.from_items(tasks, override_num_blocks=len(tasks)).map_batches(
            _Scorer,
            fn_constructor_args=(
                str(work.resolve()),
                os.environ["BENTOML_HOME"],
                settings.model_dump(mode="json", include=NEEDED) | {"var": str(settings.var.resolve())},
            ),
            batch_size=1,
            compute=ray.data.ActorPoolStrategy(min_size=1, max_size=most, initial_size=most),
            num_cpus=1,
        )
        with _interrupts() as told:
            for row in scored.iter_rows():
                if told.is_set():
                    raise KeyboardInterrupt
                yield Done(int(row["photos"]), int(row["failed"]))
    except (ray.exceptions.RayError, StoreError, ArtifactError) as error:
        raise ScoreError(f"a worker failed: {_last_line(getattr(error, 'cause', None) or error)}") from None
    finally:
        ray.shutdown()


@contextmanager
def _interrupts() -> Iterator[threading.Event]:
    """Set by Ctrl-C, besides the exception: where that falls into a callback or a destructor of Ray, it is lost."""
    told = threading.Event()

    def handle(number: int, frame: FrameType | None) -> None:
        told.set()
        signal.default_int_handler(number, frame)

    if threading.current_thread() is not threading.main_thread():  # no signal comes here
        yield told
        return
    before = signal.signal(signal.SIGINT, handle)
    try:
        yield told
    finally:
        signal.signal(signal.SIGINT, before)


class _Scorer:
    """The actor: the served pair on one core, and `runners.score.score_part`."""

    def __init__(self, work: str, store: str, settings: dict[str, Any]) -> None:
        os.environ["BENTOML_HOME"] = store
        from runners.store import load_pipeline
        from settings import configure_environment

        self.settings = Settings(**settings)
        configure_environment(self.settings)
        self.work = Path(work)
        one_blas_thread()
        self.pipeline = load_pipeline(self.settings, streams=1)

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[int]]:
        done = []
        for number, text in zip(batch["number"], batch["part"], strict=True):
            part = json.loads(text)
            part["paths"] = tuple(part["paths"])
            done.append(score_part(Part(**part), int(number), self.work, self.pipeline, self.settings))
        return {"photos": [d.photos for d in done], "failed": [d.failed for d in done]}


def _reach(address: str) -> None:
    """Raise OSError where nothing listens at the cluster's ``address``: Ray itself asks for minutes."""
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if port.isdigit():
        socket.create_connection((host, int(port)), timeout=10).close()


def _last_line(error: BaseException) -> str:
    """What an actor's death was for: Ray tells it as a traceback, with the name of the exception at its end."""
    line = next(iter(reversed(str(error).strip().splitlines())), type(error).__name__)
    return re.sub(r"^[\w.]+(Error|Exception): ", "", line)
