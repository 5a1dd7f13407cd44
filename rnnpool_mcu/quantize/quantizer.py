"""Our int8 scheme on torchao's public `Quantizer` interface.

Activations: int8 [-128, 127], affine, one scale and zero point per tensor. Weights: int8 [-127, 127],
symmetric, one scale per output channel. Biases stay float here and become int32 at input scale x weight
scale in the frontend. Only outputs are annotated: whoever reads a value reads the one quantized form of it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.source import PIXELS
from rnnpool_mcu.nn.aten import (
    PAIRS,
    PRODUCTS,
    SELECTORS,
    SHARING,
    TRANSPOSED,
    TRANSPOSES,
    VIEWS,
    WEIGHTED,
    aten,
    module_path,
    pads_a_value,
)
from rnnpool_mcu.quantize.functions import function_roots, inner_functions, is_fused, weighted_before

CALIBRATED = {
    *WEIGHTED,
    *PAIRS,
    *PRODUCTS,
    aten.mean.dim,
    aten.sum.dim_IntList,
    aten.avg_pool1d.default,
    aten.avg_pool2d.default,
    aten.adaptive_avg_pool1d.default,
    aten.adaptive_avg_pool2d.default,
    aten.cat.default,
    aten.layer_norm.default,
    aten.log_softmax.int,
    aten.maximum.default,
    aten.minimum.default,
    aten.prelu.default,
    aten.where.self,
    torch.ops.rnnpool_mcu.gru.default,
    torch.ops.rnnpool_mcu.l2_norm.default,
    torch.ops.rnnpool_mcu.lstm.default,
}
"""Operators with an output range of their own, found by calibration; so have `FUNCTIONS`."""
FIXED = {
    aten.sigmoid.default: (1.0 / 256.0, -128),
    aten.softmax.int: (1.0 / 256.0, -128),
    aten.tanh.default: (1.0 / 128.0, 0),
    torch.ops.rnnpool_mcu.rnnpool.default: (1.0 / 128.0, 0),
}
"""Scale and zero point of results whose range is known."""

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
        image: tuple[float, int] | Sequence[tuple[float, int]] = PIXELS,
    ) -> None:
        """`image` is the scale and zero point of the model's input, or one of each of its inputs."""
        super().__init__()
        self.names: dict[str, str] = {}  # of calibrated values, by the name of the node that makes each
        self._calibration = calibration
        self._images: Sequence[Any] = image if isinstance(image[0], tuple) else (image,)
        self._given: dict[fx.Node, Any] = {}
        self._weight_observer = _ROUNDED_EACH_STEP if aware else PerChannelMinMaxObserver
        self._observer = _OBSERVERS[observer]

    def annotate(self, model: fx.GraphModule) -> fx.GraphModule:
        """Annotate every supported node; unsupported ones are left alone, for the frontend to name."""
        names, inside = value_names(model), inner_functions(model)
        self.names = {node.name: name for node, name in names.items()}
        given = [node for node in model.graph.nodes if node.op == "placeholder"]
        self._given = dict(zip(given, self._images, strict=True))
        for node in model.graph.nodes:
            output = None if node in inside else self._output_spec(node, names)
            weights = {}
            if node.target in WEIGHTED:  # torchao counts on an entry for the input, and on this order
                spec = _weight_spec(self._weight_observer, channel_axis=1 if node.target in TRANSPOSED else 0)
                weights = {node.args[0]: None, node.args[1]: spec}
            if output is not None or weights:
                node.meta["quantization_annotation"] = QuantizationAnnotation(
                    input_qspec_map=weights, output_qspec=output, _annotated=True
                )
        return model

    def validate(self, model: fx.GraphModule) -> None:
        """Nothing to check: the frontend reports what it cannot take, with its place in the model."""

    def _output_spec(self, node: fx.Node, names: Mapping[fx.Node, str]) -> QuantizationSpecBase | None:
        if node.op == "placeholder":
            return _fixed_spec(*self._given[node])
        if node.target in FIXED:
            return _fixed_spec(*FIXED[node.target])
        if node.target in SHARING and not pads_a_value(node):
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
        path = _path_of(node)
        seen[path] = seen.get(path, 0) + 1
        names[node] = path if seen[path] == 1 else f"{path}#{seen[path]}"
    return names


def _path_of(node: fx.Node) -> str:
    """Path of the module whose value a node's is: of a BatchNorm that of the convolution before it."""
    return module_path(weighted_before(node) or node)


def _calibrated_nodes(model: fx.GraphModule) -> Iterator[fx.Node]:
    inside, roots = inner_functions(model), function_roots(model)
    for node in model.graph.nodes:
        if node in inside or node.target in FIXED:
            continue
        makes_value = node.target in CALIBRATED or node in roots or weighted_before(node) is not None
        makes_value = makes_value or pads_a_value(node)
        if is_fused(node, roots) or (makes_value and not _is_finished_later(node, roots)):
            yield node


def _is_finished_later(node: fx.Node, roots: Mapping[fx.Node, fx.Node]) -> bool:
    """Whether an activation or a BatchNorm after the node is part of the same operator."""
    return any(
        (is_fused(user, roots) and user.args[0] is node) or weighted_before(user) is node
        for user in node.users
    )


def _source(node: fx.Node) -> fx.Node:
    """The annotated node whose quantization a sharing node takes over, through views."""
    source = node.args[0]
    while isinstance(source, fx.Node) and source.target in (*VIEWS, *TRANSPOSES, *SELECTORS):
        source = source.args[0]
    if not isinstance(source, fx.Node) or "quantization_annotation" not in source.meta:
        raise ModelError(
            f"{node.target} in '{_path_of(node)}': its input {source} is made by an operator that is not "
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


def _weight_spec(observer: Any, channel_axis: int) -> QuantizationSpec:
    return QuantizationSpec(
        dtype=torch.int8,
        quant_min=-127,
        quant_max=127,
        qscheme=torch.per_channel_symmetric,
        ch_axis=channel_axis,
        observer_or_fake_quant_ctr=observer,
    )
