"""Operators that read integers as they are stored, without a DequantizeLinear before them.

Operators that only move values or compare them do the same to the integers as to the real numbers that these
stand for; anything else would compute with other numbers, and is refused.
"""

from __future__ import annotations

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.call import HOW_TO_QUANTIZE, Given
from rnnpool_mcu.frontends.onnx.reader import OnnxNode
from rnnpool_mcu.frontends.onnx.tensors import Tensors
from rnnpool_mcu.frontends.onnx.views import VIEWS
from rnnpool_mcu.frontends.values import Value

MOVERS = (
    *("ArgMax", "ArgMin", "Concat", "DepthToSpace", "Expand", "Gather", "GlobalMaxPool", "MaxPool"),
    *("ReduceMax", "ReduceMin", "Slice", "SpaceToDepth", "Split", "Tile"),
)
"""Operators that give, of integers, those integers that stand for what they give of real numbers."""


def check_integers(tensors: Tensors, node: OnnxNode) -> bool:
    """Whether a node reads stored integers; ModelError where it would compute with them."""
    read = [name for name in node.inputs if name in tensors.integer_names]
    if not read:
        return False
    others = [name for name in node.inputs if name in tensors.values and name not in read]
    if others or node.kind not in (*VIEWS, *MOVERS, "Clip"):
        raise ModelError(
            f"it computes with '{read[0]}' as stored integers, supported: behind a DequantizeLinear; "
            f"{HOW_TO_QUANTIZE}"
        )
    kinds = {tensors.types[tensors.values[name].name].quantization for name in read}
    if len(kinds) > 1:
        raise ModelError("it joins integers of several scales, supported: of one")
    return True


def limited_integers(tensors: Tensors, given: Given) -> Value:
    """A Clip of integers, as narrow ranges are written: a table that limits the values."""
    value = tensors.computed(given.node, 0)
    given.account.use(0)
    name = tensors.types[value.name]
    offset = tensors.integers[value.name].offset
    bounds = [-128 + offset, 127 + offset]
    for at in (1, 2):
        if given.has(at):
            stored = given.number(at)
            if stored is None:
                raise ModelError(f"bound '{given.name(at)}', supported: one stored number")
            bounds[at - 1] = int(stored)
    low, high = ((bound - offset - name.zero_point) * name.scale for bound in bounds)
    waiting = Value(value.name, value.shape, lambda x: x.clip(low, high), "Clip", value.last)
    made = tensors.requantized(waiting, given.node.outputs[0], name.quantization)
    tensors.note_integers(made, given.node.outputs[0], offset)
    return made
