"""Frontend of quantized .onnx files (QDQ): what stands between DequantizeLinear and QuantizeLinear becomes
one integer node.

Activations are int8, or uint8 less 128. Tensors are [1, channels, height, width] in the file and height x
width x channels in the graph; a flattened map keeps its order, and the weights that read it are put into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.channels_first import image_shape, reordered, transposed
from rnnpool_mcu.frontends.onnx.call import (
    HOW_TO_QUANTIZE,
    Call,
    Converter,
    QuantizedConstant,
    QuantizedTensor,
    onnx_shape,
    quantization_from,
)
from rnnpool_mcu.frontends.onnx.checks import (
    DEQUANTIZE,
    INPUT_NAME,
    QUANTIZE,
    check_precision,
    free_name,
    input_shape,
    node_names,
)
from rnnpool_mcu.frontends.onnx.consumers import Readers
from rnnpool_mcu.frontends.onnx.converters import CONVERTERS
from rnnpool_mcu.frontends.onnx.domain.converters import OWN_CONVERTERS, decode_of, is_decode
from rnnpool_mcu.frontends.onnx.edges import (
    dequantized_constant,
    edge_parameters,
    edge_quantization,
    quantized_constant,
)
from rnnpool_mcu.frontends.onnx.folding import folded, is_foldable
from rnnpool_mcu.frontends.onnx.functions import FUNCTIONS, ONE_NUMBER, PAIRS, Value, composed, paired
from rnnpool_mcu.frontends.onnx.known import check_known, unsupported
from rnnpool_mcu.frontends.onnx.reader import STANDARD, OnnxModel, OnnxNode
from rnnpool_mcu.frontends.onnx.views import VIEWS, view_shape
from rnnpool_mcu.frontends.problems import Problem, refusal
from rnnpool_mcu.frontends.quantized_layers import tensor_type
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ir.verify import verify_graph
from rnnpool_mcu.ops.broadcast import Broadcast
from rnnpool_mcu.ops.lookup import Lookup, requantize


@dataclass(frozen=True, eq=False)
class ImportedOnnx:
    """An integer graph; of its values the integer tensors and the names in the file."""

    graph: Graph
    tensors: Mapping[str, QuantizedTensor]
    sources: Mapping[str, str]
    channels_last: bool  # the file's input is [1, height, width, channels]


def convert_onnx(model: OnnxModel, own: Mapping[str, Converter] = OWN_CONVERTERS) -> ImportedOnnx:
    """Integer graph of a model that was read; `own` are the converters of our domain."""
    check_precision(model)
    walk = _Walk(model, own)
    for node in model.nodes:
        walk.visit(node)
    if walk.problems:
        raise refusal(walk.problems)
    outputs = walk.outputs()
    if INPUT_NAME not in walk.types:
        raise ModelError("no operator reads the model's input; export the model again")
    graph = Graph(INPUT_NAME, walk.types[INPUT_NAME], tuple(walk.nodes), outputs)
    verify_graph(graph)
    return ImportedOnnx(graph, walk.tensors, walk.sources, walk.channels_last)


class _Walk:
    """One pass over the nodes in execution order."""

    def __init__(self, model: OnnxModel, own: Mapping[str, Converter]) -> None:
        self.nodes: list[Node] = []
        self.types: dict[str, TensorType] = {}
        self.tensors: dict[str, QuantizedTensor] = {}
        self.sources: dict[str, str] = {}
        self.channels_last = False
        self.problems: list[Problem] = []
        self._unknown: set[str] = set()  # tensors that an operator with a problem would have made
        self._model, self._own = model, own
        self._detections: dict[str, str] = {}  # boxes of a detector: tensor -> node
        self._constants: dict[str, NDArray[Any]] = dict(model.constants)
        self._weights: dict[str, QuantizedConstant] = {}
        self._values: dict[str, Value] = {}
        self._readers = Readers(model, self._constants)
        self._names = node_names(model)
        self._input_shape = input_shape(model)

    def outputs(self) -> tuple[str, ...]:
        """The graph's outputs in the file's order, each once; flattened maps are put in ONNX's order."""
        found = []
        for name in self._model.outputs:
            if name in self._detections:
                found.append(self._detections[name])
                continue
            if name not in self._values:
                raise ModelError(f"output '{name}' is made by no operator that computes")
            found.append(self._plain(name))
        if INPUT_NAME in found:
            raise ModelError("an output is the model's input itself, allowed: results of operators")
        return tuple(dict.fromkeys(found))

    def visit(self, node: OnnxNode) -> None:
        """Take one node; where that is not possible it is noted, and what reads it is only looked at."""
        if node.index in self._readers.folded:
            return
        try:
            check_known(node)
            if self._unknown.isdisjoint(node.inputs):
                self._take(node)
            else:
                self._unknown.update(node.outputs)
        except (ModelError, ValueError, OverflowError, IndexError, MemoryError) as error:
            self.problems.append(Problem(str(node), str(error)))
            self._unknown.update(node.outputs)

    def _take(self, node: OnnxNode) -> None:
        if not node.outputs or not node.inputs:
            raise ModelError("it has no input or output; the file is damaged")
        for name in node.outputs:
            if name in self._values or name in self._constants or name in self._weights:
                raise ModelError(f"'{name}' is made twice; the file is damaged")
        if is_foldable(node, self._constants, {name: v.shape for name, v in self._values.items()}):
            shapes = {name: value.shape for name, value in self._values.items()}
            self._constants[node.outputs[0]] = folded(node, self._constants, shapes)
        elif node.kind == QUANTIZE:
            self._quantize(node)
        elif node.kind == DEQUANTIZE:
            self._dequantize(node)
        elif is_decode(node):
            self._decode(node)
        elif node.kind in VIEWS:
            self._view(node)
        elif (value := self._function(node)) is not None:
            self._values[node.outputs[0]] = value
        else:
            self._convert(node)

    def _take_input(self, quantization: Quantization, dtype: str) -> Value:
        """The graph's input, in the order of a transpose to channels first that reads nothing else."""
        name, last = self._model.inputs[0].name, self._model.inputs[0].name
        while len(readers := self._readers.of(last)) == 1 and readers[0].kind in (QUANTIZE, DEQUANTIZE):
            last = readers[0].outputs[0] if readers[0].outputs else ""
        order = readers[0].attributes.get("perm") if len(readers) == 1 else None
        self.channels_last = bool(readers) and readers[0].kind == "Transpose" and order == [0, 3, 1, 2]
        shape = self._input_shape
        if self.channels_last and len(shape) == 4:
            shape = (shape[0], shape[3], shape[1], shape[2])
        self.types[INPUT_NAME] = tensor_type(image_shape(name, shape), quantization)
        self.sources[INPUT_NAME] = name
        self.tensors[INPUT_NAME] = QuantizedTensor(name, 128 if dtype == "uint8" else 0)
        return Value(INPUT_NAME, shape)

    # quantize and dequantize

    def _quantize(self, node: OnnxNode) -> None:
        given, made = node.inputs[0], node.outputs[0]
        if given in self._constants:
            self._constants[made] = quantized_constant(node, self._constants)
            return
        quantization, dtype = edge_quantization(node, self._constants)
        if given == self._model.inputs[0].name and given not in self._values:
            self._values[given] = self._take_input(quantization, dtype)
        if given not in self._values:
            raise ModelError(f"'{given}' is made by no operator before it")
        value = self._values[given]
        before = self.types[value.name].quantization
        if value.function is not None or before != quantization:
            value = self._table(value, given, quantization)
        self._values[made] = value
        if value.name != INPUT_NAME:
            self.tensors.setdefault(value.name, QuantizedTensor(made, 128 if dtype == "uint8" else 0))

    def _table(self, value: Value, tensor: str, quantization: Quantization) -> Value:
        """A function of a value, or the value itself, at another quantization."""
        before = self.types[value.name].quantization
        if value.function is None:
            op = requantize(before, quantization)
            name = free_name(f"{self._names.get(tensor, value.name)}_requantized", self.types)
        else:
            with np.errstate(all="ignore"):
                op = Lookup.of(value.function, before, quantization, value.label)
            name = free_name(self._names[tensor], self.types)
        self._append(Node(name, op, (value.name,)), tensor)
        return Value(name, value.shape)

    def _dequantize(self, node: OnnxNode) -> None:
        given, made = node.inputs[0], node.outputs[0]
        if given in self._constants:
            self._weights[made] = dequantized_constant(node, self._constants)
            return
        scale, zero = edge_parameters(node, self._constants)
        dtype = str(zero.dtype) if zero is not None else "uint8"
        if given == self._model.inputs[0].name and given not in self._values:
            dtype = self._model.inputs[0].dtype.lower()
            self._values[given] = self._take_input(quantization_from(scale, zero, dtype), dtype)
        value = self._values.get(given)
        if value is None or value.function is not None:
            raise ModelError(f"'{given}' is made by no QuantizeLinear before it")
        if zero is None and self.tensors.get(value.name, QuantizedTensor("", 0)).offset == 0:
            dtype = "int8"
        if quantization_from(scale, zero, dtype) != self.types[value.name].quantization:
            raise ModelError(f"its scale or zero point is not that of the QuantizeLinear that made '{given}'")
        self._values[made] = value

    # views and functions

    def _view(self, node: OnnxNode) -> None:
        """The same values in another shape or order."""
        value = self._computed(node, 0)
        if node.kind == "Transpose":
            made = self._transposed(node, value)
        else:
            made = replace(value, shape=view_shape(node, value.shape, self._constants))
        self._values[node.outputs[0]] = made

    def _transposed(self, node: OnnxNode, value: Value) -> Value:
        if value.name == INPUT_NAME and self.channels_last:
            return value
        if value.function is not None:
            raise ModelError(f"its input '{node.inputs[0]}' has no quantization; {HOW_TO_QUANTIZE}")
        kind, order = self.types[value.name], node.integers("perm", range(len(value.shape))[::-1])
        shape, op = transposed(order, value.shape, kind)
        if op is None:
            return replace(value, shape=shape)
        shuffles = len(value.shape) > 4
        source = value.name if shuffles else self._plain(node.inputs[0])
        name = free_name(self._names[node.outputs[0]], self.types)
        self._append(Node(name, op, (source,)), node.outputs[0])
        return Value(name, shape)

    def _function(self, node: OnnxNode) -> Value | None:
        """The node as a function of one value; None where it is none."""
        if node.kind in FUNCTIONS:
            return composed(node, self._computed(node, 0), self._numbers())
        if node.kind not in PAIRS or len(node.inputs) != 2:
            return None
        values = [self._values.get(name) for name in node.inputs]
        numbers = self._numbers(max((len(value.shape) for value in values if value is not None), default=0))
        return paired(node, values, [numbers.get(name) for name in node.inputs])

    def _numbers(self, rank: int = 8) -> dict[str, float]:
        """Stored tensors of a single value, in at most `rank` dimensions."""
        real = {name: weight.real() for name, weight in self._weights.items() if weight.integers.size == 1}
        found = {name: array for name, array in self._constants.items() if array.dtype.kind in "fiu"} | real
        return {
            name: float(np.float32(array.reshape(-1)[0]))  # as runtimes have it: 2, not 2 and a rounding
            for name, array in found.items()
            if array.size == 1 and array.ndim <= rank
        }

    # operators that compute

    def _convert(self, node: OnnxNode) -> None:
        converters = CONVERTERS if node.domain in STANDARD else self._own
        if node.kind in ONE_NUMBER:
            raise ModelError("of two computed tensors, supported: a computed one and one stored number")
        if node.kind not in converters:
            raise unsupported()
        converter = converters[node.kind]
        positions = range(len(node.inputs)) if converter.inputs is None else converter.inputs
        tensors = [
            node.inputs[at] for at in positions if at < len(node.inputs) and not self._stored(node, at)
        ]
        if not tensors:
            raise ModelError("all its inputs are stored in the file, a computed one is needed")
        shapes = tuple(self._checked(name).shape for name in tensors)
        if len({len(shape) for shape in shapes}) > 1:
            raise ModelError(f"inputs {[list(s) for s in shapes]}, supported: of equally many dimensions")
        names = tuple(self._values[n].name if converter.flat else self._plain(n) for n in tensors)
        if converter.broadcast and len(names) > 1:
            names = self._broadcast(names)
        types = tuple(self.types[name] for name in names)
        for result, tensor in enumerate(node.outputs):
            if not tensor:
                continue
            target = self._readers.target(tensor, self._numbers(), clamps=converter.clamps)
            call = Call(
                node,
                types,
                shapes,
                self._constants,
                self._weights,
                target.quantization,
                target.bounds,
                result,
            )
            if target.quantization is None and not converter.keeps:
                _ = call.output  # says what is missing
            name = free_name(self._names[tensor], self.types)
            self._append(Node(name, converter.convert(call), names), target.tensor)
            if converter.indices:
                self.tensors[name] = QuantizedTensor(target.tensor, -self.types[name].zero_point)
            rank = converter.rank(call) if converter.rank else max(map(len, shapes))
            self._values[target.tensor] = Value(name, onnx_shape(self.types[name], rank))

    def _decode(self, node: OnnxNode) -> None:
        """A detector's boxes, which only an output may be."""
        name = free_name(self._names[node.outputs[0]], self.types)
        op, inputs = decode_of(node), tuple(self._plain(tensor) for tensor in node.inputs)
        op.infer_type(tuple(self.types[given] for given in inputs))
        self.nodes.append(Node(name, op, inputs))
        self.sources[name] = self._detections[node.outputs[0]] = name

    def _stored(self, node: OnnxNode, position: int) -> bool:
        name = node.inputs[position]
        return name in self._constants or name in self._weights or not name

    def _computed(self, node: OnnxNode, position: int) -> Value:
        name = node.inputs[position]
        edge = self._readers.behind_views(name) if name == self._model.inputs[0].name else None
        if edge is not None and name not in self._values:
            self._values[name] = self._take_input(*edge_quantization(edge, self._constants))
        if name not in self._values:
            kind = "stored in the file" if self._stored(node, position) else "made by no operator before it"
            raise ModelError(f"input {position} ('{name}') is {kind}, a computed, quantized one is needed")
        return self._values[name]

    def _checked(self, tensor: str) -> Value:
        """A computed tensor with a quantization of its own."""
        if tensor not in self._values:
            problem = "has no quantization" if tensor == self._model.inputs[0].name else "is not computed"
            raise ModelError(f"'{tensor}' {problem}; {HOW_TO_QUANTIZE}")
        value = self._values[tensor]
        if value.function is not None:
            raise ModelError(f"its input '{tensor}' has no quantization; {HOW_TO_QUANTIZE}")
        return value

    def _plain(self, tensor: str) -> str:
        """Name of a value in the order that its ONNX shape stands for."""
        value = self._checked(tensor)
        wanted, name = image_shape(tensor, value.shape), value.name
        for op in reordered(self.types[name], wanted):
            name = self._copied(name, op)
        if value.name in self.tensors:  # the same order of values in the file
            self.tensors.setdefault(name, self.tensors[value.name])
        return name

    def _copied(self, name: str, op: Operator) -> str:
        """Name of a copy of a value by an operator that keeps its quantization, made once."""
        made = op.infer_type((self.types[name],))
        assert isinstance(made, TensorType)
        copy = f"{name}_as_{made}" if not isinstance(op, Broadcast) else f"{name}_times_{made}"
        if copy not in self.types:
            self.types[copy] = made
            self.nodes.append(Node(copy, op, (name,)))
        return copy

    def _broadcast(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The names of values repeated where one has a side of 1 and the other has not."""
        shapes = [self.types[name].shape for name in names]
        height, width, channels = (max(sides) for sides in zip(*shapes, strict=True))
        op = Broadcast((height, width, channels))
        return tuple(
            name if shape == op.shape else self._copied(name, op)
            for name, shape in zip(names, shapes, strict=True)
        )

    def _append(self, node: Node, tensor: str) -> None:
        made = node.op.infer_type(tuple(self.types[name] for name in node.inputs))
        assert isinstance(made, TensorType)
        self.types[node.name] = tensor_type(made.shape, made.quantization)
        self.sources[node.name] = tensor
        self.nodes.append(node)
