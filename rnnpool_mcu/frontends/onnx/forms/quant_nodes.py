"""QONNX's Quant nodes written as QuantizeLinear, Clip of integers, DequantizeLinear.

Quant(x, scale, zero_point, bits) is real: (clip(round(x / scale) + zero_point) - zero_point) * scale, limited
to the integers of so many bits, less the lowest one where it is `narrow`.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError

DOMAINS = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
_INPUTS = 4
_MOST_BITS = 8


def without_quant_nodes(model: Any) -> None:
    """Replace every Quant node; ModelError for parameters that are computed, and for more than 8 bits.

    Of stored tensors any number of bits: they become real numbers again, as biases are.
    """
    graph = model.graph
    if not any(node.domain in DOMAINS and node.op_type == "Quant" for node in graph.node):
        return
    stored = {tensor.name: tensor for tensor in graph.initializer}
    for node in graph.node:
        if node.op_type == "Constant" and node.attribute and node.attribute[0].name == "value":
            stored[node.output[0]] = node.attribute[0].t
    nodes = []
    for node in graph.node:
        if node.domain not in DOMAINS or node.op_type != "Quant":
            nodes.append(node)
            continue
        try:
            nodes += _written(graph, stored, node)
        except ModelError as error:
            raise ModelError(f"Quant '{node.name or node.output[0]}': {error}") from error
    del graph.node[:]
    graph.node.extend(nodes)


def _written(graph: Any, stored: dict[str, Any], node: Any) -> list[Any]:
    told = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    rounding = told.get("rounding_mode", b"ROUND")
    if len(node.input) != _INPUTS or any(name not in stored for name in node.input[1:]):
        raise ModelError("its scale, zero point or bits are computed or missing, supported: stored")
    if rounding.upper() not in (b"ROUND", b"HALF_EVEN"):
        raise ModelError(f"rounding_mode {rounding.decode()}, supported: ROUND")
    scale, zero, bits = (onnx.numpy_helper.to_array(stored[name]) for name in node.input[1:])
    if bits.size != 1 or float(bits.reshape(-1)[0]) != int(bits.reshape(-1)[0]):
        raise ModelError(f"bits {bits.tolist()}, supported: one whole number")
    signed, narrow = bool(told.get("signed", 1)), bool(told.get("narrow", 0))
    low, high = _limits(int(bits.reshape(-1)[0]), signed, narrow)
    made, given = node.output[0], node.input[0]
    if given in stored and int(bits.reshape(-1)[0]) > _MOST_BITS:
        array = onnx.numpy_helper.to_array(stored[given]).astype(np.float64)
        real = (np.clip(np.rint(array / scale) + zero, low, high) - zero) * scale
        tensor = onnx.numpy_helper.from_array(real.astype(np.float32), made)
        return [onnx.helper.make_node("Constant", [], [made], value=tensor)]
    if int(bits.reshape(-1)[0]) > _MOST_BITS:
        raise ModelError(f"{int(bits.reshape(-1)[0])} bits of a computed tensor, supported: at most 8")
    return _edges(graph, given, made, scale, zero, (low, high), signed)


def _limits(bits: int, signed: bool, narrow: bool) -> tuple[int, int]:
    """The least and the largest integer."""
    if not 1 < bits <= 32:
        raise ModelError(f"{bits} bits, supported: 2..8, of stored tensors 2..32")
    if signed:
        return -(1 << (bits - 1)) + int(narrow), (1 << (bits - 1)) - 1
    return 0, (1 << bits) - 1 - int(narrow)


def _edges(
    graph: Any,
    given: str,
    made: str,
    scale: NDArray[Any],
    zero: NDArray[Any],
    limits: tuple[int, int],
    signed: bool,
) -> list[Any]:
    """QuantizeLinear, Clip where the limits are not the type's, DequantizeLinear."""
    kind = np.int8 if signed else np.uint8
    varying = [axis for axis, side in enumerate(scale.shape) if side != 1]
    if len(varying) > 1 or (zero != np.rint(zero)).any():
        raise ModelError(
            f"scales of shape {list(scale.shape)}, supported: along one axis, with whole zero points"
        )
    shape = (scale.size,) if varying else ()
    zeros = np.broadcast_to(zero, scale.shape if varying else zero.shape).astype(kind).reshape(shape)
    parameters: dict[str, NDArray[Any]] = {
        "scale": scale.astype(np.float32).reshape(shape),
        "zero_point": zeros,
    }
    parameters |= {"low": np.array(limits[0], kind), "high": np.array(limits[1], kind)}
    names = {end: f"{made}_{end}" for end in parameters}
    for end, values in parameters.items():
        graph.initializer.append(onnx.numpy_helper.from_array(values, names[end]))
    axis: dict[str, Any] = {"axis": varying[0]} if varying else {}
    edge, integers, limited = [names["scale"], names["zero_point"]], f"{made}_integers", f"{made}_limited"
    nodes = [onnx.helper.make_node("QuantizeLinear", [given, *edge], [integers], **axis)]
    if limits == (np.iinfo(kind).min, np.iinfo(kind).max):
        limited = integers
    else:
        nodes.append(onnx.helper.make_node("Clip", [integers, names["low"], names["high"]], [limited]))
    return [*nodes, onnx.helper.make_node("DequantizeLinear", [limited, *edge], [made], **axis)]
