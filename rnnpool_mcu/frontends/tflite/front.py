"""Frontend of full-integer .tflite files: their operators become integer nodes one by one.

Tensors keep their quantization, so nothing is calibrated. Views (reshape, squeeze, ..) and the quantize and
dequantize operators at the model's edges only rename values: the C takes and gives int8.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.problems import Problem, refusal
from rnnpool_mcu.frontends.quantized_layers import tensor_type
from rnnpool_mcu.frontends.tflite.arithmetic import requantize_as_interpreter
from rnnpool_mcu.frontends.tflite.call import HOW_TO_QUANTIZE, Call, int8_quantization
from rnnpool_mcu.frontends.tflite.checks import EDGES, VIEWS, check_known, check_precision
from rnnpool_mcu.frontends.tflite.converters import CONVERTERS
from rnnpool_mcu.frontends.tflite.detections import CUSTOM, post_process
from rnnpool_mcu.frontends.tflite.dilation import merge_dilated
from rnnpool_mcu.frontends.tflite.folding import folded, is_shape_arithmetic, with_tensor
from rnnpool_mcu.frontends.tflite.reader import StoredModel, StoredOperator, StoredTensor, read_tflite
from rnnpool_mcu.frontends.tflite.shapes import (
    elements,
    image_axes,
    image_shape,
    node_names,
    rank_fits,
    shifted,
    squeezed,
    where,
)
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ir.verify import verify_graph
from rnnpool_mcu.ops.broadcast import Broadcast
from rnnpool_mcu.ops.channel_shuffle import ChannelShuffle
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.transpose import Transpose

INPUT_NAME = "input"


@dataclass(frozen=True, eq=False)
class ImportedTflite:
    """An integer graph and, for every value of it, the index and name of the tensor it was."""

    graph: Graph
    indices: Mapping[str, int]
    sources: Mapping[str, str]


def import_tflite(path: Path) -> ImportedTflite:
    """Integer graph of a full-integer .tflite file; ModelError names the operator that cannot be taken."""
    try:
        return convert_tflite(read_tflite(path))
    except ModelError as error:
        raise error if str(path) in str(error) else ModelError(f"{path}: {error}") from error


def convert_tflite(model: StoredModel) -> ImportedTflite:
    """Integer graph of a model that was read."""
    check_precision(model)
    model = merge_dilated(model)
    walk = _Walk(model)
    for op in model.operators:
        walk.visit(op)
    if walk.problems:
        raise refusal(walk.problems)
    graph = Graph(INPUT_NAME, walk.input_type, tuple(walk.nodes), walk.outputs())
    verify_graph(graph)
    names = {name: model.tensors[index].name for name, index in walk.indices.items()}
    return ImportedTflite(graph, walk.indices, names)


@dataclass(frozen=True)
class _Value:
    """A tensor as a value of the graph, in the shape its readers see."""

    name: str
    shape: tuple[int, ...]


class _Walk:
    """One pass over the operators in execution order."""

    def __init__(self, model: StoredModel) -> None:
        self.nodes: list[Node] = []
        self.problems: list[Problem] = []
        self.indices: dict[str, int] = {}
        self._model = model
        self._values: dict[int, _Value] = {}
        self._names = node_names(model, taken=(INPUT_NAME,))
        self._types: dict[str, TensorType] = {}
        self._unknown: set[int] = set()  # tensors that an operator with a problem would have made
        self._take_input()

    @property
    def input_type(self) -> TensorType:
        """Type of the image input."""
        return self._types[INPUT_NAME]

    def outputs(self) -> tuple[str, ...]:
        """The graph's outputs in the file's order, each once."""
        found = []
        for index in self._model.outputs:
            if index not in self._values:
                raise ModelError(f"output '{self._model.tensors[index].name}' is made by no operator")
            found.append(self._values[index].name)
        if INPUT_NAME in found:
            raise ModelError("an output is the model's input itself, allowed: results of operators")
        return tuple(dict.fromkeys(found))

    def visit(self, op: StoredOperator) -> None:
        """Take one operator; where that is not possible it is noted, and its results are as the file says."""
        try:
            self._take(op)
        except (ModelError, ValueError, OverflowError) as error:
            self.problems.append(Problem(where(op, self._model), str(error)))
            self._assume_outputs(op)

    def _take(self, op: StoredOperator) -> None:
        """Take one operator, unless it reads what could not be made."""
        if is_shape_arithmetic(self._model, op):
            self._model = folded(self._model, op)
            return
        check_known(op)
        if not self._unknown.isdisjoint(op.inputs):
            self._assume_outputs(op)
            return
        if op.custom:
            self._detections(op)
        elif op.kind in VIEWS:
            self._view(op)
        elif op.kind in EDGES:
            self._edge(op)
        else:
            self._convert(op)

    def _assume_outputs(self, op: StoredOperator) -> None:
        """Results of an operator that was not taken, so that the operators behind it can be looked at."""
        for index in op.outputs:
            tensor = self._model.tensors[index]
            try:
                kind = tensor_type(image_shape(tensor, tensor.shape), int8_quantization(tensor))
            except (ModelError, ValueError, OverflowError):
                self._unknown.add(index)
                continue
            self._types[self._names[index]] = kind
            self._values[index] = _Value(self._names[index], tensor.shape)

    def _take_input(self) -> None:
        """The model's one input: int8, or what a quantize operator makes of it."""
        model = self._model
        if len(model.inputs) != 1:
            names = ", ".join(f"'{model.tensors[i].name}'" for i in model.inputs)
            raise ModelError(f"{len(model.inputs)} inputs ({names}), supported: 1; split the model")
        tensor = model.tensors[model.inputs[0]]
        if tensor.dtype not in ("INT8", "UINT8", "FLOAT32"):
            raise ModelError(f"input '{tensor.name}' is {tensor.dtype}, supported: INT8; {HOW_TO_QUANTIZE}")
        readers = self._readers(tensor.index)
        if tensor.dtype == "INT8":
            self._set_input(tensor, int8_quantization(tensor), tensor.index)
            return
        if [op.kind for op in readers] != ["QUANTIZE"] or len(readers[0].outputs) != 1:
            raise ModelError(
                f"input '{tensor.name}' is {tensor.dtype} and not quantized first; {HOW_TO_QUANTIZE}"
            )
        made = model.tensors[readers[0].outputs[0]]
        quantization = int8_quantization(made)
        if tensor.dtype == "UINT8":
            quantization = shifted(tensor)  # a byte b enters as b - 128
        self._set_input(tensor, quantization, made.index)

    def _set_input(self, tensor: StoredTensor, quantization: Quantization, index: int) -> None:
        """The type of the input; in the shape of a view, where that is all that reads it."""
        shape, last = tensor.shape, tensor.index
        while len(readers := self._readers(last)) == 1 and readers[0].kind in ("QUANTIZE", *VIEWS):
            if readers[0].kind == "TRANSPOSE" or len(readers[0].outputs) != 1:
                break
            last = readers[0].outputs[0]
            shape = self._model.tensors[last].shape if rank_fits(self._model.tensors[last]) else shape
        self._types[INPUT_NAME] = tensor_type(image_shape(tensor, shape), quantization)
        self._values[tensor.index] = _Value(INPUT_NAME, tensor.shape)
        self.indices[INPUT_NAME] = index

    def _readers(self, index: int) -> list[StoredOperator]:
        return [op for op in self._model.operators if index in op.inputs]

    def _convert(self, op: StoredOperator) -> None:
        converter = CONVERTERS[op.kind]
        if not op.outputs:
            raise ModelError("it has no output; the file is damaged")
        positions = range(len(op.inputs)) if converter.inputs is None else converter.inputs
        names = tuple(
            self._read(op, at) for at in positions if not (converter.constants and self._stored(op, at))
        )
        if not names:
            raise ModelError(
                "all its inputs are stored in the file, a computed one is needed; fold it before export"
            )
        if converter.broadcast:
            names = self._broadcast(names)
        types = tuple(self._types[name] for name in names)
        for result, index in enumerate(op.outputs):
            call = Call(self._model, op, types, result)
            node = Node(self._names[index], converter.convert(call), names)
            self._add(index, node, reshapes=converter.reshapes)

    def _detections(self, op: StoredOperator) -> None:
        """The post-processing at a detector's end: one value for all of its outputs."""
        if not op.outputs or any(self._readers(index) for index in op.outputs):
            raise ModelError("its boxes are read by another operator, supported: outputs of the model")
        names = self._read(op, 0), self._read(op, 1)
        boxes, scores = (self._types[name] for name in names)
        made = post_process(self._model, op, boxes, scores, self.input_type)
        made.infer_type((boxes, scores))
        node = Node(self._names[op.outputs[0]], made, names)
        self.nodes.append(node)
        self.indices[node.name] = op.outputs[0]
        self._values |= {index: _Value(node.name, ()) for index in op.outputs}

    def _broadcast(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The names of values repeated where one has a side of 1 and the other has not."""
        shapes = [self._types[name].shape for name in names]
        height, width, channels = (max(sides) for sides in zip(*shapes, strict=True))
        found = []
        for name, shape in zip(names, shapes, strict=True):
            if shape == (height, width, channels):
                found.append(name)
            else:
                op = Broadcast((height, width, channels))
                found.append(self._copied(name, f"{name}_times_{height}x{width}x{channels}", op))
        return tuple(found)

    def _copied(self, name: str, copy: str, op: Operator) -> str:
        """Name of a copy of a value by an operator that keeps its quantization, made once."""
        if copy not in self._types:
            made = op.infer_type((self._types[name],))
            assert isinstance(made, TensorType)
            self._types[copy] = made
            self.nodes.append(Node(copy, op, (name,)))
        return copy

    def _stored(self, op: StoredOperator, position: int) -> bool:
        index = op.inputs[position] if position < len(op.inputs) else -1
        return index >= 0 and self._model.tensors[index].data is not None

    def _add(self, index: int, node: Node, *, reshapes: bool = False) -> None:
        """Append a node that computes a tensor; ModelError when its shape is not the file's.

        With `reshapes` the file's may lack sides of 1.
        """
        made = node.op.infer_type(tuple(self._types[name] for name in node.inputs))
        assert isinstance(made, TensorType)
        tensor = self._settled(index, made.shape)
        told = tensor_type(image_shape(tensor, tensor.shape), made.quantization)
        if made.shape != told.shape and not (reshapes and squeezed(made.shape) == squeezed(told.shape)):
            raise ModelError(
                f"its output is {made}, the file says {list(tensor.shape)}; the file is damaged, or an "
                "input's shape was changed without the rest"
            )
        if node.name in self._types or index in self._values:
            raise ModelError(f"'{tensor.name}' is made twice; the file is damaged")
        self._types[node.name] = made
        self._values[index] = _Value(node.name, tensor.shape)
        self.indices[node.name] = index
        self.nodes.append(node)

    def _settled(self, index: int, image: tuple[int, int, int]) -> StoredTensor:
        """A tensor with the sides it was found to have, where the file leaves some open."""
        tensor = self._model.tensors[index]
        if tensor.dynamic:
            shape = (1, *image[4 - len(tensor.shape) :]) if 2 <= len(tensor.shape) <= 4 else tensor.shape
            tensor = replace(tensor, shape=shape, dynamic=False)
            self._model = with_tensor(self._model, tensor)
        return tensor

    def _read(self, op: StoredOperator, position: int) -> str:
        """Name of a computed input in the shape that its reader sees."""
        index = op.inputs[position] if position < len(op.inputs) else -1
        if index < 0:
            raise ModelError(f"input {position} is missing; the file is damaged")
        tensor = self._model.tensors[index]
        if index not in self._values:
            problem = "a constant" if tensor.data is not None else "made by no operator before it"
            raise ModelError(f"input {position} ('{tensor.name}') is {problem}, a computed tensor is needed")
        value = self._values[index]
        shape = image_shape(tensor, value.shape)
        if op.kind == "FULLY_CONNECTED" or self._types[value.name].shape == shape:
            return value.name
        return self._reshaped(value, shape)

    def _reshaped(self, value: _Value, shape: tuple[int, int, int]) -> str:
        """Name of a copy in other rows, made once per value and shape."""
        height, width, channels = shape
        return self._copied(value.name, f"{value.name}_as_{height}x{width}x{channels}", Reshape(shape))

    def _view(self, op: StoredOperator) -> None:
        """The same bytes in another shape."""
        if not op.inputs or len(op.outputs) != 1:
            raise ModelError("it has no input or output; the file is damaged")
        index, tensor = op.inputs[0], self._model.tensors[op.outputs[0]]
        if index not in self._values:
            raise ModelError(f"input 0 ('{self._model.tensors[index].name}') is not a computed tensor")
        before, value = self._model.tensors[index], self._values[index]
        if tensor.dynamic:
            tensor = replace(tensor, shape=self._viewed_shape(op, value.shape), dynamic=False)
            self._model = with_tensor(self._model, tensor)
        if elements(before.shape) != elements(tensor.shape) or (before.dtype != tensor.dtype):
            raise ModelError(f"{list(before.shape)} to {list(tensor.shape)}; the file is damaged")
        if op.kind == "TRANSPOSE":
            value = self._transposed(op, value, before.shape, tensor)
        self._values[tensor.index] = _Value(value.name, tensor.shape)

    def _viewed_shape(self, op: StoredOperator, given: tuple[int, ...]) -> tuple[int, ...]:
        """What a view makes of a shape, where the file leaves sides of the result open."""
        if op.kind not in ("RESHAPE", "TRANSPOSE"):
            raise ModelError("its result has sides that are not fixed; export it with a fixed input size")
        wanted = Call(self._model, op, ()).integers(1)
        if op.kind == "TRANSPOSE":
            return tuple(given[axis] for axis in wanted if 0 <= axis < len(given))
        known = elements(tuple(side for side in wanted if side != -1))
        return tuple(elements(given) // max(1, known) if side == -1 else side for side in wanted)

    def _transposed(
        self, op: StoredOperator, value: _Value, shape: tuple[int, ...], after: StoredTensor
    ) -> _Value:
        """The value itself where only sides of 1 move; else shuffled channels, or axes in another order."""
        order = Call(self._model, op, ()).integers(1)
        if sorted(order) != list(range(len(shape))) or tuple(shape[i] for i in order) != after.shape:
            raise ModelError(f"order {order} of {list(shape)}; the file is damaged")
        moved = [axis for axis in order if shape[axis] != 1]
        if moved == sorted(moved):
            return value
        last = len(shape) - 1
        swapped = order == [*range(last - 1), last, last - 1]
        if len(shape) >= 4 and swapped and shape[-1] * shape[-2] == self._types[value.name].channels:
            moving: Operator = ChannelShuffle(shape[-2])
            source = value.name
        else:
            moving, source = Transpose(image_axes(order)), self._read(op, 0)
        name = self._copied(source, self._names[after.index], moving)
        self.indices[name] = after.index
        return _Value(name, after.shape)

    def _edge(self, op: StoredOperator) -> None:
        """A quantize or dequantize operator: the same value, or a table between two int8 tensors."""
        if len(op.inputs) != 1 or len(op.outputs) != 1:
            raise ModelError("allowed: one input and one output; the file is damaged")
        before, after = self._model.tensors[op.inputs[0]], self._model.tensors[op.outputs[0]]
        if before.index not in self._values:
            raise ModelError(f"'{before.name}' is not a computed int8 tensor; {HOW_TO_QUANTIZE}")
        value = self._values[before.index]
        if op.kind == "DEQUANTIZE" or after.dtype == "UINT8":
            self._leave(op, before, after)
        elif int8_quantization(after) != self._types[value.name].quantization:
            value = self._requantized(value.name, after)
        self._values[after.index] = _Value(value.name, after.shape)

    def _requantized(self, name: str, after: StoredTensor) -> _Value:
        """A table between two quantizations, in the rows that the value has."""
        given, made = self._types[name], self._names[after.index]
        if made in self._types:
            raise ModelError(f"'{after.name}' is made twice; the file is damaged")
        quantization = int8_quantization(after)
        self.nodes.append(Node(made, requantize_as_interpreter(given.quantization, quantization), (name,)))
        self._types[made] = replace(given, quantization=quantization)
        self.indices[made] = after.index
        return _Value(made, after.shape)

    def _leave(self, op: StoredOperator, before: StoredTensor, after: StoredTensor) -> None:
        """Check that an operator at an output changes no int8 value, and that no int8 operator reads it."""
        readers = self._readers(after.index)
        decoded = bool(readers) and all(reader.custom and reader.kind in CUSTOM for reader in readers)
        if op.kind == "DEQUANTIZE" and before.dtype == "INT8" and decoded:
            return
        if before.dtype != "INT8" or readers or after.index not in self._model.outputs:
            raise ModelError(f"allowed: from int8 at an output of the model only; {HOW_TO_QUANTIZE}")
        if op.kind == "QUANTIZE" and shifted(after) != int8_quantization(before):
            raise ModelError(
                "to uint8 of another scale, allowed: the same values + 128; leave the output int8"
            )
