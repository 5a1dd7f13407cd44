"""TFLite operators that compute nothing: views, and what stands at a model's edges."""

from __future__ import annotations

from collections.abc import Mapping

VIEWS: Mapping[str, str] = {
    "EXPAND_DIMS": "free",
    "RESHAPE": "free where the order of the bytes stays, and before a fully connected layer",
    "SQUEEZE": "free",
    "TRANSPOSE": "free where only sides of 1 move; a channel shuffle between two reshapes; any order of any "
    "number of axes",
}
"""Operators that change no byte, with what is supported of them."""
EDGES: Mapping[str, str] = {
    "CAST": "uint8 or int8 to float32 at the input, before its QUANTIZE: left out",
    "DEQUANTIZE": "int8 to float32 at the model's outputs, and before a float SOFTMAX, LOG_SOFTMAX, LOGISTIC "
    "or TANH there: left out, the C gives int8",
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
