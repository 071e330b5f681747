"""The network: a whitened first layer, three convolutional blocks, after airbench (Jordan 2024, arXiv 2404.00498)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from runners.images import SIDE

if TYPE_CHECKING:
    import keras

MEAN, STD = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2470, 0.2435, 0.2616])
"""Per-channel statistics of the CIFAR-10 training pixels scaled to 0..1."""
PATCH = 2


def whitening_kernel(pixels: NDArray[np.uint8], eps: float = 5e-4) -> NDArray[np.float32]:
    """Filters that decorrelate 2×2 patches, float32 (2, 2, 3, 24): each eigenvector of their covariance, scaled, and
    its negative.

    ``pixels``: uint8 (n, 32, 32, 3), some thousand training images. airbench section 3.1 (after Page 2018); ``eps``
    is its value.
    """
    images = (pixels / 255.0 - MEAN) / STD
    windows = np.lib.stride_tricks.sliding_window_view(images, (PATCH, PATCH), axis=(1, 2))
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, PATCH * PATCH * 3)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / np.sqrt(values + eps)).reshape(PATCH, PATCH, 3, -1)
    return np.concatenate([filters, -filters], axis=-1).astype(np.float32)


def build(
    widths: tuple[int, int, int], classes: int, kernel: NDArray[np.float32], weight_decay: float, seed: int
) -> keras.Model:
    """An uncompiled Keras model: pixels uint8 (n, 32, 32, 3) -> [logits (n, classes), embedding (n, widths[-1])].

    Normalisation is part of the model, so nothing but pixels crosses its border.
    """
    import keras
    from keras import layers

    seeds = iter(range(seed * 1000, seed * 1000 + 1000))

    def conv(x: keras.KerasTensor, channels: int) -> keras.KerasTensor:
        return layers.Conv2D(
            channels,
            3,
            padding="same",
            use_bias=False,
            kernel_initializer=keras.initializers.HeNormal(seed=next(seeds)),
            kernel_regularizer=keras.regularizers.L2(weight_decay),
        )(x)

    def norm_act(x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.Activation("gelu")(layers.BatchNormalization(momentum=0.9, epsilon=1e-5)(x))

    inputs = keras.Input((SIDE, SIDE, 3), dtype="uint8", name="pixels")
    x = layers.Rescaling((1 / (255.0 * STD)).tolist(), (-MEAN / STD).tolist(), name="normalise")(inputs)
    whiten = layers.Conv2D(kernel.shape[-1], PATCH, use_bias=True, trainable=False, name="whiten")
    x = layers.Activation("gelu")(whiten(x))
    for width in widths:
        x = norm_act(layers.MaxPooling2D(2)(conv(x, width)))
        x = norm_act(conv(x, width))
    embedding = layers.GlobalMaxPooling2D(name="embedding")(x)
    logits = layers.Dense(
        classes,
        use_bias=False,
        name="logits",
        kernel_initializer=keras.initializers.HeNormal(seed=next(seeds)),
        kernel_regularizer=keras.regularizers.L2(weight_decay),
    )(embedding)
    model = keras.Model(inputs, [logits, embedding])
    whiten.set_weights([kernel, np.zeros(kernel.shape[-1], np.float32)])
    return model


def macs(model: keras.Model) -> int:
    """Multiply-accumulate operations of the convolutions and dense layers for one image (FLOPs are twice that)."""
    total = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            total += int(np.prod(kernel.shape)) * int(np.prod(layer.output.shape[1:-1] or (1,)))
    return total
