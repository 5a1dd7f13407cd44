"""Our int8 scheme on torchao's public `Quantizer` interface.

Activations: int8 [-128, 127], affine, one scale and zero point per tensor. Weights: int8 [-127, 127],
symmetric, one scale per output channel. Biases stay float here and become int32 at input scale x weight
scale in the frontend. Only outputs are annotated: whoever reads a value reads the one quantized form of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import fx
from torchao.quantization.pt2e.fake_quantize import FakeQuantize
from torchao.quantization.pt2e.observer import (
    HistogramObserver,
    MinMaxObserver,
    MovingAveragePerChannelMinMaxObserver,
    PerChannelMinMaxObserver,
)
from torchao.quantization.pt2e.quantizer import (
    FixedQParamsQuantizationSpec,
    QuantizationAnnotation,
    QuantizationSpec,
    QuantizationSpecBase,
    Quantizer,
    SharedQuantizationSpec,
)

import rnnpool_mcu.nn  # noqa: F401  registers torch.ops.rnnpool_mcu
from rnnpool_mcu.errors import ModelError

aten = torch.ops.aten

WEIGHTED = {aten.conv2d.default, aten.conv2d.padding, aten.linear.default}
"""Operators whose second argument is a weight with output channels first."""
CALIBRATED = {
    *WEIGHTED,
    aten.add.Tensor,
    aten.mean.dim,
    aten.adaptive_avg_pool2d.default,
    torch.ops.rnnpool_mcu.l2_norm.default,
}
"""Operators with an output range of their own, found by calibration."""
ACTIVATIONS = {
    aten.relu.default,
    aten.relu_.default,
    aten.relu6.default,
    aten.hardtanh.default,
    aten.hardtanh_.default,
}
"""Fused into the operator before them: only their output is quantized."""
SHARING = {aten.pad.default, aten.replication_pad2d.default, torch.ops.rnnpool_mcu.max_out.default}
"""Operators that move or select values: the output has the input's quantization."""
VIEWS = {
    aten.flatten.using_ints,
    aten.reshape.default,
    aten.view.default,
    aten.squeeze.dims,
    aten.dropout.default,
}
"""Operators that change no value; nothing is quantized again after them."""

RNNPOOL_SCALE = 1.0 / 128.0
"""States are inside (-1, 1)."""
PIXEL_SCALE, PIXEL_ZERO_POINT = 1.0 / 255.0, -128
"""The model's input is pixel / 255, and the pixel byte minus 128 is its int8 form."""
SMALLEST_SCALE = 2.0**-16

ObserverName = Literal["minmax", "histogram"]
_ROUNDED_EACH_STEP = FakeQuantize.with_args(
    observer=MovingAveragePerChannelMinMaxObserver,
    averaging_constant=1.0,  # the present weights' range
)
_OBSERVERS = {"minmax": MinMaxObserver, "histogram": HistogramObserver}

Calibration = Mapping[str, tuple[float, int]]
"""Scale and zero point of each calibrated value, by `value_names`."""


