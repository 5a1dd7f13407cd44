"""Frontend of quantized .onnx files (QDQ): what stands between DequantizeLinear and QuantizeLinear becomes
one integer node.

Activations are int8, or uint8 less 128. Tensors are [1, channels, height, width] in the file and height x
width x channels in the graph; a flattened map keeps its order, and the weights that read it are put into it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.channels_first import transposed
from rnnpool_mcu.frontends.channels_last import turned_view
from rnnpool_mcu.frontends.onnx.call import (
    HOW_TO_QUANTIZE,
    Call,
    Converter,
    Given,
    QuantizedTensor,
    onnx_shape,
)
from rnnpool_mcu.frontends.onnx.checks import DEQUANTIZE, QUANTIZE, check_precision
from rnnpool_mcu.frontends.onnx.converters import CONVERTERS
from rnnpool_mcu.frontends.onnx.domain.converters import OWN_CONVERTERS, decode_of, is_decode
from rnnpool_mcu.frontends.onnx.folding import folded, is_foldable
from rnnpool_mcu.frontends.onnx.functions import FUNCTIONS, ONE_NUMBER, PAIRS, composed, paired
from rnnpool_mcu.frontends.onnx.known import check_known, unsupported
from rnnpool_mcu.frontends.onnx.quantizing import dequantize, quantize
from rnnpool_mcu.frontends.onnx.reader import STANDARD, OnnxModel, OnnxNode
from rnnpool_mcu.frontends.onnx.tensors import Tensors
from rnnpool_mcu.frontends.onnx.views import VIEWS, view_shape
from rnnpool_mcu.frontends.values import Value
from rnnpool_mcu.frontends.walk import Walk
from rnnpool_mcu.ir.graph import Graph


@dataclass(frozen=True, eq=False)
class ImportedOnnx:
    """An integer graph; of its values the integer tensors and the names in the file."""

    graph: Graph
    tensors: Mapping[str, QuantizedTensor]
    sources: Mapping[str, str]
    channels_last: frozenset[str]  # inputs that are [1, height, width, channels] in the file


def convert_onnx(model: OnnxModel, own: Mapping[str, Converter] = OWN_CONVERTERS) -> ImportedOnnx:
    """Integer graph of a model that was read; `own` are the converters of our domain."""
    check_precision(model)
    walk = _Walk(model, own)
    for node in model.nodes:
        walk.visit(node)
    walk.check()
    outputs, tensors = walk.outputs(), walk.tensors
    tensors.check_inputs()
    last = frozenset(tensors.channels_last)
    return ImportedOnnx(tensors.graph(outputs), tensors.integers, tensors.sources, last)


class _Walk(Walk[OnnxNode, str]):
    """One pass over the nodes in execution order."""

    def __init__(self, model: OnnxModel, own: Mapping[str, Converter]) -> None:
        super().__init__()
        self.tensors = Tensors(model)
        self._model, self._own = model, own
        self._detections: dict[str, str] = {}  # boxes of a detector: tensor -> node

    def outputs(self) -> list[tuple[str, str]]:
        """The graph's outputs in the file's order; flattened maps are put in ONNX's order."""
        found = []
        for name in self._model.outputs:
            if name in self._detections:
                found.append((self._detections[name], name))
            elif name in self.tensors.values:
                value = self.tensors.checked(name)
                found.append((value.name if value.last else self.tensors.plain(value), name))
            else:
                raise ModelError(f"output '{name}' is made by no operator that computes")
        return found

    def _check_known(self, item: OnnxNode) -> None:
        check_known(item)

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

    def _made_of(self, given: Given) -> str:
        """Make of a node what it becomes; returns what is supported of it."""
        node, values = given.node, self.tensors.values
        if is_decode(node):
            self._decode(given)
        elif node.kind in VIEWS:
            values[node.outputs[0]] = self._viewed(given)
            return VIEWS[node.kind]
        elif (value := self._function(given)) is not None:
            values[node.outputs[0]] = value
        else:
            return self._convert(given)
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
        turned = turned_view(value, order, kind)
        if turned is not None:
            return turned
        if value.function is not None:
            raise ModelError(f"its input '{node.inputs[0]}' has no quantization; {HOW_TO_QUANTIZE}")
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

    def _convert(self, given: Given) -> str:
        node, tensors = given.node, self.tensors
        converter = self._converter(node)
        names, shapes = self._operands(given, converter)
        types = tuple(tensors.types[name] for name in names)
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
                shapes,
                target.quantization,
                target.bounds,
                result,
            )
            if target.quantization is None and not converter.keeps:
                _ = call.output  # says what is missing
            name = tensors.add(tensor, converter.convert(call), names, target.tensor)
            if converter.indices:
                tensors.integers[name] = QuantizedTensor(target.tensor, -tensors.types[name].zero_point)
            rank = converter.rank(call) if converter.rank else max(map(len, shapes))
            tensors.values[target.tensor] = Value(name, onnx_shape(tensors.types[name], rank))
        return converter.limits

    def _converter(self, node: OnnxNode) -> Converter:
        if node.kind in ONE_NUMBER:
            raise ModelError("of two computed tensors, supported: a computed one and one stored number")
        converters = CONVERTERS if node.domain in STANDARD else self._own
        if node.kind not in converters:
            raise unsupported()
        return converters[node.kind]

    def _operands(
        self, given: Given, converter: Converter
    ) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
        """Names of the computed operands in the order that the operator reads, and their ONNX shapes."""
        node, tensors = given.node, self.tensors
        positions = range(len(node.inputs)) if converter.inputs is None else converter.inputs
        found = [at for at in positions if at < len(node.inputs) and not given.is_stored(at)]
        if not found:
            raise ModelError("all its inputs are stored in the file, a computed one is needed")
        given.account.use(*found)
        values = [tensors.checked(node.inputs[at]) for at in found]
        shapes = tuple(value.shape for value in values)
        if len({len(shape) for shape in shapes}) > 1:
            raise ModelError(f"inputs {[list(s) for s in shapes]}, supported: of equally many dimensions")
        names = tuple(
            value.name if converter.flat and not value.last else tensors.plain(value) for value in values
        )
        if converter.broadcast and len(names) > 1:
            names = tensors.broadcast(names)
        return names, shapes

    def _decode(self, given: Given) -> None:
        """A detector's boxes, which only an output may be."""
        node = given.node
        given.account.use(*range(len(node.inputs)))
        inputs = tuple(self.tensors.plain(self.tensors.checked(tensor)) for tensor in node.inputs)
        made = node.outputs[0]
        self._detections[made] = self.tensors.detections(made, decode_of(node), inputs)
