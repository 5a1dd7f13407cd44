"""Operators of integers, as ONNX Runtime's QOperator format has them, written as QDQ.

QLinearConv(x, x_scale, x_zero_point, ..) is QuantizeLinear(Conv(DequantizeLinear(x, ..), ..)): a
DequantizeLinear is put before each operand and a QuantizeLinear behind the result.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import onnx

from rnnpool_mcu.errors import ModelError

_MICROSOFT = "com.microsoft"


@dataclass(frozen=True)
class _Rule:
    """How an integer operator is written as QDQ: where its operands, bias and result's parameters stand."""

    kind: str  # of the operator between the edges
    operands: tuple[int, ...]  # positions of tensors; scale and zero point follow each
    result: int  # position of the result's scale; its zero point follows
    bias: int | None = None  # of an int32 at the product of the operands' scales
    axes: tuple[int, ...] = ()  # of the operands' scales, where there is one per slice
    dropped: tuple[str, ...] = ()  # attributes that only this format has, at their default


RULES: Mapping[str, _Rule] = {
    "QLinearConv": _Rule("Conv", (0, 3), 6, bias=8, axes=(1, 0)),
    "QLinearMatMul": _Rule("MatMul", (0, 3), 6, axes=(0, 1)),
    "QGemm": _Rule("Gemm", (0, 3), 7, bias=6, axes=(0, 1)),
    "QLinearAdd": _Rule("Add", (0, 3), 6),
    "QLinearMul": _Rule("Mul", (0, 3), 6),
    "QLinearSigmoid": _Rule("Sigmoid", (0,), 3),
    "QLinearLeakyRelu": _Rule("LeakyRelu", (0,), 3),
    "QLinearAveragePool": _Rule("AveragePool", (0,), 3, dropped=("channels_last",)),
    "QLinearGlobalAveragePool": _Rule("GlobalAveragePool", (0,), 3, dropped=("channels_last",)),
    "QLinearReduceMean": _Rule("ReduceMean", (0,), 3),
    "QLinearSoftmax": _Rule("Softmax", (0,), 3),
}
JOIN = "QLinearConcat"
INTEGER_OPERATORS = (*RULES, JOIN)
"""Those that are read."""


def as_qdq(model: Any) -> None:
    """Replace every integer operator of the model by QDQ; ModelError where its parameters are computed."""
    graph = model.graph
    if not any(_is_integer(node) for node in graph.node):
        return
    stored = {tensor.name: tensor for tensor in graph.initializer}
    nodes = []
    for node in graph.node:
        if not _is_integer(node):
            nodes.append(node)
            continue
        writer = _Writer(graph, stored, node)
        try:
            nodes += writer.joined() if node.op_type == JOIN else writer.written(RULES[node.op_type])
        except ModelError as error:
            raise ModelError(f"{node.op_type} '{node.name or node.output[0]}': {error}") from error
    del graph.node[:]
    graph.node.extend(nodes)


def _is_integer(node: Any) -> bool:
    return node.op_type in INTEGER_OPERATORS and node.domain in ("", "ai.onnx", _MICROSOFT)


class _Writer:
    """Writes one integer operator as QDQ."""

    def __init__(self, graph: Any, stored: dict[str, Any], node: Any) -> None:
        self._graph, self._stored, self._node = graph, stored, node
        self._made: list[Any] = []
        self._attributes = list(node.attribute)

    def written(self, rule: _Rule) -> Sequence[Any]:
        """Its nodes by a rule."""
        axes = rule.axes or (0,) * len(rule.operands)
        if rule.kind == "Gemm" and self._integer("transB"):
            axes = (1, 0)
        inputs = [self._real(at, axis) for at, axis in zip(rule.operands, axes, strict=True)]
        if rule.kind == "Softmax":
            self._check_softmax()
        for name in rule.dropped:
            if self._integer(name):
                raise ModelError(f"{name} 1, supported: 0; keep the channels first")
            self._attributes = [a for a in self._attributes if a.name != name]
        if rule.bias is not None and self._name(rule.bias):
            inputs.append(self._bias(rule))
        return self._between(rule.kind, inputs, rule.result)

    def joined(self) -> Sequence[Any]:
        """A concatenation: its result's parameters first, then tensors with theirs."""
        inputs = [self._real(at, 0) for at in range(2, len(self._node.input), 3)]
        return self._between("Concat", inputs, 0)

    def _between(self, kind: str, inputs: Sequence[str], result: int) -> Sequence[Any]:
        (made,) = self._node.output[:1]
        parameters = [self._name(result), self._name(result + 1)]
        if not parameters[0]:
            raise ModelError("its result has no scale, supported: int8 or uint8 results")
        real = f"{made}_real"
        node = onnx.helper.make_node(kind, inputs, [real], name=self._node.name)
        node.attribute.extend(self._attributes)
        edge = onnx.helper.make_node("QuantizeLinear", [real, *parameters], [made])
        return [*self._made, node, edge]

    def _real(self, position: int, axis: int) -> str:
        """The tensor at a position, dequantized."""
        given = [self._name(at) for at in range(position, position + 3)]
        found = f"{self._node.output[0]}_operand_{position}_{axis}"
        node = onnx.helper.make_node("DequantizeLinear", given, [found])
        if self._values(given[1]).size > 1:
            node.attribute.append(onnx.helper.make_attribute("axis", axis))
        self._made.append(node)
        return found

    def _bias(self, rule: _Rule) -> str:
        """The int32 bias, dequantized by the product of the operands' scales."""
        assert rule.bias is not None
        first, second = (self._values(self._name(at + 1)).astype(np.float64) for at in rule.operands)
        alpha = next((a.f for a in self._attributes if a.name == "alpha"), 1.0)
        scales = (alpha * first.reshape(-1) * second.reshape(-1)).astype(np.float32)
        name = f"{self._node.output[0]}_bias"
        for end, values in (("scale", scales), ("zero_point", np.zeros(scales.size, np.int32))):
            array = values if scales.size > 1 else values.reshape(())
            self._graph.initializer.append(onnx.numpy_helper.from_array(array, f"{name}_{end}"))
        given = [self._name(rule.bias), f"{name}_scale", f"{name}_zero_point"]
        node = onnx.helper.make_node("DequantizeLinear", given, [name])
        if scales.size > 1:
            node.attribute.append(onnx.helper.make_attribute("axis", 0))
        self._made.append(node)
        return name

    def _check_softmax(self) -> None:
        if self._integer("opset") < 13 and self._integer("axis", -1) != -1:
            raise ModelError("of opset 12 and before over another axis than -1, supported: -1")
        self._attributes = [a for a in self._attributes if a.name != "opset"]

    def _name(self, position: int) -> str:
        return str(self._node.input[position]) if position < len(self._node.input) else ""

    def _values(self, name: str) -> Any:
        if name not in self._stored:
            raise ModelError(f"its parameter '{name}' is computed or missing, supported: stored in the file")
        return onnx.numpy_helper.to_array(self._stored[name])

    def _integer(self, name: str, absent: int = 0) -> int:
        return next((int(a.i) for a in self._attributes if a.name == name), absent)
