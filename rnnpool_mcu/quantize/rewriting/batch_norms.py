"""BatchNorms that follow a convolution or linear layer, folded into its weights.

Every layer gets weights of its own: a module that is used twice, or a parameter that two modules share, may
be followed by another BatchNorm in each place.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, fx
from torch.nn.utils.fusion import fuse_conv_bn_weights, fuse_linear_bn_weights

from rnnpool_mcu.nn.aten import TRANSPOSED, WEIGHTED, aten, call_arguments, stored_tensor
from rnnpool_mcu.quantize.rewriting.stored import stored


def fold_batch_norms(module: fx.GraphModule) -> None:
    """Let each layer whose result only a BatchNorm reads compute the BatchNorm too, at its own place.

    Every BatchNorm must have statistics; see `check_evaluation`.
    """
    for norm in list(module.graph.nodes):
        if norm.target is not aten.batch_norm.default:
            continue
        layer = norm.args[0]
        if not _folds(layer, norm):
            continue
        weight, bias = _folded(layer, norm)
        arguments = call_arguments(layer)
        with module.graph.inserting_before(layer):
            arguments["weight"] = stored(module, f"{layer.name}_weight", weight)
            arguments["bias"] = stored(module, f"{layer.name}_bias", bias)
        layer.args, layer.kwargs = tuple(arguments.values()), {}
        norm.replace_all_uses_with(layer)
        module.graph.erase_node(norm)


def _folds(layer: Any, norm: fx.Node) -> bool:
    """Whether a BatchNorm's channels are its layer's outputs, and no one else reads the layer."""
    if not isinstance(layer, fx.Node) or layer.target not in WEIGHTED or len(layer.users) != 1:
        return False
    arguments = call_arguments(layer)
    bias = arguments["bias"]
    if stored_tensor(arguments["weight"]) is None or (bias is not None and stored_tensor(bias) is None):
        return False
    # A linear layer works along the last dimension, a BatchNorm along the second.
    return layer.target is not aten.linear.default or norm.meta["val"].ndim == 2


def _folded(layer: fx.Node, norm: fx.Node) -> tuple[Tensor, Tensor]:
    given, arguments = call_arguments(layer), call_arguments(norm)
    weight, bias = stored_tensor(given["weight"]), stored_tensor(given["bias"])
    mean, variance, scale, shift = (
        stored_tensor(arguments[key]) for key in ("running_mean", "running_var", "weight", "bias")
    )
    assert weight is not None and mean is not None and variance is not None
    channels = len(mean)
    scale = torch.ones(channels) if scale is None else scale
    shift = torch.zeros(channels) if shift is None else shift
    statistics = (mean, variance, arguments["eps"], scale, shift)
    if layer.target is aten.linear.default:
        return fuse_linear_bn_weights(weight, bias, *statistics)
    return fuse_conv_bn_weights(weight, bias, *statistics, transpose=layer.target in TRANSPOSED)
