"""Which operators of an ONNX model the reader knows, before it looks at what they do."""

from __future__ import annotations

import onnx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.checks import EDGES, check_domain
from rnnpool_mcu.frontends.onnx.folding import SHAPE_ARITHMETIC
from rnnpool_mcu.frontends.onnx.operators.converters import CONVERTERS
from rnnpool_mcu.frontends.onnx.operators.functions import FUNCTIONS, ONE_NUMBER
from rnnpool_mcu.frontends.onnx.reader import STANDARD, OnnxNode
from rnnpool_mcu.frontends.onnx.views import VIEWS

COMPUTED = frozenset((*CONVERTERS, *FUNCTIONS, *ONE_NUMBER, *VIEWS))
"""ONNX's own operators that the integer graph may hold."""

WAYS_OUT = {
    **dict.fromkeys(
        ("GRU", "LSTM"),
        "ONNX's quantizers leave it in float; give the torch module to rnnpool_mcu.compile, or save it by "
        "torch.export (.pt2), where nn.GRU and nn.LSTM are quantized",
    ),
    "RNN": "a plain recurrent layer without gates; train torch's nn.GRU or nn.LSTM, and save it as .pt2",
}
"""What to do instead of an operator."""


def check_known(node: OnnxNode) -> None:
    """ModelError for an operator that the reader has no converter for."""
    check_domain(node)
    known = node.kind in COMPUTED or node.kind in EDGES or node.kind in SHAPE_ARITHMETIC
    if node.domain in STANDARD and not known:
        raise unsupported(node.kind)


def check_schema(node: OnnxNode, opset: int) -> None:
    """ModelError for one of ONNX's own operators that its opset does not have, or of too many operands."""
    if node.domain not in STANDARD:
        return
    try:
        schema = onnx.defs.get_schema(node.kind, opset, "")
    except onnx.defs.SchemaError as error:
        raise ModelError(f"opset {opset} has no such operator; tell the opset that it is of") from error
    if schema.deprecated:
        raise ModelError(f"opset {opset} has no such operator any more; export it again")
    for what, names, least, most in (
        ("inputs", node.inputs, schema.min_input, schema.max_input),
        ("outputs", node.outputs, schema.min_output, schema.max_output),
    ):
        if not least <= len(names) <= most:
            raise ModelError(f"{len(names)} {what}, allowed in opset {opset}: {least}..{most}")


def unsupported(kind: str = "") -> ModelError:
    """The error of an operator that no integer operator stands for."""
    if kind in WAYS_OUT:
        return ModelError(f"is not supported: {WAYS_OUT[kind]}")
    known = ", ".join(sorted((*COMPUTED, *EDGES)))
    return ModelError(
        f"is not supported; supported: {known}; build the layer of these, or cut the model before it"
    )
