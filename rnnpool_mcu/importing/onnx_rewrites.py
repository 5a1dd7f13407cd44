"""What is rewritten in float models before, and in QDQ models behind ONNX Runtime's quantizer.

The quantizer rounds what stands before a Relu to a scale of its own, which holds the values that the Relu
throws away: between the two that rounding is left out where nobody else reads it, and the Relu is read as the
operator's limit. Of a Gemm it takes a bias of one number per output only, so that factors are put into the
stored numbers.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

_LIMITS = ("Relu", "Clip")


def fold_gemm_factors(model: Any) -> None:
    """Put alpha and beta of every Gemm into its stored weights and bias; of each a copy is made."""
    stored = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type != "Gemm" or len(node.input) < 2 or node.input[1] not in stored:
            continue
        told = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
        weights = onnx.numpy_helper.to_array(stored[node.input[1]])
        if weights.ndim == 2:
            outputs = weights.shape[0 if told.get("transB", 0) else 1]
            _fold(model.graph, stored, node, told, weights, outputs)


def _fold(
    graph: Any, stored: dict[str, Any], node: Any, told: dict[str, Any], weights: NDArray[Any], outputs: int
) -> None:
    alpha, beta = told.get("alpha", 1.0), told.get("beta", 1.0)
    changes = {1: weights * np.float32(alpha)} if alpha != 1.0 else {}
    if len(node.input) > 2 and node.input[2]:
        if node.input[2] not in stored:
            return  # a computed one is refused where it is read
        bias = onnx.numpy_helper.to_array(stored[node.input[2]])
        if bias.size not in (1, outputs):
            return
        if beta != 1.0 or bias.shape != (outputs,):
            changes[2] = np.broadcast_to(bias.reshape(-1) * np.float32(beta), (outputs,))
    for at, values in changes.items():
        name = f"{node.output[0]}_{'weights' if at == 1 else 'bias'}_with_factor"
        graph.initializer.append(onnx.numpy_helper.from_array(np.ascontiguousarray(values), name))
        node.input[at] = name
    kept = [attribute for attribute in node.attribute if attribute.name not in ("alpha", "beta")]
    del node.attribute[:]
    node.attribute.extend(kept)


def with_fused_limits(model: Any) -> Any:
    """The QDQ model (which is changed) with every Relu and Clip right behind what makes its input."""
    graph = model.graph
    made = {name: node for node in graph.node for name in node.output}
    readers: dict[str, list[Any]] = {}
    for node in graph.node:
        for name in node.input:
            readers.setdefault(name, []).append(node)
    outputs = {value.name for value in graph.output}
    gone = []
    for node in graph.node:
        back = made.get(node.input[0]) if node.op_type in _LIMITS else None
        edge = made.get(back.input[0]) if back is not None and back.op_type == "DequantizeLinear" else None
        if back is None or edge is None or edge.op_type != "QuantizeLinear" or edge.input[0] not in made:
            continue
        between = (edge.input[0], edge.output[0], back.output[0])
        if any(len(readers.get(name, [])) != 1 or name in outputs for name in between):
            continue
        node.input[0] = edge.input[0]
        gone += [edge, back]
    for node in gone:
        graph.node.remove(node)
    return model
