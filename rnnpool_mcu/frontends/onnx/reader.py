"""Reading an .onnx protobuf into plain values; nothing in the file is trusted.

The weights of a large model may lie in a file beside it; they are read only from the model's own folder.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped]
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.file_size import check_file_size
from rnnpool_mcu.frontends.onnx.forms.domains import STANDARD as STANDARD
from rnnpool_mcu.frontends.onnx.forms.modern import modernized, opset_of

MAX_FILE_BYTES = 64 << 20
"""Far more than the flash of any Cortex-M4, so that nobody waits for a model that cannot fit."""
MAX_RANK = 8
_DAMAGED = (ValueError, TypeError, OverflowError, KeyError, IndexError, AttributeError, NotImplementedError)


@dataclass(frozen=True, eq=False)
class OnnxInput:
    """An input of the model; a side of -1 is not fixed."""

    name: str
    dtype: str  # the protobuf's name: FLOAT, UINT8, INT8, ...
    shape: tuple[int, ...]


@dataclass(frozen=True, eq=False)
class OnnxNode:
    """One operator of the file; tensors by name, "" for an absent optional one."""

    index: int
    kind: str  # Conv
    domain: str  # "" is ONNX's own
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]

    def __str__(self) -> str:
        """Kind, index and tensors, for messages."""
        kind = self.kind if self.domain in STANDARD else f"{self.domain}.{self.kind}"
        given, made = _quoted(self.inputs), _quoted(self.outputs)
        return f"{kind}, operator {self.index} ({given} -> {made})"

    def integer(self, name: str, default: int) -> int:
        """An integer attribute; ModelError where it is something else."""
        value = self.attributes.get(name, default)
        if not isinstance(value, int):
            raise ModelError(f"attribute {name} is {value!r}, allowed: an integer; the file is damaged")
        return value

    def real(self, name: str, default: float) -> float:
        """A finite float attribute; ModelError where it is something else."""
        value = self.attributes.get(name, default)
        if not isinstance(value, (int, float)) or not np.isfinite(value):
            raise ModelError(f"attribute {name} is {value!r}, allowed: a finite number; the file is damaged")
        return float(value)

    def integers(self, name: str, default: Sequence[int]) -> list[int]:
        """A list attribute; ModelError where it is something else."""
        value = self.attributes.get(name, default)
        if not isinstance(value, (list, tuple)) or not all(isinstance(item, int) for item in value):
            raise ModelError(f"attribute {name} is {value!r}, allowed: integers; the file is damaged")
        return list(value)

    def text(self, name: str, default: str) -> str:
        """A string attribute; ModelError where it is something else."""
        value = self.attributes.get(name, default)
        if isinstance(value, bytes):
            value = value.decode("utf-8", errors="replace")
        if not isinstance(value, str):
            raise ModelError(f"attribute {name} is {value!r}, allowed: a string; the file is damaged")
        return value


@dataclass(frozen=True, eq=False)
class OnnxModel:
    """A file's main graph."""

    nodes: tuple[OnnxNode, ...]  # in execution order
    inputs: tuple[OnnxInput, ...]
    outputs: tuple[str, ...]
    constants: Mapping[str, NDArray[Any]]
    opset: int
    declared: Mapping[str, tuple[int, ...]]  # of outputs, as the file tells them
    proto: Any  # the same as a protobuf, its weights inside


def read_onnx(path: Path, sides: Sequence[int] | None = None) -> OnnxModel:
    """Read an .onnx file; ModelError when it is damaged, too large, or its weights are missing.

    `sides` are those of the input, where the file leaves some open.
    """
    check_file_size(path, MAX_FILE_BYTES)
    return parse_onnx(path.read_bytes(), str(path), path.parent, sides)


def parse_onnx(
    data: bytes, where: str, folder: Path | None = None, sides: Sequence[int] | None = None
) -> OnnxModel:
    """Read the bytes of an .onnx file; `where` names it in messages, `folder` holds its external weights."""
    try:
        model = onnx.ModelProto.FromString(data)
    except DecodeError as error:
        raise ModelError(f"{where}: is no ONNX file, or damaged; copy or export the file again") from error
    if not model.graph.node:
        raise ModelError(f"{where}: is no ONNX file, or has no operators; export the model again")
    try:
        _settle_external_data(model.graph, folder)
        return _parsed(modernized(model, sides))
    except ModelError as error:
        raise ModelError(f"{where}: {error}") from error
    except _DAMAGED as error:
        raise ModelError(f"{where}: damaged ({error}); copy or export the file again") from error