class Int8Quantizer(Quantizer):  # type: ignore[misc]
    """Annotates an exported graph; with `calibration`, ranges come from there and nothing is observed.

    `aware` is for quantization-aware training: weights are rounded anew in every step.
    """

    def __init__(
        self,
        calibration: Calibration | None = None,
        observer: ObserverName = "histogram",
        aware: bool = False,
    ) -> None:
        super().__init__()
        self._calibration = calibration
        self._weight_spec = _weight_spec(_ROUNDED_EACH_STEP if aware else PerChannelMinMaxObserver)
        self._observer = _OBSERVERS[observer]

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Annotate every supported node; unsupported ones are left alone, for the frontend to name."""
        names = value_names(model)
        for node in model.graph.nodes:
            output = self._output_spec(node, names)
            weights = {}
            if node.target in WEIGHTED:  # torchao counts on an entry for the input, and on this order
                weights = {node.args[0]: None, node.args[1]: self._weight_spec}
            if output is not None or weights:
                node.meta["quantization_annotation"] = QuantizationAnnotation(
                    input_qspec_map=weights, output_qspec=output, _annotated=True
                )
        return model

    def validate(self, model: fx.GraphModule) -> None:
        """Nothing to check: the frontend reports what it cannot take, with its place in the model."""

    def _output_spec(self, node: fx.Node, names: Mapping[fx.Node, str]) -> QuantizationSpecBase | None:
        if node.op == "placeholder":
            return _fixed_spec(PIXEL_SCALE, PIXEL_ZERO_POINT)
        if node.target is torch.ops.rnnpool_mcu.rnnpool.default:
            return _fixed_spec(RNNPOOL_SCALE, 0)
        if node.target in SHARING:
            return SharedQuantizationSpec(_source(node))
        if node not in names:
            return None
        return self._calibrated_spec(names[node])

    def _calibrated_spec(self, name: str) -> QuantizationSpecBase:
        if self._calibration is None:
            return QuantizationSpec(
                dtype=torch.int8,
                quant_min=-128,
                quant_max=127,
                qscheme=torch.per_tensor_affine,
                observer_or_fake_quant_ctr=self._observer.with_args(eps=SMALLEST_SCALE),
            )
        if name not in self._calibration:
            raise ModelError(
                f"calibration: no range for the value '{name}'; the stored calibration belongs to another "
                "model: calibrate again with a folder of images"
            )
        return _fixed_spec(*self._calibration[name])


def value_names(model: fx.GraphModule) -> dict[fx.Node, str]:
    """Stable names of the values whose range is calibrated: the path of the module that makes them.

    A module that makes several is told apart by `#2`, `#3` in execution order.
    """
    names: dict[fx.Node, str] = {}
    seen: dict[str, int] = {}
    for node in _calibrated_nodes(model):
        path = module_path(node)
        seen[path] = seen.get(path, 0) + 1
        names[node] = path if seen[path] == 1 else f"{path}#{seen[path]}"
    return names


def module_path(node: fx.Node) -> str:
    """Dotted path of the innermost module that a node was traced from; '' at the top."""
    node = _weighted_before(node) or node
    stack: dict[str, Any] = node.meta.get("nn_module_stack") or {}
    return str(list(stack.values())[-1][0]) if stack else ""


def is_fused(activation: fx.Node) -> bool:
    """Whether an activation can be a clamp of the operator before it."""
    producer = activation.args[0]
    return (
        isinstance(producer, fx.Node)
        and (producer.target in (*WEIGHTED, aten.add.Tensor) or _weighted_before(producer) is not None)
        and len(producer.users) == 1
    )


def _weighted_before(node: fx.Node) -> fx.Node | None:
    """The convolution whose result only this BatchNorm reads; None for any other node.

    Such pairs are one operator. They are met in training only: elsewhere the BatchNorm is folded before.
    """
    if node.target is not aten.batch_norm.default:
        return None
    before = node.args[0]
    if isinstance(before, fx.Node) and before.target in WEIGHTED and len(before.users) == 1:
        return before
    return None


def _calibrated_nodes(model: fx.GraphModule) -> Iterator[fx.Node]:
    for node in model.graph.nodes:
        makes_value = node.target in CALIBRATED or _weighted_before(node) is not None
        if (node.target in ACTIVATIONS and is_fused(node)) or (makes_value and not _is_finished_later(node)):
            yield node


def _is_finished_later(node: fx.Node) -> bool:
    """Whether an activation or a BatchNorm after the node is part of the same operator."""
    return any(
        (user.target in ACTIVATIONS and is_fused(user)) or _weighted_before(user) is node
        for user in node.users
    )


def _source(node: fx.Node) -> fx.Node:
    """The annotated node whose quantization a sharing node takes over, through views."""
    source = node.args[0]
    while isinstance(source, fx.Node) and source.target in VIEWS:
        source = source.args[0]
    if not isinstance(source, fx.Node) or "quantization_annotation" not in source.meta:
        raise ModelError(
            f"{node.target} in '{module_path(node)}': its input {source} is made by an operator that is not "
            "supported; see docs/operators.md"
        )
    return source


def _fixed_spec(scale: float, zero_point: int) -> FixedQParamsQuantizationSpec:
    return FixedQParamsQuantizationSpec(
        dtype=torch.int8,
        scale=scale,
        zero_point=zero_point,
        quant_min=-128,
        quant_max=127,
        qscheme=torch.per_tensor_affine,
    )


def _weight_spec(observer: Any) -> QuantizationSpec:
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-127,
        quant_max=127,
        qscheme=torch.per_channel_symmetric,
        ch_axis=0,
        observer_or_fake_quant_ctr=observer,
    )
