"""The pair that a server begins with: opened by a thread, while the server imports what answers requests."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from runners.blas import one_blas_thread
from runners.network import Engine
from runners.pipeline import Pipeline
from runners.store import Served, open_pair, served
from settings import Settings, in_bento


def opened(pair: Served, engine: Engine, batch: int) -> Pipeline:
    """``pair`` verified, loaded and warm: its largest call, of ``batch`` photos, is prepared for by the first.

    Raises:
        ArtifactError: damage, or a gate of another network.
    """
    pipeline, _ = open_pair(pair, engine)
    pipeline.score(np.zeros((batch, 32, 32, 3), np.uint8))
    return pipeline


class FirstPair:
    """``pair``, and its ``pipeline`` as soon as it is there; None where network and gate run beside this process.

    ``cnn`` and ``forest`` are the models of a Bento, which is what it was built with (``fixed``). ``thread`` is the one
    of all networks. A quarter of a second of it is no Python, and so takes nothing from the imports meanwhile.

    Raises:
        StoreError: there is no pair.
    """

    def __init__(self, settings: Settings, cnn: Any, forest: Any, *, here: bool) -> None:
        one_blas_thread()
        self.fixed = in_bento()
        bento = Served(str(cnn.tag), str(forest.tag), Path(cnn.path), Path(forest.path)) if self.fixed else None
        self.pair = bento or served(settings)
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="network")
        self.pipeline: Future[Pipeline] | None = None
        if here:
            self.pipeline = self.thread.submit(opened, self.pair, settings.engine, settings.max_batch)
