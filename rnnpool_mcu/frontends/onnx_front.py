"""Frontend of quantized .onnx files (QDQ): what stands between DequantizeLinear and QuantizeLinear becomes
one integer node.

Activations are int8, or uint8 less 128. Tensors are [1, channels, height, width] in the file and height x
width x channels in the graph; a flattened map keeps its order, and the weights that read it are put into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.node_names import readable_names
from rnnpool_mcu.frontends.onnx_call import (
    HOW_TO_QUANTIZE,
    UNBOUNDED,
    Call,
    QuantizedConstant,
    image_shape,
    onnx_shape,
    quantization_from,
)
from rnnpool_mcu.frontends.onnx_converters import CONVERTERS
from rnnpool_mcu.frontends.onnx_folding import folded, is_foldable
from rnnpool_mcu.frontends.onnx_functions import FUNCTIONS, PAIRS, Function, bounds_of
from rnnpool_mcu.frontends.onnx_reader import STANDARD, OnnxModel, OnnxNode, read_onnx
from rnnpool_mcu.frontends.onnx_views import VIEWS, reordered, transposed, view_shape
from rnnpool_mcu.frontends.quantized_layers import tensor_type
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ir.verify import verify_graph
from rnnpool_mcu.ops.broadcast import Broadcast
from rnnpool_mcu.ops.lookup import Lookup, requantize

INPUT_NAME = "input"
LONGEST_NAME = 80
QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"
EDGES: Mapping[str, str] = {
    DEQUANTIZE: "int8, uint8: before an operator, or at an output, where it is left out; int32 biases",
    QUANTIZE: "int8, uint8, one scale: behind an operator, or at the input, where it is left out; between "
    "two quantizations a table",
}
_DOMAINS = (*STANDARD, "com.microsoft")  # whose QuantizeLinear is ONNX's with more types
_CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
_DYNAMIC = ("DynamicQuantizeLinear", "ConvInteger", "MatMulInteger", "DynamicQuantizeMatMul")


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """The integer tensor of the file that a value of the graph is."""

    name: str
    offset: int  # to add to int8: 128 for uint8


@dataclass(frozen=True, eq=False)
class ImportedOnnx:
    """An integer graph; of its values the integer tensors and the names in the file."""

    graph: Graph
    tensors: Mapping[str, QuantizedTensor]
    sources: Mapping[str, str]
    channels_last: bool  # the file's input is [1, height, width, channels]


def import_onnx(path: Path) -> ImportedOnnx:
    """Integer graph of a quantized .onnx file; ModelError names the operator that cannot be taken."""
    try:
        return convert_onnx(read_onnx(path))
    except ModelError as error:
        raise error if str(path) in str(error) else ModelError(f"{path}: {error}") from error


def convert_onnx(model: OnnxModel) -> ImportedOnnx:
    """Integer graph of a model that was read."""
    _check_precision(model)
    walk = _Walk(model)
    for node in model.nodes:
        walk.visit(node)
    outputs = walk.outputs()
    if INPUT_NAME not in walk.types:
        raise ModelError("no operator reads the model's input; export the model again")
    graph = Graph(INPUT_NAME, walk.types[INPUT_NAME], tuple(walk.nodes), outputs)
    verify_graph(graph)
    return ImportedOnnx(graph, walk.tensors, walk.sources, walk.channels_last)


def _check_precision(model: OnnxModel) -> None:
    """Refuse models that are not QDQ as a whole, with one message instead of a layer's."""
    kinds = {node.kind for node in model.nodes}
    if any(kind in kinds for kind in _DYNAMIC):
        raise ModelError(f"the model is quantized dynamically, supported: statically; {HOW_TO_QUANTIZE}")
    if any(kind.startswith("QLinear") for kind in kinds):
        raise ModelError(
            f"the model is in QOperator format (QLinearConv ..), supported: QDQ; {HOW_TO_QUANTIZE}"
        )
    if QUANTIZE not in kinds and not kinds & set(_CONTROL_FLOW):
        raise ModelError(f"the model is float, supported: int8 or uint8; {HOW_TO_QUANTIZE}")


