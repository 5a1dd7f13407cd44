"""A full-integer .tflite file of tensors and operators, by the schema's own builders."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import flatbuffers
import numpy as np
import tflite
from numpy.typing import NDArray

_TYPES = {"int8": "INT8", "uint8": "UINT8", "int16": "INT16", "int32": "INT32", "float32": "FLOAT32"}
_TYPES |= {"int64": "INT64", "bool": "BOOL", "resource": "RESOURCE"}


@dataclass
class Tensor:
    """One tensor to write; from `rms`, the real size of its values, the next layer's scale is made."""

    name: str
    shape: tuple[int, ...]
    dtype: str
    scales: list[float] = field(default_factory=list)
    zero_points: list[int] = field(default_factory=list)
    axis: int = 0
    data: NDArray[Any] | None = None
    rms: float = 1.0
    signature: tuple[int, ...] | None = None
    variable: bool = False  # kept from one run to the next


@dataclass
class Written:
    """One operator to write; `custom` is a registered name."""

    kind: str
    inputs: list[int]
    outputs: list[int]
    options: tuple[str, dict[str, Any]] | None
    custom: bool = False
    custom_options: bytes = b""
    intermediates: list[int] = field(default_factory=list)


class FileWriter:
    """Tensors and operators, added one by one; values are tensor indices.

    A second graph holds `initial`, which an operator CALL_ONCE runs.
    """

    def __init__(self) -> None:
        self.tensors: list[Tensor] = []
        self.operators: list[Written] = []
        self.inputs: list[int] = []
        self.initial: list[tuple[str, Tensor]] = []  # variable, stored value that it begins with

    def add(self, tensor: Tensor) -> int:
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def finish(self, *outputs: int) -> bytes:
        """The flatbuffer."""
        builder = flatbuffers.Builder(1 << 20)
        handles = [Tensor(f"{name} handle", (), "resource") for name, _ in self.initial]
        others = [*handles, *(value for _, value in self.initial)]
        buffers = _buffers(builder, [*self.tensors, *others])
        assigning = [op for i, (name, _) in enumerate(self.initial) for op in self._assigning(i, name)]
        kinds = list(dict.fromkeys((op.kind, op.custom) for op in [*self.operators, *assigning]))
        main = _graph(builder, self.tensors, self.operators, (self.inputs, outputs), kinds, 1)
        made = [main]
        if self.initial:
            made.append(_graph(builder, others, assigning, ((), ()), kinds, 1 + len(self.tensors)))
        graphs = _offsets(builder, made)
        codes = _offsets(builder, [_code(builder, kind, custom) for kind, custom in kinds])
        tflite.ModelStart(builder)
        tflite.ModelAddVersion(builder, 3)
        tflite.ModelAddOperatorCodes(builder, codes)
        tflite.ModelAddSubgraphs(builder, graphs)
        tflite.ModelAddBuffers(builder, buffers)
        builder.Finish(tflite.ModelEnd(builder), file_identifier=b"TFL3")
        return bytes(builder.Output())

    def _assigning(self, index: int, name: str) -> tuple[Written, Written]:
        """The operators of the second graph that give a variable its first value."""
        handle = Written("VAR_HANDLE", [], [index], ("VarHandleOptions", {"SharedName": name}))
        assign = Written(
            "ASSIGN_VARIABLE", [index, index + len(self.initial)], [], ("AssignVariableOptions", {})
        )
        return handle, assign


def _graph(
    builder: flatbuffers.Builder,
    tensors: list[Tensor],
    operators: list[Written],
    ends: tuple[Sequence[int], Sequence[int]],
    kinds: list[tuple[str, bool]],
    first_buffer: int,
) -> int:
    """One graph, whose tensors' buffers begin at `first_buffer`."""
    made = _offsets(builder, [_tensor(builder, t, first_buffer + i) for i, t in enumerate(tensors)])
    steps = _offsets(builder, [_operator(builder, op, kinds) for op in operators])
    ins, outs = _ints(builder, ends[0]), _ints(builder, ends[1])
    tflite.SubGraphStart(builder)
    tflite.SubGraphAddTensors(builder, made)
    tflite.SubGraphAddInputs(builder, ins)
    tflite.SubGraphAddOutputs(builder, outs)
    tflite.SubGraphAddOperators(builder, steps)
    return int(tflite.SubGraphEnd(builder))


def _buffers(builder: flatbuffers.Builder, tensors: list[Tensor]) -> int:
    """Buffer 0 is empty, buffer i + 1 is tensor i's."""
    made = []
    for tensor in [None, *tensors]:
        raw = b"" if tensor is None or tensor.data is None else tensor.data.tobytes()
        vector = None
        if raw:
            builder.StartVector(1, len(raw), 16)
            builder.head -= len(raw)
            builder.Bytes[builder.head : builder.head + len(raw)] = raw
            vector = builder.EndVector()
        tflite.BufferStart(builder)
        if vector is not None:
            tflite.BufferAddData(builder, vector)
        made.append(tflite.BufferEnd(builder))
    return _offsets(builder, made)