def _parsed(model: Any) -> OnnxModel:
    graph = model.graph
    if graph.sparse_initializer:
        raise ModelError("sparse weights, supported: dense; export without sparse weights")
    for what, values in (("input", graph.input), ("initializer", graph.initializer)):
        counts = Counter(_text(value.name) for value in values)
        if twice := [name for name, count in counts.items() if count > 1]:
            raise ModelError(f"{what} '{twice[0]}' stands there twice, expected once; the file is damaged")
    constants = {_text(tensor.name): array_of(tensor) for tensor in graph.initializer}
    nodes = []
    for index, node in enumerate(graph.node):
        attributes = {
            _text(attribute.name): onnx.helper.get_attribute_value(attribute) for attribute in node.attribute
        }
        made = OnnxNode(
            index,
            _text(node.op_type),
            _text(node.domain),
            tuple(map(_text, node.input)),
            tuple(map(_text, node.output)),
            attributes,
        )
        if made.kind == "Constant" and made.domain in STANDARD and len(made.outputs) == 1:
            constants[made.outputs[0]] = _constant(made)
        else:
            nodes.append(made)
    inputs = tuple(_input(value) for value in graph.input if _text(value.name) not in constants)
    declared = {_text(v.name): sides for v in graph.output if (sides := sides_of(v)) is not None}
    outputs = tuple(_text(value.name) for value in graph.output)
    return OnnxModel(tuple(nodes), inputs, outputs, constants, opset_of(model), declared, model)


def sides_of(value: Any) -> tuple[int, ...] | None:
    """Sides of a tensor, -1 where one is not fixed; None where nothing is told."""
    kind = value.type.tensor_type
    if not value.type.HasField("tensor_type") or not kind.HasField("shape"):
        return None
    return tuple(int(d.dim_value) if d.HasField("dim_value") else -1 for d in kind.shape.dim)


def _constant(node: OnnxNode) -> NDArray[Any]:
    """Values of a Constant operator."""
    for name, value in node.attributes.items():
        if name == "value" and isinstance(value, onnx.TensorProto):
            return array_of(value)
        if name in ("value_int", "value_ints"):
            return np.array(value, np.int64)
        if name in ("value_float", "value_floats"):
            return np.array(value, np.float32)
    raise ModelError(f"{node}: holds no numbers, supported: a dense tensor; fold it before export")


def _input(value: Any) -> OnnxInput:
    kind, sides = value.type.tensor_type, sides_of(value)
    if sides is None:
        raise ModelError(f"input '{value.name}' has no shape; export it with a fixed input size")
    return OnnxInput(_text(value.name), onnx.TensorProto.DataType.Name(kind.elem_type), sides)


def _settle_external_data(graph: Any, folder: Path | None) -> None:
    """Put the values of tensors that lie in files beside the model into it."""
    constants = (a.t for node in graph.node for a in node.attribute if a.HasField("t"))
    for tensor in (*graph.initializer, *constants):
        if tensor.data_location == onnx.TensorProto.EXTERNAL:
            tensor.CopyFrom(_with_external_data(tensor, folder))


def array_of(tensor: Any) -> NDArray[Any]:
    """The values of a stored tensor; ModelError where they are missing or do not fit its shape."""
    dims = tuple(int(side) for side in tensor.dims)
    if len(dims) > MAX_RANK or any(side < 0 for side in dims):
        raise ModelError(f"tensor '{tensor.name}' of shape {list(dims)}; the file is damaged")
    if tensor.data_type == onnx.TensorProto.STRING:
        raise ModelError(f"tensor '{tensor.name}' holds strings, supported: numbers")
    try:
        array = np.asarray(onnx.numpy_helper.to_array(tensor))
    except _DAMAGED as error:
        raise ModelError(f"tensor '{tensor.name}': damaged ({error}); export the file again") from error
    if array.shape != dims:
        raise ModelError(f"tensor '{tensor.name}': {array.shape}, told: {dims}; the file is damaged")
    return array


def _with_external_data(tensor: Any, folder: Path | None) -> Any:
    """A copy of the tensor with the bytes of the file beside the model."""
    told = {_text(entry.key): _text(entry.value) for entry in tensor.external_data}
    name = told.get("location", "")
    if folder is None or not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise ModelError(
            f"tensor '{tensor.name}': its values are in '{name}', allowed: a file in the model's own folder"
        )
    path = folder / name
    if not path.is_file():
        raise ModelError(
            f"tensor '{tensor.name}': its values are in '{path}', which is missing; copy it there, or save "
            "the model with its weights inside: onnx.save(model, path, save_as_external_data=False)"
        )
    offset, size = int(told.get("offset", "0")), path.stat().st_size
    length = int(told.get("length", str(size - offset)))
    if offset < 0 or length < 0 or offset + length > size or length > MAX_FILE_BYTES:
        raise ModelError(
            f"tensor '{tensor.name}': bytes {offset}..{offset + length} of '{path}', which has {size}, "
            f"allowed: at most {MAX_FILE_BYTES:,} within it; copy the file again"
        )
    found = onnx.TensorProto()
    found.CopyFrom(tensor)
    with path.open("rb") as file:
        file.seek(offset)
        found.raw_data = file.read(length)
    found.data_location = onnx.TensorProto.DEFAULT
    del found.external_data[:]
    return found


def _text(value: str | bytes) -> str:
    """A name; the protobuf gives bytes where it is no UTF-8."""
    return value.decode("utf-8", errors="replace") if isinstance(value, bytes) else value


def _quoted(names: Sequence[str]) -> str:
    return ", ".join(f"'{name}'" for name in names[:4] if name) or "nothing"