@dataclass(frozen=True, eq=False)
class _Value:
    """A computed tensor: a value of the graph in the file's shape, perhaps a function of it."""

    name: str
    shape: tuple[int, ...]
    function: Function | None = None  # that waits for the quantization of its result
    label: str = ""


@dataclass(frozen=True, eq=False)
class _Target:
    """Where a node's result ends: behind the activations that were folded into it."""

    tensor: str
    quantization: Quantization | None
    bounds: tuple[float, float] = UNBOUNDED


class _Walk:
    """One pass over the nodes in execution order."""

    def __init__(self, model: OnnxModel) -> None:
        self.nodes: list[Node] = []
        self.types: dict[str, TensorType] = {}
        self.tensors: dict[str, QuantizedTensor] = {}
        self.sources: dict[str, str] = {}
        self.channels_last = False
        self._model = model
        self._constants: dict[str, NDArray[Any]] = dict(model.constants)
        self._weights: dict[str, QuantizedConstant] = {}
        self._values: dict[str, _Value] = {}
        self._folded: set[int] = set()
        self._readers: dict[str, list[OnnxNode]] = {}
        for node in model.nodes:
            for name in dict.fromkeys(node.inputs):
                self._readers.setdefault(name, []).append(node)
        self._names = _node_names(model)
        self._input_shape = self._checked_input()

    def outputs(self) -> tuple[str, ...]:
        """The graph's outputs in the file's order, each once; flattened maps are put in ONNX's order."""
        found = []
        for name in self._model.outputs:
            if name not in self._values:
                raise ModelError(f"output '{name}' is made by no operator that computes")
            found.append(self._plain(name))
        if INPUT_NAME in found:
            raise ModelError("an output is the model's input itself, allowed: results of operators")
        return tuple(dict.fromkeys(found))

    def visit(self, node: OnnxNode) -> None:
        """Take one node; ModelError names it when that is not possible."""
        if node.index in self._folded:
            return
        try:
            self._take(node)
        except (ModelError, ValueError, OverflowError, IndexError, MemoryError) as error:
            raise ModelError(f"{node}: {error}") from error

    def _take(self, node: OnnxNode) -> None:
        self._check_known(node)
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
        elif node.kind in VIEWS:
            self._view(node)
        elif (value := self._function(node)) is not None:
            self._values[node.outputs[0]] = value
        else:
            self._convert(node)

    def _check_known(self, node: OnnxNode) -> None:
        if node.kind in _CONTROL_FLOW:
            raise ModelError("control flow is not supported; unroll it before export")
        edge = node.kind in EDGES
        if node.domain not in (_DOMAINS if edge else STANDARD):
            raise ModelError(
                f"is of the domain '{node.domain}', supported: ONNX's own, see `rnnpool-mcu supported-ops`; "
                "cut the model before it, and do its work in your own C"
            )

    def _checked_input(self) -> tuple[int, ...]:
        """Shape of the model's one input, an open batch being 1."""
        inputs = self._model.inputs
        if len(inputs) != 1:
            names = ", ".join(f"'{value.name}'" for value in inputs)
            raise ModelError(f"{len(inputs)} inputs ({names}), supported: 1; split the model")
        (value,) = inputs
        shape = (1, *value.shape[1:]) if len(value.shape) >= 2 and value.shape[0] == -1 else value.shape
        if any(side < 1 for side in shape):
            raise ModelError(
                f"input '{value.name}' has sides that are not fixed, {list(value.shape)}; export it with a "
                "fixed input size, or use onnxruntime.tools.make_dynamic_shape_fixed"
            )
        if value.dtype not in ("FLOAT", "INT8", "UINT8"):
            raise ModelError(f"input '{value.name}' is {value.dtype}, supported: FLOAT, INT8, UINT8")
        image_shape(value.name, shape)
        return shape

    def _take_input(self, quantization: Quantization, dtype: str) -> _Value:
        """The graph's input, in the order of a transpose to channels first that reads nothing else."""
        name, last = self._model.inputs[0].name, self._model.inputs[0].name
        while len(readers := self._readers.get(last, [])) == 1 and readers[0].kind in (QUANTIZE, DEQUANTIZE):
            last = readers[0].outputs[0] if readers[0].outputs else ""
        order = readers[0].attributes.get("perm") if len(readers) == 1 else None
        self.channels_last = bool(readers) and readers[0].kind == "Transpose" and order == [0, 3, 1, 2]
        shape = self._input_shape
        if self.channels_last and len(shape) == 4:
            shape = (shape[0], shape[3], shape[1], shape[2])
        self.types[INPUT_NAME] = tensor_type(image_shape(name, shape), quantization)
        self.sources[INPUT_NAME] = name
        self.tensors[INPUT_NAME] = QuantizedTensor(name, 128 if dtype == "uint8" else 0)
        return _Value(INPUT_NAME, shape)

    # quantize and dequantize

    def _parameters(self, node: OnnxNode) -> tuple[NDArray[Any], NDArray[Any] | None]:
        """Scales and zero points of an edge, both stored."""
        found = []
        for name in (*node.inputs[1:3], "", "")[:2]:
            if name and name not in self._constants:
                raise ModelError(f"its parameter '{name}' is computed, supported: stored in the file")
            found.append(self._constants[name] if name else None)
        scale, zero = found
        if scale is None or node.integer("block_size", 0):
            raise ModelError("no scale, or scales by blocks, supported: one per tensor or channel")
        if zero is not None and zero.size != scale.size:
            raise ModelError(f"{scale.size} scales, {zero.size} zero points; the file is damaged")
        return scale, zero

    def _quantization(self, node: OnnxNode) -> tuple[Quantization, str]:
        """Parameters of a QuantizeLinear of an activation, and its type."""
        scale, zero = self._parameters(node)
        told = {0: "uint8", 2: "uint8", 3: "int8"}.get(node.integer("output_dtype", 0), "an unknown type")
        dtype = str(zero.dtype) if zero is not None else told
        try:
            return quantization_from(scale, zero, dtype), dtype
        except ModelError as error:
            raise ModelError(f"'{node.inputs[0]}': {error}") from error

    def _quantize(self, node: OnnxNode) -> None:
        given, made = node.inputs[0], node.outputs[0]
        if given in self._constants:
            self._quantize_constant(node)
            return
        quantization, dtype = self._quantization(node)
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

    def _table(self, value: _Value, tensor: str, quantization: Quantization) -> _Value:
        """A function of a value, or the value itself, at another quantization."""
        before = self.types[value.name].quantization
        if value.function is None:
            op = requantize(before, quantization)
            name = self._free(f"{self._names.get(tensor, value.name)}_requantized")
        else:
            with np.errstate(all="ignore"):
                op = Lookup.of(value.function, before, quantization, value.label)
            name = self._free(self._names[tensor])
        self._append(Node(name, op, (value.name,)), tensor)
        return _Value(name, value.shape)

    def _quantize_constant(self, node: OnnxNode) -> None:
        """Stored reals that the file quantizes as it runs."""
        scale, zero = self._parameters(node)
        zeros = np.zeros(scale.size, np.uint8) if zero is None else zero.reshape(-1)
        if zeros.dtype not in (np.int8, np.uint8):
            raise ModelError(f"to {zeros.dtype}, supported: int8, uint8")
        stored = self._constant(self._constants[node.inputs[0]], scale, zeros, node.integer("axis", 1))
        spread = replace(stored, integers=np.ones(stored.integers.shape), zero_points=stored.zero_points * 0)
        with np.errstate(all="ignore"):
            steps = np.rint(stored.integers / spread.real())
        shape = [1] * stored.integers.ndim
        if stored.scales.size > 1:
            shape[stored.axis] = -1
        limits, offset = (
            np.iinfo(zeros.dtype),
            stored.zero_points.reshape(shape if stored.scales.size > 1 else -1),
        )
        if stored.scales.size == 1:
            offset = offset[0]
        if not np.isfinite(steps).all():
            raise ModelError(f"constant '{node.inputs[0]}' is not finite, or its scale is 0")
        integers = np.clip(steps + offset, limits.min, limits.max).astype(zeros.dtype)
        self._constants[node.outputs[0]] = integers

    def _dequantize(self, node: OnnxNode) -> None:
        given, made = node.inputs[0], node.outputs[0]
        scale, zero = self._parameters(node)
        if given in self._constants:
            array = self._constants[given]
            zeros = np.zeros(scale.size, np.int64) if zero is None else zero.reshape(-1)
            if array.dtype.kind not in "iu" or array.dtype.itemsize > 4:
                raise ModelError(f"constant '{given}' is {array.dtype}, supported: int8, uint8, int32")
            self._weights[made] = self._constant(array, scale, zeros, node.integer("axis", 1))
            return
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

    @staticmethod
    def _constant(
        array: NDArray[Any], scale: NDArray[Any], zeros: NDArray[Any], axis: int
    ) -> QuantizedConstant:
        scales, rank = scale.reshape(-1).astype(np.float64), array.ndim
        if scales.size != 1 and not (-rank <= axis < rank and array.shape[axis] == scales.size):
            raise ModelError(
                f"{scales.size} scales on axis {axis} of {list(array.shape)}; the file is damaged"
            )
        if not np.isfinite(scales).all():
            raise ModelError("a scale is not finite; calibrate again")
        return QuantizedConstant(array, scales, zeros.astype(np.int64), axis % max(rank, 1))

    # views and functions

    def _view(self, node: OnnxNode) -> None:
        """The same values in another shape or order."""
        value = self._computed(node, 0)
        if node.kind == "Transpose":
            made = self._transposed(node, value)
        else:
            made = replace(value, shape=view_shape(node, value.shape, self._constants))
        self._values[node.outputs[0]] = made

    def _transposed(self, node: OnnxNode, value: _Value) -> _Value:
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
        name = self._free(self._names[node.outputs[0]])
        self._append(Node(name, op, (source,)), node.outputs[0])
        return _Value(name, shape)

    def _function(self, node: OnnxNode) -> _Value | None:
        """The node as a function of one value; None where it is none."""
        if node.kind in FUNCTIONS:
            value = self._computed(node, 0)
            inner, outer = value.function, FUNCTIONS[node.kind](node, self._reals())
            label = node.kind if inner is None else f"{value.label}, {node.kind}"
            composed = outer if inner is None else lambda x: outer(inner(x))
            return replace(value, function=composed, label=label)
        if node.kind not in PAIRS or len(node.inputs) != 2:
            return None
        return self._pair(node)

    def _pair(self, node: OnnxNode) -> _Value | None:
        """Two functions of the same value, or a value and a number."""
        values = [self._values.get(name) for name in node.inputs]
        found = next((value for value in values if value is not None), None)
        numbers = [self._number(name) for name in node.inputs]
        if found is None or any(v is None and n is None for v, n in zip(values, numbers, strict=True)):
            return None
        given = [value for value in values if value is not None]
        if any(value.name != found.name or value.shape != found.shape for value in given):
            return None
        if len(given) == 2 and all(value.function is None for value in given):
            return None
        parts = [_part(value, number) for value, number in zip(values, numbers, strict=True)]
        join, (a, b) = PAIRS[node.kind], parts
        label = next((value.label for value in given if value.label), "")
        label = f"{label}, {node.kind}" if label else node.kind
        return replace(found, function=lambda x: join(a(x), b(x)), label=label)

    def _number(self, name: str) -> float | None:
        """A single stored value."""
        array = self._weights[name].real() if name in self._weights else self._constants.get(name)
        if array is None or array.size != 1 or array.dtype.kind not in "fiu" or array.ndim > 4:
            return None
        return float(array.reshape(-1)[0])

    def _reals(self) -> dict[str, NDArray[np.float64]]:
        single = {name: weight.real() for name, weight in self._weights.items() if weight.integers.size == 1}
        return {
            **{k: v for k, v in self._constants.items() if v.size == 1 and v.dtype.kind in "fiu"},
            **single,
        }

    # operators that compute

    def _convert(self, node: OnnxNode) -> None:
        if node.kind not in CONVERTERS:
            known = ", ".join(sorted((*CONVERTERS, *FUNCTIONS, *VIEWS, *EDGES)))
            raise ModelError(
                f"is not supported; supported: {known}; build the layer of these, or cut the model before it"
            )
        converter = CONVERTERS[node.kind]
        positions = range(len(node.inputs)) if converter.inputs is None else converter.inputs
        tensors = [
            node.inputs[at] for at in positions if at < len(node.inputs) and not self._stored(node, at)
        ]
        if not tensors:
            raise ModelError("all its inputs are stored in the file, a computed one is needed")
        shapes = tuple(self._checked(name).shape for name in tensors)
        names = tuple(self._values[n].name if converter.flat else self._plain(n) for n in tensors)
        if converter.broadcast and len(names) > 1:
            names = self._broadcast(names)
        types = tuple(self.types[name] for name in names)
        for result, tensor in enumerate(node.outputs):
            if not tensor:
                continue
            target = self._target(tensor, clamps=converter.clamps)
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
                raise ModelError(str(_no_quantization(call)))
            name = self._free(self._names[tensor])
            self._append(Node(name, converter.convert(call), names), target.tensor)
            rank = converter.rank(call) if converter.rank else max(map(len, shapes))
            self._values[target.tensor] = _Value(name, onnx_shape(self.types[name], rank))

    def _stored(self, node: OnnxNode, position: int) -> bool:
        name = node.inputs[position]
        return name in self._constants or name in self._weights or not name

    def _computed(self, node: OnnxNode, position: int) -> _Value:
        name = node.inputs[position]
        if name not in self._values:
            kind = "stored in the file" if self._stored(node, position) else "made by no operator before it"
            raise ModelError(f"input {position} ('{name}') is {kind}, a computed, quantized one is needed")
        return self._values[name]

    def _checked(self, tensor: str) -> _Value:
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

    def _target(self, tensor: str, *, clamps: bool) -> _Target:
        """Where the result goes: through relu and clip, as far as they fold, to its quantization."""
        low, high = UNBOUNDED
        while True:
            readers = self._readers.get(tensor, [])
            edges = [node for node in readers if node.kind == QUANTIZE]
            if edges:
                if len(edges) != len(readers) or tensor in self._model.outputs:
                    other = next((node for node in readers if node.kind != QUANTIZE), "the model's output")
                    raise ModelError(f"'{tensor}' has no quantization where it is read by {other}")
                return _Target(tensor, self._quantization(edges[0])[0], (low, high))
            folds = len(readers) == 1 and readers[0].kind in ("Relu", "Clip") and len(readers[0].outputs) == 1
            if not (clamps and folds) or tensor in self._model.outputs:
                return _Target(tensor, self._behind_views(readers), (low, high))
            floor, ceiling = bounds_of(readers[0], self._reals())
            low, high = (min(max(bound, floor), ceiling) for bound in (low, high))
            self._folded.add(readers[0].index)
            tensor = readers[0].outputs[0]

    def _behind_views(self, readers: list[OnnxNode]) -> Quantization | None:
        """The quantization that views, the only readers, lead to."""
        while len(readers) == 1 and readers[0].kind in VIEWS and len(readers[0].outputs) == 1:
            tensor = readers[0].outputs[0]
            readers = [] if tensor in self._model.outputs else self._readers.get(tensor, [])
        if readers and all(node.kind == QUANTIZE for node in readers):
            return self._quantization(readers[0])[0]
        return None

    def _append(self, node: Node, tensor: str) -> None:
        made = node.op.infer_type(tuple(self.types[name] for name in node.inputs))
        assert isinstance(made, TensorType)
        self.types[node.name] = tensor_type(made.shape, made.quantization)
        self.sources[node.name] = tensor
        self.nodes.append(node)

    def _free(self, name: str) -> str:
        found, count = name, 1
        while found in self.types:
            count += 1
            found = f"{name}_{count}"
        return found


def _no_quantization(call: Call) -> ModelError:
    try:
        _ = call.output
    except ModelError as error:
        return error
    raise AssertionError("a call with a quantization")


def _part(value: _Value | None, number: float | None) -> Function:
    """One operand of a pair as a function of the value."""
    if value is not None:
        return value.function or (lambda x: x)
    return lambda x: np.full_like(x, number)


def _node_names(model: OnnxModel) -> dict[str, str]:
    """Graph node name of every tensor that an operator computes."""
    kinds = (QUANTIZE, DEQUANTIZE)
    made = list(dict.fromkeys(t for node in model.nodes if node.kind not in kinds for t in node.outputs))
    paths = [name.strip("/").removesuffix("_output_0").replace("/", ".")[:LONGEST_NAME] for name in made]
    return dict(zip(made, readable_names(paths, taken=(INPUT_NAME,)), strict=True))
