"""Reading a .tflite flatbuffer into plain values; nothing in the file is trusted.

The schema package follows offsets without asking where they lead. Here every vector's length is held against
the size of the file before it is read, and whatever the package trips over becomes a ModelError.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import tflite
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.file_size import check_file_size

MAX_FILE_BYTES = 64 << 20
"""Far more than the flash of any Cortex-M4, so that nobody waits for a model that cannot fit."""
MAX_RANK = 8
IDENTIFIER = b"TFL3"

_DTYPES = {
    **{"INT8": "int8", "UINT8": "uint8", "INT16": "<i2", "INT32": "<i4", "INT64": "<i8"},
    **{"FLOAT32": "<f4", "FLOAT16": "<f2", "BOOL": "bool"},
}
_DAMAGED = (struct.error, IndexError, ValueError, TypeError, OverflowError, UnicodeDecodeError)


@dataclass(frozen=True, eq=False)
class StoredQuantization:
    """Scales and zero points as stored: one each, or one per slice along `axis`."""

    scales: NDArray[np.float64]
    zero_points: NDArray[np.int64]
    axis: int


@dataclass(frozen=True, eq=False)
class StoredTensor:
    """One tensor of the file; `data` is None unless the file holds its values."""

    index: int
    name: str
    dtype: str  # the schema's name: INT8, INT32, FLOAT32, ...
    shape: tuple[int, ...]
    dynamic: bool  # a side is not fixed
    quantization: StoredQuantization | None
    data: NDArray[Any] | None
    variable: bool = False  # kept from one invocation to the next
    open_batch: bool = False  # the first side is not fixed, the shape says 1


@dataclass(frozen=True, eq=False)
class StoredOperator:
    """One operator of the file; tensors by index, -1 for an absent optional input."""

    index: int
    kind: str  # the schema's name, CONV_2D; that of a custom operator as it was registered
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: Mapping[str, Any]  # by the schema's names, numbers and names; empty where the file has none
    custom_options: bytes = b""  # of a custom operator, as stored


@dataclass(frozen=True, eq=False)
class StoredModel:
    """A file's main graph."""

    tensors: tuple[StoredTensor, ...]
    operators: tuple[StoredOperator, ...]  # in execution order
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    initial: Mapping[str, StoredTensor] = field(default_factory=dict)  # by variable, as it begins


def variable_of(op: StoredOperator) -> str:
    """The name of the variable that a VAR_HANDLE stands for."""
    parts = (_text(op.options.get(name)) for name in ("Container", "SharedName"))
    return "/".join(part for part in parts if part)


def read_tflite(path: Path) -> StoredModel:
    """Read a .tflite file; ModelError when it is damaged, too large, or no such file."""
    check_file_size(path, MAX_FILE_BYTES)
    return parse_tflite(path.read_bytes(), str(path))


def parse_tflite(data: bytes, where: str) -> StoredModel:
    """Read the bytes of a .tflite file; `where` names it in messages."""
    if len(data) < 8 or data[4:8] != IDENTIFIER:
        raise ModelError(f"{where}: is no .tflite file (no 'TFL3' at byte 4); export the model again")
    try:
        return _Parser(data).model()
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error
    except _DAMAGED as error:
        raise ModelError(f"{where}: damaged ({error}); copy or export the file again") from error


