"""What a .tflite file may hold as a whole, and which of its operators are known."""

from __future__ import annotations

from collections.abc import Mapping

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.tflite.call import HOW_TO_QUANTIZE
from rnnpool_mcu.frontends.tflite.converters import CONVERTERS
from rnnpool_mcu.frontends.tflite.detections import CUSTOM
from rnnpool_mcu.frontends.tflite.reader import StoredModel, StoredOperator

VIEWS: Mapping[str, str] = {
    "EXPAND_DIMS": "free",
    "RESHAPE": "free where the order of the bytes stays, and before a fully connected layer",
    "SQUEEZE": "free",
    "TRANSPOSE": "free where only sides of 1 move; a channel shuffle between two reshapes; height, width and "
    "channels in any order",
}
"""Operators that change no byte, with what is supported of them."""
EDGES: Mapping[str, str] = {
    "DEQUANTIZE": "int8 to float32 at the model's outputs: left out, the C gives int8",
    "QUANTIZE": "float32 or uint8 to int8 at the input, int8 to uint8 at an output: left out, the C takes "
    "and gives int8; between layers int8 to int8, by a table",
}
VARIABLES: Mapping[str, str] = {
    "ASSIGN_VARIABLE": "int8, computed; a field of the state structure",
    "CALL_ONCE": "a graph that assigns stored values to variables: their content after a reset",
    "READ_VARIABLE": "int8, initialized and assigned",
    "VAR_HANDLE": "by name",
}
"""Operators about variables, with what is supported of them."""
_CONTROL_FLOW = ("IF", "WHILE", "CALL")


def check_precision(model: StoredModel) -> None:
    """Refuse models that are not full-integer int8 as a whole, with one message instead of a layer's."""
    made = [model.tensors[i] for op in model.operators for i in op.outputs if op.kind in CONVERTERS]
    found = {tensor.dtype for tensor in made}
    stored = {tensor.dtype for tensor in model.tensors if tensor.data is not None and tensor.data.ndim >= 2}
    if not made or "INT8" in found:
        return
    if found & {"FLOAT32", "FLOAT16"}:
        kind = "dynamic-range quantized (int8 weights, float tensors)" if "INT8" in stored else "float"
        raise ModelError(f"the model is {kind}, supported: full-integer int8; {HOW_TO_QUANTIZE}")
    if "INT16" in found:
        raise ModelError(f"its tensors are int16, supported: int8; {HOW_TO_QUANTIZE}")
    if "UINT8" in found:
        raise ModelError(f"its tensors are uint8 (an old converter's), supported: int8; {HOW_TO_QUANTIZE}")


def check_known(op: StoredOperator) -> None:
    """ModelError for an operator that nothing is made of."""
    if op.kind in _CONTROL_FLOW:
        raise ModelError("control flow is not supported; unroll it before export")
    if op.custom and op.kind not in CUSTOM:
        raise ModelError(
            f"is a custom operator, supported: {', '.join(CUSTOM)} and built-in ones, see `rnnpool-mcu "
            "supported-ops`; cut the model before it, and do its work in your own C"
        )
    kinds = {*CONVERTERS, *VIEWS, *EDGES, *VARIABLES}
    if not op.custom and op.kind not in kinds:
        known = ", ".join(sorted(kinds))
        raise ModelError(
            f"is not supported; supported: {known}; build the layer of these, or cut the model before it"
        )