def _tensor(builder: flatbuffers.Builder, tensor: Tensor, buffer: int) -> int:
    name, shape = builder.CreateString(tensor.name), _ints(builder, tensor.shape)
    signature = None if tensor.signature is None else _ints(builder, tensor.signature)
    quantization = None
    if tensor.scales:
        scales = builder.CreateNumpyVector(np.array(tensor.scales, np.float32))
        zeros = builder.CreateNumpyVector(np.array(tensor.zero_points, np.int64))
        tflite.QuantizationParametersStart(builder)
        tflite.QuantizationParametersAddScale(builder, scales)
        tflite.QuantizationParametersAddZeroPoint(builder, zeros)
        tflite.QuantizationParametersAddQuantizedDimension(builder, tensor.axis)
        quantization = tflite.QuantizationParametersEnd(builder)
    tflite.TensorStart(builder)
    tflite.TensorAddShape(builder, shape)
    tflite.TensorAddType(builder, getattr(tflite.TensorType, _TYPES[tensor.dtype]))
    tflite.TensorAddBuffer(builder, buffer)
    tflite.TensorAddName(builder, name)
    if quantization is not None:
        tflite.TensorAddQuantization(builder, quantization)
    if signature is not None:
        tflite.TensorAddShapeSignature(builder, signature)
    tflite.TensorAddIsVariable(builder, tensor.variable)
    return int(tflite.TensorEnd(builder))


def _operator(builder: flatbuffers.Builder, op: Written, kinds: list[tuple[str, bool]]) -> int:
    options = None
    if op.options is not None:
        name, fields = op.options
        fields = {k: builder.CreateString(v) if isinstance(v, str) else v for k, v in fields.items()}
        getattr(tflite, f"{name}Start")(builder)
        for field_name, value in fields.items():
            getattr(tflite, f"{name}Add{field_name}")(builder, value)
        options = getattr(tflite, f"{name}End")(builder)
    inputs, outputs = _ints(builder, op.inputs), _ints(builder, op.outputs)
    custom = builder.CreateByteVector(op.custom_options) if op.custom_options else None
    between = _ints(builder, op.intermediates) if op.intermediates else None
    tflite.OperatorStart(builder)
    tflite.OperatorAddOpcodeIndex(builder, kinds.index((op.kind, op.custom)))
    tflite.OperatorAddInputs(builder, inputs)
    tflite.OperatorAddOutputs(builder, outputs)
    if op.options is not None:
        tflite.OperatorAddBuiltinOptionsType(builder, getattr(tflite.BuiltinOptions, op.options[0]))
        tflite.OperatorAddBuiltinOptions(builder, options)
    if between is not None:
        tflite.OperatorAddIntermediates(builder, between)
    if custom is not None:
        tflite.OperatorAddCustomOptions(builder, custom)
    return int(tflite.OperatorEnd(builder))


def _code(builder: flatbuffers.Builder, kind: str, custom: bool) -> int:
    name = builder.CreateString(kind) if custom else None
    number = getattr(tflite.BuiltinOperator, "CUSTOM" if custom else kind)
    tflite.OperatorCodeStart(builder)
    tflite.OperatorCodeAddDeprecatedBuiltinCode(builder, min(number, 127))
    tflite.OperatorCodeAddBuiltinCode(builder, number)
    tflite.OperatorCodeAddVersion(builder, _VERSIONS.get(kind, 1))
    if name is not None:
        tflite.OperatorCodeAddCustomCode(builder, name)
    return int(tflite.OperatorCodeEnd(builder))


_VERSIONS = {
    **{"CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "FULLY_CONNECTED": 4, "ADD": 2, "SUB": 2, "MUL": 2, "MEAN": 2},
    **{"AVERAGE_POOL_2D": 2, "MAX_POOL_2D": 2, "SOFTMAX": 2, "LOGISTIC": 2, "TANH": 2, "CONCATENATION": 2},
    **{"QUANTIZE": 2, "DEQUANTIZE": 2, "RESIZE_BILINEAR": 3, "RESIZE_NEAREST_NEIGHBOR": 3, "PAD": 2},
    **{"TRANSPOSE_CONV": 3, "SPLIT": 2, "STRIDED_SLICE": 2, "SLICE": 2, "TRANSPOSE": 4, "MIRROR_PAD": 2},
    **{"LEAKY_RELU": 2, "ARG_MAX": 2, "L2_NORMALIZATION": 2, "MAXIMUM": 2, "PADV2": 2, "RELU": 2, "SUM": 2},
    **{"REDUCE_MAX": 2, "SPACE_TO_BATCH_ND": 2, "BATCH_TO_SPACE_ND": 2, "BROADCAST_TO": 2, "SVDF": 3},
}


def _ints(builder: flatbuffers.Builder, values: Any) -> int:
    return int(builder.CreateNumpyVector(np.array(values, np.int32)))


def _offsets(builder: flatbuffers.Builder, offsets: list[int]) -> int:
    builder.StartVector(4, len(offsets), 4)
    for offset in reversed(offsets):
        builder.PrependUOffsetTRelative(offset)
    return int(builder.EndVector())
