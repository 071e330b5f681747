"""What a training step computes faster than with Keras' own layers, for the same result to rounding.

Batch normalisation in one pass, where the back end has it: Keras composes it of elementary operations, which take a
third of a step on a processor. GELU without the error function, which takes a fifth of a step there.
"""

from __future__ import annotations

import math
from typing import Any

import keras

TWICE_ROOT = 2 * math.sqrt(2 / math.pi)
CUBIC = 0.044715 * TWICE_ROOT


@keras.saving.register_keras_serializable("cifar")
def fast_gelu(x: Any) -> Any:
    """GELU of ``x``, any shape, within 5e-4: its tanh form (Hendrycks and Gimpel 2016), written as x σ(2u)."""
    return x * keras.ops.sigmoid(x * (TWICE_ROOT + CUBIC * x * x))


@keras.saving.register_keras_serializable("cifar")
class FusedBatchNormalization(keras.layers.BatchNormalization):
    """Batch normalisation over the last axis of (n, h, w, c), without a scale (airbench section 3)."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**{"scale": False, **options}, autocast=False)

    def call(self, inputs: Any, training: bool | None = None, mask: Any = None) -> Any:
        if not training or keras.backend.backend() not in _FUSED:
            return super().call(inputs, training=training, mask=mask)
        return _FUSED[keras.backend.backend()](self, inputs)

    def get_config(self) -> dict[str, Any]:
        config: dict[str, Any] = super().get_config()
        config.pop("autocast", None)
        return config


def _tensorflow(layer: FusedBatchNormalization, inputs: Any) -> Any:
    import tensorflow as tf

    out, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
        x=inputs,
        scale=tf.ones_like(layer.beta.value),
        offset=layer.beta.value,
        mean=[],
        variance=[],
        epsilon=layer.epsilon,
        is_training=True,
    )
    for moving, now in ((layer.moving_mean, mean), (layer.moving_variance, variance)):
        moving.assign(moving * layer.momentum + now * (1 - layer.momentum))
    return out


def _torch(layer: FusedBatchNormalization, inputs: Any) -> Any:
    from torch.nn.functional import batch_norm

    out = batch_norm(
        inputs.permute(0, 3, 1, 2),  # a view: the memory stays channels-last
        layer.moving_mean.value,
        layer.moving_variance.value,
        bias=layer.beta.value,
        training=True,
        momentum=1 - layer.momentum,
        eps=layer.epsilon,
    )
    return out.permute(0, 2, 3, 1)


_FUSED = {"tensorflow": _tensorflow, "torch": _torch}
