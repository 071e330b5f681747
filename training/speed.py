"""How fast the pair answers on this machine: network and gate as they are served, without decoding and HTTP."""

from __future__ import annotations

import os
import platform
import re
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict

from runners.network import import_openvino
from runners.pipeline import Pipeline

BATCHES = (1, 8, 64)
LEAST_CALLS = 5


class Rate(BaseModel):
    """Calls of ``batch`` photos: ``milliseconds``, the median of one call, and what that makes in photos a second."""

    model_config = ConfigDict(frozen=True)

    batch: int
    milliseconds: float
    images_per_second: float


class Speed(BaseModel):
    """``machine`` and ``engine`` in words, and the rates measured there."""

    model_config = ConfigDict(frozen=True)

    machine: str
    engine: str
    rates: list[Rate]


def speed(pipeline: Pipeline, pixels: NDArray[np.uint8], seconds: float = 0.5) -> Speed:
    """Call the pair on the first of ``pixels`` (n, 32, 32, 3), for ``seconds`` at each batch size."""
    return Speed(machine=machine(), engine=engine(), rates=[_rate(pipeline, pixels, n, seconds) for n in BATCHES])


def machine() -> str:
    """Processor and usable cores."""
    try:
        found = re.search(r"^model name\s*:\s*(.+)$", Path("/proc/cpuinfo").read_text(), re.M)
    except OSError:
        found = None
    name = found[1].strip() if found else platform.processor() or platform.machine()
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"{name}, {cores} core{'' if cores == 1 else 's'}"


def engine() -> str:
    """OpenVINO's version and the precision that it chooses on this processor."""
    openvino = import_openvino()
    halves = "BF16" in openvino.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    return f"OpenVINO {openvino.__version__.partition('-')[0]}, {'bfloat16' if halves else 'float32'}"


def _rate(pipeline: Pipeline, pixels: NDArray[np.uint8], batch: int, seconds: float) -> Rate:
    photos = np.resize(pixels, (batch, *pixels.shape[1:]))  # repeats them where there are fewer
    pipeline.score(photos, batch)  # the first call of a batch size compiles it
    times: list[float] = []
    end = time.perf_counter() + seconds
    while len(times) < LEAST_CALLS or time.perf_counter() < end:
        start = time.perf_counter()
        pipeline.score(photos, batch)
        times.append(time.perf_counter() - start)
    median = float(np.median(times))
    return Rate(batch=batch, milliseconds=1000 * median, images_per_second=batch / median)
