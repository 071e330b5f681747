"""The network: a whitened first layer, three convolutional blocks, after airbench (Jordan 2024, arXiv 2404.00498)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from runners.images import SIDE

if TYPE_CHECKING:
    import keras

MEAN, STD = np.array([0.4914, 0.4822, 0.4465]), np.array([0.2470, 0.2435, 0.2616])
"""Per-channel statistics of the CIFAR-10 training pixels scaled to 0..1."""
PATCH = 2
MOMENTUM = 0.6
"""Of the batch statistics: that of airbench94_muon."""
WHITEN, HEAD, VIEWS = "whiten", "logits", "views"


def whitening_kernel(pixels: NDArray[np.uint8], eps: float = 1e-2) -> NDArray[np.float32]:
    """Filters that decorrelate 2×2 patches, float32 (2, 2, 3, 24): each eigenvector of their covariance, scaled, and
    its negative.

    ``pixels``: uint8 (n, 32, 32, 3), some thousand training images. airbench section 3.1 (after Page 2018), where
    ``eps`` is 5e-4: so little amplifies a camera's noise and the rounding of bfloat16 45 times, this 10 times.
    """
    images = (pixels / 255.0 - MEAN) / STD
    windows = np.lib.stride_tricks.sliding_window_view(images, (PATCH, PATCH), axis=(1, 2))
    patches = windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, PATCH * PATCH * 3)
    values, vectors = np.linalg.eigh(patches.T @ patches / len(patches))
    filters = (vectors / np.sqrt(values + eps)).reshape(PATCH, PATCH, 3, -1)
    return np.concatenate([filters, -filters], axis=-1).astype(np.float32)


def build(
    widths: tuple[int, int, int],
    classes: int,
    kernel: NDArray[np.float32],
    seed: int,
    *,
    depths: tuple[int, int, int] = (2, 2, 2),
    weight_decay: float = 0.0,
    precision: str = "float32",
) -> keras.Model:
    """The network as it is trained: pixels uint8 (n, h, w, 3) -> [logits (n, classes), embedding (n, widths[-1])].

    h and w are 32 in what is served and 16 at least: a fit may begin with smaller photos. Normalisation is part of
    the model, so nothing but pixels crosses its border. ``widths``, ``depths``: channels and convolutions of each
    block, of which the first halves the sides; where they are three, the last two add to what it gives (as in
    airbench96). ``weight_decay``: L2 of the kernels. ``precision``: Keras' dtype policy; variables and logits are
    float32 under each.
    """
    from training.layers import FusedBatchNormalization, fast_gelu

    layers = (FusedBatchNormalization, fast_gelu)
    model = _connect(widths, depths, classes, kernel.shape[-1], layers, weight_decay, precision, side=None)
    model.get_layer(WHITEN).set_weights([kernel, np.zeros(kernel.shape[-1], np.float32)])
    rng = np.random.default_rng(seed)
    for layer in model.layers:
        if layer.name.startswith("conv"):
            layer.set_weights([_partly_dirac(layer.kernel.shape, rng)])
    return model


def served_form(trained: keras.Model, *, mirror: bool) -> keras.Model:
    """The same network in float32 and in Keras' own layers, which load anywhere.

    With ``mirror`` it sees each photo and its mirror image, and the embedding is their mean: a photo and its mirror
    image get the same answer, for twice the operations (airbench section 3.5 averages the logits, which is the same).
    """
    from keras import layers

    model = _connect(*_sizes(trained), (layers.BatchNormalization, "gelu"), mirror=mirror)
    model.set_weights(trained.get_weights())
    return model


def trained_form(
    served: keras.Model,
    *,
    weight_decay: float,
    precision: str,
    momentum: float = MOMENTUM,
    head: NDArray[np.float32] | None = None,
) -> keras.Model:
    """The inverse of `served_form`: the network of a served model, to be trained on.

    ``momentum``: of the batch statistics. ``head`` (d, classes): the kernel of its last layer, where its classes are to
    be others.
    """
    from keras.layers import BatchNormalization

    widths, depths, classes, _ = _sizes(served)
    kernel = served.get_layer(WHITEN).get_weights()[0]
    weights = {layer.name: layer.get_weights() for layer in served.layers if layer.weights}
    if head is not None:
        classes, weights[HEAD] = head.shape[1], [head]
    model = build(widths, classes, kernel, 0, depths=depths, weight_decay=weight_decay, precision=precision)
    for name, values in weights.items():
        model.get_layer(name).set_weights(values)
    for layer in model.layers:
        if isinstance(layer, BatchNormalization):
            layer.momentum = momentum
    return model


def macs(model: keras.Model) -> int:
    """Multiply-accumulate operations of the convolutions and dense layers for one photo (FLOPs are twice that)."""
    total = 0
    for layer in model.layers:
        kernel = getattr(layer, "kernel", None)
        if kernel is not None:
            views = 2 if is_mirrored(model) and len(kernel.shape) == 4 else 1
            total += views * int(np.prod(kernel.shape)) * int(np.prod(layer.output.shape[1:-1] or (1,)))
    return total


def is_mirrored(model: keras.Model) -> bool:
    """Whether ``model`` averages over a photo and its mirror image."""
    return any(layer.name == VIEWS for layer in model.layers)


def _sizes(model: keras.Model) -> tuple[tuple[int, int, int], tuple[int, int, int], int, int]:
    """Widths and depths of the blocks of ``model``, its classes and its whitening filters."""
    first, second, third = (_block(model, number) for number in (1, 2, 3))
    widths, depths = (first[0], second[0], third[0]), (len(first), len(second), len(third))
    return widths, depths, int(model.get_layer(HEAD).units), int(model.get_layer(WHITEN).filters)


def _block(model: keras.Model, number: int) -> list[int]:
    """Channels of each convolution of a block of ``model``, counted from 1."""
    return [int(layer.filters) for layer in model.layers if layer.name.startswith(f"conv{number}")]


def _connect(
    widths: tuple[int, int, int],
    depths: tuple[int, int, int],
    classes: int,
    whitening: int,
    parts: tuple[type[keras.layers.BatchNormalization], Callable[[Any], Any] | str],
    weight_decay: float = 0.0,
    precision: str = "float32",
    *,
    side: int | None = SIDE,
    mirror: bool = False,
) -> keras.Model:
    import keras
    from keras import layers, ops

    norm, activation = parts
    decay = keras.regularizers.L2(weight_decay) if weight_decay else None

    def convolved(x: keras.KerasTensor, channels: int, name: str, *, pool: bool = False) -> keras.KerasTensor:
        conv = {"padding": "same", "use_bias": False, "kernel_regularizer": decay, "dtype": precision}
        x = layers.Conv2D(channels, 3, kernel_initializer="zeros", name=f"conv{name}", **conv)(x)
        x = layers.MaxPooling2D(2, dtype=precision)(x) if pool else x
        return norm(momentum=MOMENTUM, epsilon=1e-5, scale=False, dtype=precision, name=f"norm{name}")(x)

    def active(x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.Activation(activation, dtype=precision)(x)

    def block(x: keras.KerasTensor, channels: int, depth: int, number: int) -> keras.KerasTensor:
        first = x = active(convolved(x, channels, f"{number}a", pool=True))
        x = convolved(x, channels, f"{number}b")
        if depth == 2:
            return active(x)
        x = convolved(active(x), channels, f"{number}c")
        return active(layers.Add(dtype=precision)([x, first]))

    inputs = x = keras.Input((side, side, 3), dtype="uint8", name="pixels")
    if mirror:
        x = layers.Concatenate(axis=0, name=VIEWS)([x, ops.flip(x, axis=2)])
    # Whitening takes small differences of large values, which bfloat16 would round away.
    x = layers.Rescaling((1 / (255.0 * STD)).tolist(), (-MEAN / STD).tolist(), dtype="float32", name="normalise")(x)
    x = layers.Conv2D(whitening, PATCH, trainable=False, dtype="float32", name=WHITEN)(x)
    x = layers.Activation(activation, dtype=precision)(x)
    for number, (width, depth) in enumerate(zip(widths, depths, strict=True), 1):
        x = block(x, width, depth, number)
    x = layers.GlobalMaxPooling2D(dtype=precision, name="embedding")(x)
    if mirror:
        x = ops.mean(ops.reshape(x, (2, -1, widths[-1])), axis=0)
    head = {"use_bias": False, "kernel_initializer": "zeros", "kernel_regularizer": decay, "dtype": "float32"}
    return keras.Model(inputs, [layers.Dense(classes, name=HEAD, **head)(x), x])


def _partly_dirac(shape: tuple[int, ...], rng: np.random.Generator) -> NDArray[np.float32]:
    """Kernels (h, w, in, out) whose first ``in`` outputs pass their input on; the rest is random (airbench, 3.2).

    The random part has PyTorch's default scale, uniform in ±1/sqrt(h w in).
    """
    height, width, into, out = shape
    bound = 1 / np.sqrt(height * width * into)
    kernel = rng.uniform(-bound, bound, shape).astype(np.float32)
    same = np.arange(min(into, out))
    kernel[..., same] = 0
    kernel[height // 2, width // 2, same, same] = 1
    return kernel
