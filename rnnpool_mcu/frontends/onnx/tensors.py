"""The tensors of an ONNX model that were walked so far: computed values, stored numbers, stored integers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.builder import INPUT_NAME, Builder
from rnnpool_mcu.frontends.channels_first import Shape, image_shape
from rnnpool_mcu.frontends.node_names import free_name, input_names
from rnnpool_mcu.frontends.onnx.call import (
    HOW_TO_QUANTIZE,
    Given,
    QuantizedConstant,
    QuantizedTensor,
)
from rnnpool_mcu.frontends.onnx.checks import DEQUANTIZE, QUANTIZE, input_shape, node_names
from rnnpool_mcu.frontends.onnx.consumers import Readers
from rnnpool_mcu.frontends.onnx.edges import edge_quantization
from rnnpool_mcu.frontends.onnx.reader import OnnxModel, OnnxNode
from rnnpool_mcu.frontends.quantized_layers import tensor_type
from rnnpool_mcu.frontends.values import Value
from rnnpool_mcu.ir.graph import Node
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.transpose import Transpose

_TO_FIRST = [0, 3, 1, 2]


class Tensors(Builder):
    """Values by the name of their tensor, and the integer graph that is made of them."""

    def __init__(self, model: OnnxModel, last: frozenset[str] = frozenset()) -> None:
        """Nothing computed so far; inputs in `last` are [1, height, width, channels]."""
        super().__init__()
        self.integers: dict[str, QuantizedTensor] = {}  # of each value of the graph
        self._input_integers: dict[str, QuantizedTensor] = {}  # of inputs that the file quantizes
        self.values: dict[str, Value] = {}
        self.integer_names: set[str] = set()  # tensors of the file that are integers themselves
        self.constants: dict[str, NDArray[Any]] = dict(model.constants)
        self.weights: dict[str, QuantizedConstant] = {}
        self.readers = Readers(model, self.constants, self.weights)
        self._last_inputs = last
        self.channels_last: set[str] = set()  # inputs of the graph that are [1, height, width, channels]
        if not model.inputs:
            raise ModelError("0 inputs, allowed: 1 and more; export the model again")
        self._inputs = {value.name: value for value in model.inputs}
        self.inputs = input_names(list(self._inputs), INPUT_NAME)
        self._input_names = dict(zip(self._inputs, self.inputs, strict=True))
        self._input_shapes = {name: input_shape(value) for name, value in self._inputs.items()}
        self._names = node_names(model, self.inputs)

    @property
    def shapes(self) -> Mapping[str, Shape]:
        """Shape of every computed tensor, as ONNX has it."""
        return {name: value.shape for name, value in self.values.items()}

    def settle(self, tensor: str, value: Value, *, integers: bool = False) -> None:
        """A tensor's value, and whether it is the integers themselves."""
        self.values[tensor] = value
        if integers:
            self.integer_names.add(tensor)

    def note_integers(self, value: Value, tensor: str, offset: int) -> None:
        """The integer tensor of the file that a value is, unless one is known."""
        known = self._input_integers if value.name in self.inputs else self.integers
        known.setdefault(value.name, QuantizedTensor(tensor, offset, value.last))

    def given(self, node: OnnxNode) -> Given:
        """The node with what is stored so far."""
        return Given.of(node, self.constants, self.weights)

    def holds(self, name: str) -> bool:
        """Whether a tensor was made or stored."""
        return name in self.values or name in self.constants or name in self.weights

    def computed(self, node: OnnxNode, position: int) -> Value:
        """A computed operand, perhaps a function."""
        name = node.inputs[position]
        if self.is_input(name) and name not in self.values:
            edge = self.readers.behind_views(name)
            if edge is not None:
                self.take_input(name, *edge_quantization(edge, self.constants))
        if name not in self.values:
            kind = "stored in the file" if self.holds(name) else "made by no operator before it"
            raise ModelError(f"input {position} ('{name}') is {kind}, a computed, quantized one is needed")
        return self.values[name]

    def checked(self, tensor: str) -> Value:
        """A computed tensor with a quantization of its own."""
        if tensor not in self.values:
            problem = "has no quantization" if self.is_input(tensor) else "is not computed"
            raise ModelError(f"'{tensor}' {problem}; {HOW_TO_QUANTIZE}")
        value = self.values[tensor]
        if value.function is not None:
            raise ModelError(f"its input '{tensor}' has no quantization; {HOW_TO_QUANTIZE}")
        return value

    def plain(self, value: Value) -> str:
        """Name of a value in the order that its ONNX shape stands for."""
        name = super().plain(value)
        same = self._input_integers if value.name in self.inputs else self.integers
        known = same.get(value.name)
        if known is not None and name != value.name and not (value.last or known.last):  # the same order
            self.integers.setdefault(name, known)
        return name

    def rows(self, value: Value) -> str:
        """Name of a value in the order of the file, whose last axis becomes the channels; of rank 3 or 4."""
        height, width, channels = value.shape[1], 1, value.shape[-1]
        if len(value.shape) == 4:
            width = value.shape[2]
        name = value.name
        if not value.last:
            name = self.copied(self.plain(value), Transpose((2, 0, 1)))
        if self.types[name].shape != (height, width, channels):
            name = self.copied(name, Reshape((height, width, channels)))
        return name

    def in_order(self, value: Value) -> str:
        """Name of an output: a value in the order of the file where this costs nothing, else in ours."""
        return value.name if value.last or self.types[value.name].channels == 1 else self.plain(value)

    def name_of(self, tensor: str) -> str:
        """The graph's name for what an operator of the file computes."""
        return self._names[tensor]

    def chain(
        self, made: str, ops: Operator | Sequence[Operator], inputs: tuple[str, ...], source: str
    ) -> str:
        """Append operators one behind the other; the last one computes tensor `made`."""
        *before, last = [ops] if isinstance(ops, Operator) else ops
        for op in before:
            name = free_name(f"{self._names[made]}_before", self.types)
            self.append(Node(name, op, inputs))
            inputs = (name,)
        return self.add(made, last, inputs, source)

    def add(self, made: str, op: Operator, inputs: tuple[str, ...], source: str = "") -> str:
        """Append what computes tensor `made`; `source` names it in the file where another one does."""
        name = free_name(self._names[made], self.types)
        self.append(Node(name, op, inputs), source or made)
        return name

    def requantized(self, value: Value, tensor: str, quantization: Quantization) -> Value:
        """A function of a value, or the value itself, at another quantization."""
        name = self._names.get(tensor, value.name)
        name = free_name(name if value.function is not None else f"{name}_requantized", self.types)
        self.append(Node(name, self.table(value, quantization), (value.name,)), tensor)
        return Value(name, value.shape, last=value.last)

    def detections(self, made: str, op: Operator, inputs: tuple[str, ...]) -> str:
        """Append what makes a detector's boxes, which are no tensor."""
        name = free_name(self._names[made], self.types)
        op.infer_type(tuple(self.types[given] for given in inputs))
        self.nodes.append(Node(name, op, inputs))
        self.sources[name] = name
        return name

    def is_input(self, tensor: str) -> bool:
        """Whether a tensor is an input of the model."""
        return tensor in self._inputs

    def input_dtype(self, tensor: str) -> str:
        """The type of an input of the model, in the schema's words."""
        return self._inputs[tensor].dtype

    def check_inputs(self) -> None:
        """ModelError for an input that no operator has read."""
        for tensor, name in self._input_names.items():
            if name not in self.types:
                which = "the model's input" if len(self._inputs) == 1 else f"the input '{tensor}'"
                raise ModelError(f"no operator reads {which}; export the model again")

    def take_input(self, name: str, quantization: Quantization, dtype: str) -> Value:
        """An input of the graph; its channels are last where one reader of it puts them first."""
        given, shape = self._input_names[name], self._input_shapes[name]
        behind, found = [name], []
        while behind:
            for reader in self.readers.of(behind.pop()):
                found.append(reader)
                if reader.kind in (QUANTIZE, DEQUANTIZE):
                    behind += reader.outputs[:1]
        turned = any(node.kind == "Transpose" and node.attributes.get("perm") == _TO_FIRST for node in found)
        last = (turned or name in self._last_inputs) and len(shape) == 4
        order = (shape[0], shape[3], shape[1], shape[2]) if last else shape
        self.channels_last.update([given] if last else [])
        self.types[given] = tensor_type(image_shape(name, order), quantization)
        self.sources[given] = name
        self.integers[given] = QuantizedTensor(name, 128 if dtype == "uint8" else 0)
        value = Value(given, shape, last=last)
        self.settle(name, value, integers=self.input_dtype(name) in ("INT8", "UINT8"))
        return value
