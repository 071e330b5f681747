"""The pair that a server begins with: it makes its first call while the server imports what answers requests."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from runners.blas import one_blas_thread
from runners.pipeline import Pipeline
from runners.store import Served, open_pair, served
from settings import Settings, in_bento


def warm(pipeline: Pipeline, batch: int) -> Pipeline:
    """``pipeline`` after its first call, of ``batch`` photos: OpenVINO prepares itself for what it is called with."""
    pipeline.score(np.zeros((batch, 32, 32, 3), np.uint8))
    return pipeline


class FirstPair:
    """``pair``, and its ``pipeline`` as soon as it is warm; None where network and gate run beside this process.

    ``cnn`` and ``forest`` are the models of a Bento, which is what it was built with (``fixed``). ``thread`` is the one
    of all networks. The pair is opened at once, which is Python like the imports; the first call is not, and so takes
    nothing from them.

    Raises:
        StoreError: there is no pair.
        ArtifactError: damage, or a gate of another network.
    """

    def __init__(self, settings: Settings, cnn: Any, forest: Any, *, here: bool) -> None:
        one_blas_thread()
        self.fixed = in_bento()
        bento = Served(str(cnn.tag), str(forest.tag), Path(cnn.path), Path(forest.path)) if self.fixed else None
        self.pair = bento or served(settings)
        self.thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="network")
        self.pipeline: Future[Pipeline] | None = None
        if here:
            pipeline, _ = open_pair(self.pair, settings.engine)
            self.pipeline = self.thread.submit(warm, pipeline, settings.max_batch)
