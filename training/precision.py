"""The number format of a training step: bfloat16 where the machine computes it faster than float32."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

Precision = Literal["auto", "float32", "mixed_bfloat16"]
FLAGS = {"avx512_bf16", "amx_bf16"}
"""Processor flags of instructions on bfloat16; without them it is emulated, many times slower than float32."""


AMPERE = 8
"""Major compute capability of the first NVIDIA GPUs with instructions on bfloat16."""


def resolved(precision: Precision, cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Keras' dtype policy for ``precision``; "auto" asks the accelerator, or else the processor."""
    if precision != "auto":
        return precision
    accelerator = _accelerator()
    fast = accelerator >= AMPERE if accelerator is not None else bool(FLAGS & _flags(cpuinfo))
    return "mixed_bfloat16" if fast else "float32"


def _accelerator() -> int | None:
    """Major compute capability of the GPU that Keras' back end uses; that of a TPU counts as enough; None without."""
    import keras

    if keras.backend.backend() == "torch":  # for which Keras lists no devices
        import torch

        return int(torch.cuda.get_device_capability()[0]) if torch.cuda.is_available() else None
    if keras.distribution.list_devices("tpu"):
        return AMPERE
    if not keras.distribution.list_devices("gpu"):
        return None
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        details = tf.config.experimental.get_device_details(tf.config.list_physical_devices("GPU")[0])
        return int(details.get("compute_capability", (0, 0))[0])
    import jax

    return int(float(getattr(jax.devices("gpu")[0], "compute_capability", "0")))


def _flags(cpuinfo: Path) -> set[str]:
    if not cpuinfo.is_file():
        return set()
    lines = cpuinfo.read_text().splitlines()
    return set(next((line.partition(":")[2].split() for line in lines if line.startswith("flags")), []))