class _Parser:
    """Reads a buffer once; how much it reads is bounded by the buffer's size."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._left = len(
            data
        )  # bytes of vectors that may still be read; slices of a sound file never overlap
        self._model = tflite.Model.GetRootAsModel(data, 0)

    def model(self) -> StoredModel:
        """The main graph; ModelError where there is none, or others than initializers of variables."""
        count = self._count(self._model.SubgraphsLength())
        if count < 1:
            raise ModelError("0 graphs, allowed: 1 and more; export the model again")
        main = self._graph(0)
        once = [op for op in main.operators if op.kind == "CALL_ONCE"]
        others = {int(op.options.get("InitSubgraphIndex", 0)) for op in once}
        if others != set(range(1, count)):
            raise ModelError(
                f"{count} graphs, allowed: 1, and those that CALL_ONCE runs; control flow (IF, WHILE, CALL) "
                "is not supported, unroll it; of a Keras LSTM: convert it with a fixed batch of 1, which "
                "makes one operator; of a GRU: bring it as torch's nn.GRU (.pt2)"
            )
        initial: dict[str, StoredTensor] = {}
        for index in sorted(others):
            initial |= _assigned_in(self._graph(index))
        return replace(main, initial=initial)

    def _graph(self, index: int) -> StoredModel:
        """One of the file's graphs."""
        graph = self._model.Subgraphs(index)
        tensors = [self._tensor(graph, i) for i in range(self._count(graph.TensorsLength()))]
        operators = [
            self._operator(graph, i, len(tensors)) for i in range(self._count(graph.OperatorsLength()))
        ]
        inputs = self._indices(graph.InputsLength(), graph.InputsAsNumpy, len(tensors), optional=False)
        outputs = self._indices(graph.OutputsLength(), graph.OutputsAsNumpy, len(tensors), optional=False)
        return StoredModel(tuple(tensors), tuple(operators), inputs, outputs)

    def _count(self, length: int, item_bytes: int = 4) -> int:
        """A vector's length, once it is known that the file can hold it."""
        if length < 0 or length * item_bytes > self._left:
            raise ModelError(f"damaged: a vector of {length} items leaves the file; export the model again")
        self._left -= length * item_bytes
        return length

    def _vector(self, length: int, read: Callable[[], Any], item_bytes: int) -> NDArray[Any]:
        if self._count(length, item_bytes) == 0:
            return np.zeros(0, np.int64)
        return np.asarray(read())

    def _indices(
        self, length: int, read: Callable[[], Any], tensors: int, *, optional: bool
    ) -> tuple[int, ...]:
        found = tuple(int(index) for index in self._vector(length, read, 4))
        for index in found:
            if not (0 <= index < tensors or (optional and index == -1)):
                raise ModelError(f"damaged: it refers to tensor {index} of {tensors}; export the model again")
        return found

    def _tensor(self, graph: Any, index: int) -> StoredTensor:
        tensor = graph.Tensors(index)
        name = _text(tensor.Name()) or f"tensor {index}"
        sides = self._vector(tensor.ShapeLength(), tensor.ShapeAsNumpy, 4)
        signature = self._vector(tensor.ShapeSignatureLength(), tensor.ShapeSignatureAsNumpy, 4)
        if len(sides) > MAX_RANK:
            raise ModelError(f"tensor '{name}': {len(sides)} dimensions, allowed: at most {MAX_RANK}")
        if tensor.Sparsity() is not None:
            raise ModelError(f"tensor '{name}': sparse, supported: dense; export without sparse weights")
        shape = tuple(int(side) for side in sides)
        dtype = _names("TensorType").get(int(tensor.Type()), "unknown")
        data = self._values(int(tensor.Buffer()), name, dtype, shape)
        # The batch of an exported model is often left open; the interpreter takes 1, as the shape says.
        dynamic = any(side < 0 for side in (*shape, *map(int, signature[1:])))
        kept = bool(tensor.IsVariable())
        open_batch = signature.size > 0 and int(signature[0]) < 0
        quantization = self._quantization(tensor)
        return StoredTensor(index, name, dtype, shape, dynamic, quantization, data, kept, open_batch)

    def _values(self, buffer: int, name: str, dtype: str, shape: tuple[int, ...]) -> NDArray[Any] | None:
        """A tensor's stored values; None when it is computed."""
        count = self._model.BuffersLength()
        if not 0 <= buffer < count:
            raise ModelError(f"tensor '{name}': buffer {buffer} of {count}; the file is damaged")
        stored = self._model.Buffers(buffer)
        start, size = int(stored.Offset()), int(stored.Size())
        if start > 1:  # values after the flatbuffer, as files of more than 2 GB have them
            if start + size > len(self._data):
                raise ModelError(f"tensor '{name}': its values leave the file; copy the file again")
            raw = np.frombuffer(self._data, np.uint8, size, start)
        else:
            raw = self._vector(stored.DataLength(), stored.DataAsNumpy, 1)
        if raw.size == 0:
            return None
        if dtype not in _DTYPES:
            return raw
        kind, elements = np.dtype(_DTYPES[dtype]), _product(shape)
        if elements * kind.itemsize != raw.size:
            raise ModelError(
                f"tensor '{name}': {raw.size} bytes for {dtype} of shape {list(shape)}, "
                f"{elements * kind.itemsize} are needed; the file is damaged"
            )
        return np.frombuffer(raw.tobytes(), kind).reshape(shape)

    def _quantization(self, tensor: Any) -> StoredQuantization | None:
        stored = tensor.Quantization()
        if stored is None or stored.ScaleLength() == 0:
            return None
        scales = self._vector(stored.ScaleLength(), stored.ScaleAsNumpy, 4)
        zero_points = self._vector(stored.ZeroPointLength(), stored.ZeroPointAsNumpy, 8)
        if zero_points.size == 0:
            zero_points = np.zeros(scales.size, np.int64)
        if zero_points.size not in (1, scales.size):
            raise ModelError(
                f"tensor {_text(tensor.Name())!r}: {scales.size} scales, {zero_points.size} zero points"
            )
        spread = np.broadcast_to(zero_points.astype(np.int64), scales.shape)
        with np.errstate(invalid="ignore"):  # NaN scales are refused where they are used
            real = scales.astype(np.float64)
        return StoredQuantization(real, spread, int(stored.QuantizedDimension()))

    def _operator(self, graph: Any, index: int, tensors: int) -> StoredOperator:
        operator = graph.Operators(index)
        code_index, codes = int(operator.OpcodeIndex()), self._model.OperatorCodesLength()
        if not 0 <= code_index < codes:
            raise ModelError(f"operator {index}: operator code {code_index} of {codes}; the file is damaged")
        code = self._model.OperatorCodes(code_index)
        number = max(int(code.BuiltinCode()), int(code.DeprecatedBuiltinCode()))
        kind = _names("BuiltinOperator").get(number, f"operator code {number}")
        custom = kind == "CUSTOM"
        return StoredOperator(
            index,
            (_text(code.CustomCode()) or "without a name") if custom else kind,
            custom,
            self._indices(operator.InputsLength(), operator.InputsAsNumpy, tensors, optional=True),
            self._indices(operator.OutputsLength(), operator.OutputsAsNumpy, tensors, optional=False),
            {} if custom else _options(operator),
            self._custom_options(operator) if custom else b"",
        )

    def _custom_options(self, operator: Any) -> bytes:
        stored = self._vector(operator.CustomOptionsLength(), operator.CustomOptionsAsNumpy, 1)
        return stored.astype(np.uint8).tobytes()


