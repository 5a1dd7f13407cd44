"""Which operators of an ONNX model the reader knows, before it looks at what they do."""

from __future__ import annotations

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.checks import EDGES, check_domain
from rnnpool_mcu.frontends.onnx.converters import CONVERTERS
from rnnpool_mcu.frontends.onnx.folding import SHAPE_ARITHMETIC
from rnnpool_mcu.frontends.onnx.functions import FUNCTIONS, ONE_NUMBER
from rnnpool_mcu.frontends.onnx.reader import STANDARD, OnnxNode
from rnnpool_mcu.frontends.onnx.views import VIEWS

COMPUTED = frozenset((*CONVERTERS, *FUNCTIONS, *ONE_NUMBER, *VIEWS))
"""ONNX's own operators that the integer graph may hold."""


def check_known(node: OnnxNode) -> None:
    """ModelError for an operator that the reader has no converter for."""
    check_domain(node)
    known = node.kind in COMPUTED or node.kind in EDGES or node.kind in SHAPE_ARITHMETIC
    if node.domain in STANDARD and not known:
        raise unsupported()


def unsupported() -> ModelError:
    """The error of an operator that no integer operator stands for."""
    known = ", ".join(sorted((*COMPUTED, *EDGES)))
    return ModelError(
        f"is not supported; supported: {known}; build the layer of these, or cut the model before it"
    )
