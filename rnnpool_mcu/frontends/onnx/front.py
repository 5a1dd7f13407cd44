"""Frontend of quantized .onnx files (QDQ): what stands between DequantizeLinear and QuantizeLinear becomes
one integer node.

Activations are int8, or uint8 less 128. Tensors are [1, channels, height, width] in the file and height x
width x channels in the graph; a flattened map keeps its order, and the weights that read it are put into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import NoReturn

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.blocks import blocks_moved
from rnnpool_mcu.frontends.channels_first import transposed
from rnnpool_mcu.frontends.channels_last import moved_view, turned_rows, turned_view
from rnnpool_mcu.frontends.matrices import multiplied_matrices, product_shape
from rnnpool_mcu.frontends.node_names import free_name
from rnnpool_mcu.frontends.onnx.call import (
    HOW_TO_QUANTIZE,
    Call,
    Converter,
    Given,
    QuantizedTensor,
    onnx_shape,
)
from rnnpool_mcu.frontends.onnx.checks import DEQUANTIZE, QUANTIZE, check_precision
from rnnpool_mcu.frontends.onnx.domain.converters import OWN_CONVERTERS, decode_of, is_decode
from rnnpool_mcu.frontends.onnx.folding import folded, is_foldable
from rnnpool_mcu.frontends.onnx.integers import check_integers, limited_integers
from rnnpool_mcu.frontends.onnx.known import check_known, check_schema, unsupported
from rnnpool_mcu.frontends.onnx.operators.converters import CONVERTERS
from rnnpool_mcu.frontends.onnx.operators.functions import FUNCTIONS, ONE_NUMBER, PAIRS, composed, paired
from rnnpool_mcu.frontends.onnx.operators.stored_maps import is_map, stored_map
from rnnpool_mcu.frontends.onnx.quantizing import dequantize, quantize
from rnnpool_mcu.frontends.onnx.reader import STANDARD, OnnxModel, OnnxNode
from rnnpool_mcu.frontends.onnx.shapes import check_shapes, same_sides
from rnnpool_mcu.frontends.onnx.stored_views import STORED_VIEWS, viewed_constant, viewed_weights
from rnnpool_mcu.frontends.onnx.tensors import Tensors
from rnnpool_mcu.frontends.onnx.views import VIEWS, view_shape
from rnnpool_mcu.frontends.values import Value
from rnnpool_mcu.frontends.walk import Walk
from rnnpool_mcu.ir.graph import Graph

_NONE = np.empty(0)


@dataclass(frozen=True, eq=False)
class ImportedOnnx:
    """An integer graph; of its values the integer tensors and the names in the file."""

    graph: Graph
    tensors: Mapping[str, QuantizedTensor]
    sources: Mapping[str, str]
    channels_last: frozenset[str]  # inputs that are [1, height, width, channels] in the file
    last_outputs: frozenset[str]  # outputs whose elements the file has in the graph's order


def convert_onnx(
    model: OnnxModel,
    own: Mapping[str, Converter] = OWN_CONVERTERS,
    last: frozenset[str] = frozenset(),
) -> ImportedOnnx:
    """Integer graph of a model that was read; `own` are the converters of our domain.

    Inputs in `last` are [1, height, width, channels], whatever reads them.
    """
    check_precision(model)
    walk = _Walk(model, own, last)
    for node in model.nodes:
        walk.visit(node)
    walk.check()
    walk.problems += check_shapes(model, walk.tensors.shapes)
    walk.check()
    outputs, tensors = walk.outputs(), walk.tensors
    tensors.check_inputs()
    graph = tensors.graph(outputs)
    walk.check_declared()
    inputs = frozenset(tensors.channels_last)
    return ImportedOnnx(graph, tensors.integers, tensors.sources, inputs, frozenset(walk.last_outputs))


@dataclass(frozen=True)
class _Read:
    """Computed operands as an operator reads them."""

    names: tuple[str, ...]
    shapes: tuple[tuple[int, ...], ...]  # in the file
    last: bool  # in the order of the file, its last axis being the channels


class _Walk(Walk[OnnxNode, str]):
    """One pass over the nodes in execution order."""

    def __init__(self, model: OnnxModel, own: Mapping[str, Converter], last: frozenset[str]) -> None:
        super().__init__()
        self.tensors = Tensors(model, last)
        self._model, self._own = model, own
        self.last_outputs: set[str] = set()  # of the graph, in the file's order
        self._detections: dict[str, str] = {}  # boxes of a detector: tensor -> node

    def outputs(self) -> list[tuple[str, str]]:
        """The graph's outputs in the file's order; flattened maps are put in ONNX's order."""
        found = []
        for name in self._model.outputs:
            if name in self._detections:
                found.append((self._detections[name], name))
            elif name in self.tensors.values:
                value = self.tensors.checked(name)
                made = self.tensors.in_order(value)
                found.append((made, name))
                self.last_outputs.update([made] if value.last else [])
            else:
                raise ModelError(f"output '{name}' is made by no operator that computes")
        return found

    def check_declared(self) -> None:
        """ModelError where the file declares another shape of an output."""
        for name, told in self._model.declared.items():
            value = self.tensors.values.get(name)
            if value is not None and not same_sides(told, value.shape):
                raise ModelError(
                    f"output '{name}' is {list(value.shape)}, declared is {list(told)}; correct the file"
                )

    def _check_known(self, item: OnnxNode) -> None:
        check_known(item)
        check_schema(item, self._model.opset)

    def _read_by(self, item: OnnxNode) -> Iterable[str]:
        return item.inputs

    def _made_by(self, item: OnnxNode) -> Iterable[str]:
        return item.outputs

    def _where(self, item: OnnxNode) -> str:
        return str(item)

    def _take(self, item: OnnxNode) -> None:
        tensors = self.tensors
        if item.index in tensors.readers.folded:
            return
        if not item.outputs or not item.inputs:
            raise ModelError("it has no input or output; the file is damaged")
        for name in item.outputs:
            if tensors.holds(name):
                raise ModelError(f"'{name}' is made twice; the file is damaged")
        if self._stored(item):
            return
        if is_foldable(item, tensors.constants, tensors.shapes):
            tensors.constants[item.outputs[0]] = folded(item, tensors.constants, tensors.shapes)
        elif item.kind == QUANTIZE:
            quantize(tensors, item)
        elif item.kind == DEQUANTIZE:
            dequantize(tensors, item)
        else:
            given = tensors.given(item)
            given.check(self._made_of(given))
            self._check_outputs(given.node)

    def _stored(self, node: OnnxNode) -> bool:
        """Take a view of a stored tensor, or the Clip of stored integers; False for any other node."""
        tensors, name = self.tensors, node.inputs[0]
        limits = node.kind == "Clip" and tensors.constants.get(name, _NONE).dtype.kind in "iu"
        if node.domain not in STANDARD or not (node.kind in STORED_VIEWS or limits):
            return False
        given = tensors.given(node)
        if name in tensors.weights:
            tensors.weights[node.outputs[0]] = viewed_weights(given, tensors.weights[name])
        elif name in tensors.constants:
            tensors.constants[node.outputs[0]] = viewed_constant(given, tensors.constants[name])
        else:
            return False
        given.check()
        return True

    def _made_of(self, given: Given) -> str:
        """Make of a node what it becomes; returns what is supported of it."""
        node, tensors = given.node, self.tensors
        integers = check_integers(tensors, node)
        if is_decode(node):
            self._decode(given)
        elif integers and node.kind == "Clip":
            tensors.settle(node.outputs[0], limited_integers(tensors, given), integers=True)
        elif node.kind in VIEWS:
            tensors.settle(node.outputs[0], self._viewed(given), integers=integers)
            return VIEWS[node.kind]
        elif (value := self._function(given)) is not None:
            tensors.settle(node.outputs[0], value)
        else:
            return self._convert(given, integers)
        return ""

    def _check_outputs(self, node: OnnxNode) -> None:
        """ModelError for a second output that somebody reads and nothing makes."""
        for at, name in enumerate(node.outputs[1:], start=1):
            wanted = name and (self.tensors.readers.of(name) or name in self._model.outputs)
            if wanted and not self.tensors.holds(name) and name not in self._detections:
                raise ModelError(f"its output {at} ('{name}') is read, supported: the first output only")

    # views and functions

    def _viewed(self, given: Given) -> Value:
        """The same values in another shape or order."""
        value = self.tensors.computed(given.node, 0)
        if given.node.kind == "Transpose":
            return self._transposed(given, value)
        return replace(value, shape=view_shape(given, value.shape))

    def _transposed(self, given: Given, value: Value) -> Value:
        node, tensors, kind = given.node, self.tensors, self.tensors.types[value.name]
        given.account.use(0)
        order = node.integers("perm", range(len(value.shape))[::-1])
        turned = moved_view(value, order) or turned_view(value, order, kind)
        if turned is not None:
            return turned
        if value.function is not None:
            raise ModelError(f"its input '{node.inputs[0]}' has no quantization; {HOW_TO_QUANTIZE}")
        if (moved := blocks_moved(value, order, kind)) is not None:
            value, ops = moved
            return replace(value, name=tensors.chain(node.outputs[0], ops, (value.name,), node.outputs[0]))
        if value.last and (copies := turned_rows(value.shape, order)) is not None:
            sides = tuple(value.shape[axis] for axis in order)
            return Value(tensors.copies(value, copies), sides, last=True)
        if value.last:
            value = Value(tensors.plain(value), value.shape)
        shape, op = transposed(order, value.shape, tensors.types[value.name])
        if op is None:
            return replace(value, shape=shape)
        source = value.name if len(value.shape) > 4 else tensors.plain(value)
        return Value(tensors.add(node.outputs[0], op, (source,)), shape)

    def _function(self, given: Given) -> Value | None:
        """The node as a function of one value; None where it is none."""
        node = given.node
        if node.kind in FUNCTIONS:
            return composed(given, self.tensors.computed(node, 0))
        if node.kind not in PAIRS or len(node.inputs) != 2:
            return None
        return paired(given, [self.tensors.values.get(name) for name in node.inputs])

    # operators that compute

    def _convert(self, given: Given, integers: bool) -> str:
        node, tensors = given.node, self.tensors
        converter = self._converter(node)
        if converter.matrices and not any(given.is_stored(at) for at in (0, 1)):
            self._multiply(given)
            return converter.limits
        read = self._operands(given, converter)
        types = tuple(tensors.types[name] for name in read.names)
        for result, tensor in enumerate(node.outputs if converter.several else node.outputs[:1]):
            if not tensor:
                continue
            target = tensors.readers.target(tensor, clamps=converter.clamps)
            call = Call(
                node,
                given.constants,
                given.weights,
                given.account,
                types,
                read.shapes,
                target.quantization,
                target.bounds,
                result,
                read.last,
            )
            if target.quantization is None and not converter.keeps:
                _ = call.output  # says what is missing
            name = tensors.chain(tensor, converter.convert(call), read.names, target.tensor)
            if converter.indices:
                offset = -tensors.types[name].zero_point
                tensors.integers[name] = QuantizedTensor(target.tensor, offset, read.last)
            value = Value(name, self._made_shape(call, converter, name), last=read.last)
            tensors.settle(target.tensor, value, integers=integers or converter.indices)
        return converter.limits

    def _multiply(self, given: Given) -> None:
        """Take a product of two computed tensors."""
        node, tensors = given.node, self.tensors
        given.account.use(0, 1)
        values = [tensors.checked(name) for name in node.inputs]
        target = tensors.readers.target(node.outputs[0], clamps=False)
        if target.quantization is None:
            raise ModelError(f"its output '{node.outputs[0]}' has no quantization; {HOW_TO_QUANTIZE}")
        op, names = multiplied_matrices(tensors, values[0], values[1], target.quantization)
        name = tensors.chain(node.outputs[0], op, names, target.tensor)
        shape = product_shape(values[0].shape, values[1].shape)
        tensors.settle(target.tensor, Value(name, shape, last=True))

    def _made_shape(self, call: Call, converter: Converter, name: str) -> tuple[int, ...]:
        """ONNX's shape of what was made; sides of 1 that it drops change nothing of its order."""
        shape = onnx_shape(self.tensors.types[name], call.rank, last=call.last)
        dropped = {axis % call.rank for axis in converter.drops(call)} if converter.drops else set()
        return tuple(side for axis, side in enumerate(shape) if axis not in dropped)

    def _converter(self, node: OnnxNode) -> Converter:
        if node.kind in ONE_NUMBER:
            raise ModelError("of two computed tensors, supported: a computed one and one stored number")
        converters = CONVERTERS if node.domain in STANDARD else self._own
        if node.kind not in converters:
            raise unsupported()
        return converters[node.kind]

    def _refuse_stored(self, given: Given, positions: Iterable[int]) -> NoReturn:
        """ModelError for an operator whose operands that must be computed are stored."""
        names = given.node.inputs
        if all(given.is_stored(at) for at in range(len(names)) if names[at]):
            raise ModelError("all its inputs are stored in the file, a computed one is needed")
        stored = ", ".join(f"'{names[at]}'" for at in positions if at < len(names))
        raise ModelError(
            f"{stored} is stored in the file, supported: computed, with what it reads beside stored"
        )

    def _operands(self, given: Given, converter: Converter) -> _Read:
        """The computed operands in the order that the operator reads."""
        node, tensors = given.node, self.tensors
        positions = range(len(node.inputs)) if converter.inputs is None else converter.inputs
        found = [at for at in positions if at < len(node.inputs) and not given.is_stored(at)]
        if not found:
            self._refuse_stored(given, positions)
        given.account.use(*found)
        values = [tensors.checked(node.inputs[at]) for at in found]
        shapes = tuple(value.shape for value in values)
        if len({len(shape) for shape in shapes}) > 1:
            raise ModelError(f"inputs {[list(s) for s in shapes]}, supported: of equally many dimensions")
        if converter.flat and len(shapes[0]) <= 2:
            return _Read(tuple(value.name for value in values), shapes, values[0].last)
        rank = len(shapes[0])
        over_last = converter.channelwise and node.integer("axis", -1) in (-1, rank - 1)
        last = converter.rows and rank in (3, 4) and (over_last or all(value.last for value in values))
        names = {
            at: tensors.rows(value) if last else tensors.plain(value)
            for at, value in zip(found, values, strict=True)
        }
        for at in positions:
            if at not in names and is_map(given, at, rank, last=last):
                names[at] = self._stored_map(given, at, shapes[0], names[found[0]], last=last)
        read = tuple(names[at] for at in sorted(names))
        if converter.broadcast and len(read) > 1:
            read = tensors.broadcast(read)
        return _Read(read, shapes, last)

    def _stored_map(
        self, given: Given, position: int, shape: tuple[int, ...], beside: str, *, last: bool
    ) -> str:
        """Name of a stored operand as a value, whose rows go with those of `beside`."""
        node, tensors = given.node, self.tensors
        name = node.inputs[position]
        whole = given.weights[name].integers if name in given.weights else given.constants[name]
        if node.kind == "Concat":
            shape = whole.shape
        target = tensors.readers.target(node.outputs[0], clamps=False).quantization
        op = stored_map(given, position, shape, target, last=last)
        return tensors.copied(
            beside, op, free_name(f"{tensors.name_of(node.outputs[0])}_stored", tensors.types)
        )

    def _decode(self, given: Given) -> None:
        """A detector's boxes, which only an output may be."""
        node = given.node
        given.account.use(*range(len(node.inputs)))
        inputs = tuple(self.tensors.plain(self.tensors.checked(tensor)) for tensor in node.inputs)
        made = node.outputs[0]
        self._detections[made] = self.tensors.detections(made, decode_of(node), inputs)