def _assigned_in(graph: StoredModel) -> dict[str, StoredTensor]:
    """What a graph that only assigns stored values to variables assigns."""
    handles: dict[int, str] = {}
    found: dict[str, StoredTensor] = {}
    for op in graph.operators:
        if op.kind == "VAR_HANDLE":
            handles |= dict.fromkeys(op.outputs, variable_of(op))
            continue
        assigns = op.kind == "ASSIGN_VARIABLE" and len(op.inputs) == 2 and min(op.inputs) >= 0
        value = graph.tensors[op.inputs[1]] if assigns else None
        if value is None or value.data is None or op.inputs[0] not in handles:
            raise ModelError(
                f"{op.kind}, operator {op.index} of a graph that CALL_ONCE runs, supported: ASSIGN_VARIABLE "
                "of values stored in the file"
            )
        found[handles[op.inputs[0]]] = value
    return found


def _options(operator: Any) -> dict[str, Any]:
    """Every scalar and name of an operator's options table, by the schema's name."""
    name = _names("BuiltinOptions").get(int(operator.BuiltinOptionsType()))
    table = operator.BuiltinOptions()
    if table is None or name is None or name == "NONE" or not hasattr(tflite, name):
        return {}
    options = getattr(tflite, name)()
    options.Init(table.Bytes, table.Pos)
    return {field: getattr(options, field)() for field in _scalars(name)}


@cache
def _scalars(options: str) -> tuple[str, ...]:
    """Fields of the options class of that name whose getter takes no argument and reads one number."""
    skipped = ("GetRootAs", "BufferHasIdentifier")
    endings = ("Length", "AsNumpy", "IsNone", "BufferHasIdentifier")
    found = []
    for name, method in vars(getattr(tflite, options)).items():
        if (
            name == "Init"
            or name.startswith(("_", *skipped))
            or name.endswith(endings)
            or not callable(method)
        ):
            continue
        if method.__code__.co_argcount == 1 and "__vector" not in name:
            found.append(name)
    return tuple(found)


@cache
def _names(enumeration: str) -> dict[int, str]:
    """Name of every number of a schema enumeration."""
    return {
        value: name for name, value in vars(getattr(tflite, enumeration)).items() if isinstance(value, int)
    }


def _text(value: bytes | None) -> str:
    return "" if value is None else value.decode("utf-8", errors="replace")


def _product(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total
