"""What makes an exported graph one of inference: finite parameters, no layer in training mode."""

from __future__ import annotations

import torch
from torch import fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.nn.aten import aten, call_arguments, place_of, stored_tensor

HOW_TO_EXPORT = "call module.eval() and export it again"
STATISTICS = (
    "BatchNorm without running statistics, whose result depends on the batch; train it with "
    "track_running_stats=True"
)
_RANDOM = {
    aten.alpha_dropout.default: "train",
    aten.dropout.default: "train",
    aten.feature_alpha_dropout.default: "train",
    aten.feature_dropout.default: "train",
    aten.rrelu.default: "training",
}
"""Operators that are random in training, and the argument that says so."""


def check_finite(module: fx.GraphModule) -> None:
    """ModelError that names the stored tensors of a graph which hold NaN or infinity."""
    found: dict[str, str] = {}
    for node in module.graph.nodes:
        tensor = stored_tensor(node)
        if tensor is None or not tensor.is_floating_point():
            continue
        bad = int((~torch.isfinite(tensor)).sum())
        if bad:
            found[str(node.target)] = f"'{node.target}' ({bad:,} of {tensor.numel():,} values)"
    if found:
        raise ModelError(
            f"parameters hold NaN or infinity: {', '.join(list(found.values())[:8])}"
            f"{f' and {len(found) - 8} more' if len(found) > 8 else ''}; allowed: finite numbers, use a "
            "checkpoint from before the training diverged"
        )


def check_evaluation(module: fx.GraphModule) -> None:
    """ModelError for operators that are random, or depend on the batch, as they are called."""
    for node in module.graph.nodes:
        flag = _RANDOM.get(node.target)
        if flag is not None and call_arguments(node)[flag]:
            raise ModelError(f"{place_of(node)}: in training mode, random at every call; {HOW_TO_EXPORT}")
        if node.target is aten.batch_norm.default:
            _check_statistics(node)


def _check_statistics(norm: fx.Node) -> None:
    arguments = call_arguments(norm)
    if stored_tensor(arguments["running_mean"]) is None or stored_tensor(arguments["running_var"]) is None:
        raise ModelError(f"{place_of(norm)}: {STATISTICS}")
    if arguments["training"]:
        raise ModelError(f"{place_of(norm)}: BatchNorm in training mode; {HOW_TO_EXPORT}")
