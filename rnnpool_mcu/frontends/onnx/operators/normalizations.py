"""ONNX operators that scale values by statistics, stored ones or those of the pixel."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.channels_first import CHANNELS
from rnnpool_mcu.frontends.onnx.call import Call, Converter
from rnnpool_mcu.frontends.quantized_layers import scaled_by_constant
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.layer_norm import LayerNorm
from rnnpool_mcu.ops.lrn import Lrn


def convert_batch_normalization(call: Call) -> Operator:
    """At inference, where it was not folded into a convolution; Relu, Clip behind it fused."""
    if call.node.integer("training_mode", 0):
        raise ModelError("training_mode 1, supported: 0; export the model in inference mode")
    scale, bias, mean, variance = (np.asarray(call.stored(i), np.float64).reshape(-1) for i in range(1, 5))
    if len({scale.size, bias.size, mean.size, variance.size}) != 1 or not (variance >= 0).all():
        raise ModelError("its four constants differ in size, or a variance is negative; the file is damaged")
    factor = scale / np.sqrt(variance + max(call.node.real("epsilon", 1e-5), 1e-30))
    return scaled_by_constant(factor, bias - mean * factor, call.inputs[0], call.output, call.clamp)


def convert_lrn(call: Call) -> Operator:
    """Over the channels around each, any size, alpha, beta and bias."""
    size = call.node.integer("size", 0)
    if size < 1:
        raise ModelError(f"size {size}, allowed: 1 and more; the file is damaged")
    alpha = call.node.real("alpha", 1e-4) / size
    rest = (alpha, call.node.real("beta", 0.75), call.node.real("bias", 1.0), call.output)
    return Lrn((size - 1) // 2, size // 2, *rest)


def convert_lp_normalization(call: Call) -> Operator:
    """Over axis 1 or the last one, p 2."""
    if call.axis(call.node.integer("axis", -1)) != CHANNELS or call.node.integer("p", 2) != 2:
        raise ModelError("over another axis, or p other than 2, supported: axis 1 or the last one, and p 2")
    return L2Norm.of(np.ones(call.inputs[0].channels), call.output)


def convert_layer_normalization(call: Call) -> Operator:
    """Over the last axis, stored scale and bias."""
    axis, rank = call.node.integer("axis", -1), call.rank
    if axis not in (-1, rank - 1) or call.node.integer("stash_type", 1) != 1:
        raise ModelError(f"over axes from {axis} on, or stash_type other than 1, supported: the last axis, 1")
    gain = np.asarray(call.stored(1), np.float64).reshape(-1)
    bias = np.asarray(call.stored(2), np.float64).reshape(-1) if call.has(2) else np.zeros(1)
    return _layer_norm(call, gain, bias)


def convert_instance_normalization(call: Call) -> Operator:
    """Of [1, groups, values], all scaled alike, as GroupNorm is exported."""
    gain, bias = (np.asarray(call.stored(at), np.float64).reshape(-1) for at in (1, 2))
    if call.rank != 3 or (gain != gain[:1]).any() or (bias != bias[:1]).any():
        raise ModelError(
            f"input {list(call.shapes[0])}, scales {gain[:4].tolist()}.., supported: [1, groups, values] "
            "scaled alike; reshape to that, and scale behind it with Mul and Add"
        )
    return _layer_norm(call, gain[:1], bias[:1])


def _layer_norm(
    call: Call, gain: np.typing.NDArray[np.float64], bias: np.typing.NDArray[np.float64]
) -> Operator:
    channels = call.inputs[0].channels
    if gain.size not in (1, channels) or bias.size not in (1, channels):
        raise ModelError(f"{gain.size} scales, {bias.size} biases for {channels} values; the file is damaged")
    gain, bias = (np.broadcast_to(values, (channels,)).astype(np.float64) for values in (gain, bias))
    return LayerNorm(gain, bias, call.node.real("epsilon", 1e-5), call.output)


NORMALIZATIONS: Mapping[str, Converter] = {
    "BatchNormalization": Converter((0,), convert_batch_normalization, clamps=True),
    "InstanceNormalization": Converter((0,), convert_instance_normalization, rows=True, channelwise=True),
    "LRN": Converter((0,), convert_lrn),
    "LayerNormalization": Converter((0,), convert_layer_normalization, rows=True, channelwise=True),
    "LpNormalization": Converter((0,), convert_lp_normalization, rows=True, channelwise=True),
}
"""Converters of normalizations."""
