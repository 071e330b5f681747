"""The exported OpenVINO graph, rewritten so that it is faster and, in bfloat16, nearer to float32."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.network import import_openvino

BFLOAT16_BITS = 16
"""What a float32 loses when it becomes a bfloat16."""


def rewrite(path: Path) -> None:
    """Rewrite the IR ``path`` in place: one operation per GELU, a first layer that bfloat16 does not blur."""
    openvino = import_openvino()
    model = openvino.Core().read_model(path)
    _join_gelus(model)
    _split_first_layer(model)
    partial = path.with_stem("rewritten")
    openvino.save_model(model, partial, compress_to_fp16=False)
    del model  # its weights are mapped from the file that is replaced
    for suffix in (".xml", ".bin"):
        os.replace(partial.with_suffix(suffix), path.with_suffix(suffix))


def bfloat16(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """``values`` rounded to the nearest bfloat16, ties to even, as float32."""
    bits = values.astype(np.float32).view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> BFLOAT16_BITS) & 1)
    return ((rounded >> BFLOAT16_BITS) << BFLOAT16_BITS).astype(np.uint32).view(np.float32)


def _join_gelus(model: Any) -> None:
    """Keras exports GELU as x / 2 · (1 - erf(-x / √2)), which OpenVINO computes in passes of their own over memory and,
    in bfloat16, rounds between them. As one operation it becomes part of the convolution before it.
    """
    for erf in [node for node in model.get_ops() if node.get_type_name() == "Erf"]:
        scaled = erf.input_value(0).get_node()
        x = next(value for value in scaled.input_values() if value.get_node().get_type_name() != "Constant")
        complement, product = _only_user(erf), _only_user(_only_user(erf))
        if (complement.get_type_name(), product.get_type_name()) == ("Subtract", "Multiply"):
            product.output(0).replace(import_openvino().opset13.gelu(x, "erf").output(0))


def _split_first_layer(model: Any) -> None:
    """Let the first convolution read bytes, which bfloat16 holds exactly, with its kernel as the sum of two bfloat16s.

    Whitening takes small differences of large values: rounded to 8 bits, normalised pixels and kernel are most of what
    separates bfloat16's answers from float32's. The normalisation goes into kernel and bias, products are summed in
    float32 in either format, and what is left of the kernel reads a second copy of the photo.
    """
    op = import_openvino().opset13
    convolution = next(node for node in model.get_ordered_ops() if node.get_type_name() == "Convolution")
    shift = convolution.input_value(0).get_node()
    scale = shift.input_value(0).get_node()
    turn = scale.input_value(0).get_node()  # the transposition of a photo that has no mirror image to be joined to
    convert = turn.input_value(0).get_node() if turn.get_type_name() == "Transpose" else turn
    found = [node.get_type_name() for node in (convert, scale, shift)]
    if found != ["Convert", "Multiply", "Add"] or any(convolution.get_pads_begin()):
        raise ValueError(f"the first layer is not what the export makes of a normalisation: {found}")
    pixels = convert.input_value(0)
    if turn is not convert:
        pixels = op.transpose(pixels, turn.input_value(1)).output(0)
    kernel, factor, offset = (
        node.input_value(1).get_node().get_data().astype(np.float64) for node in (convolution, scale, shift)
    )
    factor, offset = factor.reshape(1, -1, 1, 1), offset.reshape(1, -1, 1, 1)
    whole = kernel * factor
    high = bfloat16(whole)
    parts = np.concatenate([high, bfloat16(whole - high)], axis=1)
    photos = op.convert(op.concat([pixels] * 2, axis=1), "f32")
    geometry = (convolution.get_strides(), convolution.get_pads_begin(), convolution.get_pads_end())
    summed = op.convolution(photos, op.constant(parts), *geometry, convolution.get_dilations())
    bias = (kernel * offset).sum(axis=(1, 2, 3)).reshape(1, -1, 1, 1).astype(np.float32)
    convolution.output(0).replace(op.add(summed, op.constant(bias)).output(0))


def _only_user(node: Any) -> Any:
    (user,) = node.output(0).get_target_inputs()
    return user.get_node()
