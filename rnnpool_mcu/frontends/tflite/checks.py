"""What a .tflite file may hold as a whole, and which of its operators are known."""

from __future__ import annotations

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.tflite.call import HOW_TO_QUANTIZE
from rnnpool_mcu.frontends.tflite.kinds import EDGES, VARIABLES, VIEWS
from rnnpool_mcu.frontends.tflite.operators.converters import CONVERTERS
from rnnpool_mcu.frontends.tflite.operators.detections import CUSTOM
from rnnpool_mcu.frontends.tflite.operators.takers import TAKERS
from rnnpool_mcu.frontends.tflite.reader import StoredModel, StoredOperator

_CONTROL_FLOW = ("IF", "WHILE", "CALL")
_PLAIN = "a plain recurrent layer without gates; train an LSTM, or torch's nn.GRU or nn.LSTM (.pt2)"
WAYS_OUT = {
    "BIDIRECTIONAL_SEQUENCE_LSTM": "supported: UNIDIRECTIONAL_SEQUENCE_LSTM in each direction, one of them "
    "behind and before a REVERSE_V2; or torch's nn.LSTM(bidirectional=True) (.pt2)",
    "BIDIRECTIONAL_SEQUENCE_RNN": _PLAIN,
    "LSTM": "supported: UNIDIRECTIONAL_SEQUENCE_LSTM, a whole sequence; convert it with unroll=False",
    "RNN": _PLAIN,
    "UNIDIRECTIONAL_SEQUENCE_RNN": _PLAIN,
}
"""What to do instead of an operator."""


def check_precision(model: StoredModel) -> None:
    """Refuse models that are not full-integer int8 as a whole, with one message instead of a layer's."""
    computing = {**CONVERTERS, **TAKERS}
    made = [model.tensors[i] for op in model.operators for i in op.outputs if op.kind in computing]
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
    if op.kind in WAYS_OUT:
        raise ModelError(f"is not supported: {WAYS_OUT[op.kind]}")
    kinds = {*CONVERTERS, *TAKERS, *VIEWS, *EDGES, *VARIABLES}
    if not op.custom and op.kind not in kinds:
        known = ", ".join(sorted(kinds))
        raise ModelError(
            f"is not supported; supported: {known}; build the layer of these, or cut the model before it"
        )
