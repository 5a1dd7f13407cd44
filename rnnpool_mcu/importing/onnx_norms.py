"""Layer normalization as exporters of opset 16 and before write it, in nine operators: as one operator."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx

LEAST_OPSET = 17


def with_layer_norms(model: Any) -> Any:
    """The float model with LayerNormalization in place of the operators that compute it; of opset 17 then.

    x - mean, divided by the root of the mean of its square and a stored epsilon, times and plus stored
    vectors; over the last axis. Whatever has another form stays.
    """
    found = _matches(model)
    if not found:
        return model
    if next(o.version for o in model.opset_import if o.domain in ("", "ai.onnx")) < LEAST_OPSET:
        model = onnx.version_converter.convert_version(model, LEAST_OPSET)
        found = _matches(model)
    for last, gone, inputs, epsilon in found:
        made = onnx.helper.make_node(
            "LayerNormalization",
            inputs,
            list(last.output),
            name=f"{last.output[0]}_norm",
            axis=-1,
            epsilon=epsilon,
        )
        model.graph.node.insert(list(model.graph.node).index(last), made)
        for node in gone:
            model.graph.node.remove(node)
    return model


def _matches(model: Any) -> list[tuple[Any, list[Any], list[str], float]]:
    forms = _Forms(model)
    return [match for node in model.graph.node if (match := forms.match(node)) is not None]


class _Forms:
    """What makes each tensor of a model, and how often it is read."""

    def __init__(self, model: Any) -> None:
        self._made = {name: node for node in model.graph.node for name in node.output}
        self._stored = {tensor.name: tensor for tensor in model.graph.initializer}
        for node in model.graph.node:
            if node.op_type == "Constant" and node.attribute[0].name == "value":
                self._stored[node.output[0]] = node.attribute[0].t
            elif node.op_type == "Identity" and node.input[0] in self._stored:  # of weights that are alike
                self._stored[node.output[0]] = self._stored[node.input[0]]
        self._reads: dict[str, int] = {value.name: 1 for value in model.graph.output}
        for node in model.graph.node:
            for name in node.input:
                self._reads[name] = self._reads.get(name, 0) + 1
        inferred = onnx.shape_inference.infer_shapes(model).graph
        values = (*inferred.value_info, *inferred.input)
        self._ranks = {value.name: len(value.type.tensor_type.shape.dim) for value in values}

    def match(self, last: Any) -> tuple[Any, list[Any], list[str], float] | None:
        """The last Add, all nodes that go, x, scale and bias, epsilon; None for any other node."""
        scaled, bias = self._with_vector(last, "Add")
        unit, scale = self._with_vector(scaled, "Mul")
        if unit is None or unit.op_type != "Div":
            return None
        centred, root = (self._made.get(name) for name in unit.input)
        if centred is None or centred.op_type != "Sub" or root is None or root.op_type != "Sqrt":
            return None
        sum_ = self._made.get(root.input[0])
        variance, epsilon = self._with_number(sum_, "Add")
        mean: Any = self._made.get(centred.input[1])
        if epsilon is None or not (self._is_last_mean(mean) and self._is_last_mean(variance)):
            return None
        square: Any = self._made.get(variance.input[0])
        if mean.input[0] != centred.input[0] or not self._is_square(square, centred.output[0]):
            return None
        inner = [scaled, unit, centred, root, sum_, variance, square, mean]
        uses = 3 if square.op_type == "Mul" else 2
        if any(self._reads[n.output[0]] != (uses if n is centred else 1) for n in inner):
            return None
        return last, [last, *inner], [centred.input[0], scale, bias], epsilon

    def _with_vector(self, node: Any, kind: str) -> tuple[Any, str]:
        """The computed operand's node and the stored vector of an operator of that kind."""
        if node is None or node.op_type != kind or len(node.input) != 2:
            return None, ""
        for at in (0, 1):
            stored = self._stored.get(node.input[at])
            if stored is not None and len(stored.dims) == 1 and stored.dims[0] > 1:
                return self._made.get(node.input[1 - at]), str(node.input[at])
        return None, ""

    def _with_number(self, node: Any, kind: str) -> tuple[Any, float | None]:
        if node is None or node.op_type != kind:
            return None, None
        for at in (0, 1):
            if (number := self._number(node.input[at])) is not None:
                return self._made.get(node.input[1 - at]), number
        return None, None

    def _number(self, name: str) -> float | None:
        stored = self._stored.get(name)
        if stored is None:
            return None
        array = onnx.numpy_helper.to_array(stored)
        return float(array.reshape(-1)[0]) if array.size == 1 else None

    def _is_last_mean(self, node: Any) -> bool:
        """Whether a node is the mean over the last axis, which it keeps."""
        if node is None or node.op_type != "ReduceMean":
            return False
        told = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        axes = told.get("axes")
        if axes is None and len(node.input) > 1 and node.input[1] in self._stored:
            axes = np.asarray(onnx.numpy_helper.to_array(self._stored[node.input[1]])).reshape(-1).tolist()
        rank = self._ranks.get(node.input[0], 0)
        return axes is not None and list(axes) in ([-1], [rank - 1]) and told.get("keepdims", 1) == 1

    def _is_square(self, node: Any, name: str) -> bool:
        if node is None:
            return False
        if node.op_type == "Mul":
            return list(node.input) == [name, name]
        return node.op_type == "Pow" and node.input[0] == name and self._number(node.input[1]) == 2.0
