"""Frontend of quantized torch.export graphs: aten calls between quantize nodes become integer nodes.

A node's scale, zero point and fused activation are known where its result is quantized: everything between a
dequantize node and the next quantize node is one operator, its activation, or a chain of functions of one
value, which is one table. Views cost nothing until somebody reads them in another order than the graph's,
height x width x channels.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from torch import fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.builder import INPUT_NAME
from rnnpool_mcu.frontends.channels_first import transposed
from rnnpool_mcu.frontends.channels_last import moved_view, turned_rows, turned_view
from rnnpool_mcu.frontends.node_names import input_names
from rnnpool_mcu.frontends.quantized_layers import tensor_type
from rnnpool_mcu.frontends.torch import fx_reader
from rnnpool_mcu.frontends.torch.call import HOW_TO_QUANTIZE, Converter
from rnnpool_mcu.frontends.torch.calls import Calls, flat
from rnnpool_mcu.frontends.torch.checks import SEVERAL, WHOLE, check_known
from rnnpool_mcu.frontends.torch.converters import CONVERTERS
from rnnpool_mcu.frontends.torch.functions import FUNCTIONS, composed, paired
from rnnpool_mcu.frontends.torch.shapes import Shapes, Size, order_of
from rnnpool_mcu.frontends.torch.tensors import Tensors
from rnnpool_mcu.frontends.values import Value
from rnnpool_mcu.frontends.walk import Walk
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import FrameworkShape, Quantization
from rnnpool_mcu.nn.aten import GETITEM, LIMITS, PAIRS, TRANSPOSES, VIEWS, number


@dataclass(frozen=True, eq=False)
class ImportedGraph:
    """An integer graph and, for every value of it, the name of the torch node that computes it."""

    graph: Graph
    sources: Mapping[str, str]
    last: frozenset[str] = frozenset()  # values whose torch tensor has its elements in the graph's order
    outputs: tuple[FrameworkShape, ...] = ()  # as torch gives them


def import_exported(
    module: fx.GraphModule, size: Size | list[Size], converters: Mapping[Any, Converter] = CONVERTERS
) -> ImportedGraph:
    """Integer graph of a converted (quantize/dequantize) graph; `size` is its input's, or a list of each's.

    Raises ModelError naming the operators, their modules and source lines for all that is not supported.
    """
    walk = _Walk(module, size if isinstance(size, list) else [size], converters)
    for node in module.graph.nodes:
        walk.visit(node)
    walk.check()
    return walk.result()


class _Walk(Walk[fx.Node, fx.Node]):
    """One pass over the torch graph in execution order."""

    def __init__(
        self, module: fx.GraphModule, sizes: Sequence[Size], converters: Mapping[Any, Converter]
    ) -> None:
        super().__init__()
        self._converters = converters
        self._tensors = Tensors(Shapes(module, sizes))
        given = [node for node in module.graph.nodes if node.op == "placeholder"]
        if len(given) != len(sizes):
            raise ModelError(f"{len(given)} inputs, {len(sizes)} sizes of theirs are known; export it again")
        self._tensors.inputs = input_names([node.name for node in given], INPUT_NAME)
        self._given = dict(zip(given, zip(self._tensors.inputs, sizes, strict=True), strict=True))
        self._calls = Calls(self._tensors, converters)
        self._outputs: list[tuple[str, str]] = []
        self._forms: list[FrameworkShape] = []

    def result(self) -> ImportedGraph:
        """The verified graph, its nodes named by the modules that made them."""
        graph, names = self._tensors.named(self._outputs)
        sources = {names[name]: source for name, source in self._tensors.sources.items()}
        last = frozenset(names[name] for name in self._tensors.last)
        return ImportedGraph(graph, sources, last, tuple(self._forms))

    def _check_known(self, item: fx.Node) -> None:
        if item.op == "call_function":
            check_known(item, self._converters)

    def _read_by(self, item: fx.Node) -> Iterable[fx.Node]:
        return item.all_input_nodes

    def _made_by(self, item: fx.Node) -> Iterable[fx.Node]:
        return (item,)

    def _where(self, item: fx.Node) -> str:
        call: Any = item.args[0] if item.target is GETITEM else item
        return fx_reader.where(call)

    def _take(self, item: fx.Node) -> None:
        values = self._tensors.values
        if item in self._calls.folded or item.op == "get_attr":
            return
        if item.op == "output":
            self._outputs = [self._output(item, value) for value in flat(item.args[0])]
        elif item.op == "placeholder":
            self._check_placeholder(item)
        elif item.op != "call_function":
            raise ModelError(f"a {item.op}, supported: calls of operators; export it with torch.export")
        elif item.target is fx_reader.QUANTIZE:
            self._quantize(item)
        elif item.target in (fx_reader.DEQUANTIZE, fx_reader.DEQUANTIZE_WEIGHTS):
            self._dequantize(item)
        elif item.target in VIEWS or (item.target in WHOLE and self._keeps_shape(item)):
            value = self._tensors.real(item, item.args[0])
            values[item] = replace(value, shape=self._tensors.shapes.of(item))
        elif item.target in TRANSPOSES:
            self._transpose(item)
        elif (found := self._function(item)) is not None:
            values[item] = found
        elif item.target not in SEVERAL:  # those are taken where one of their results is read
            self._calls.convert(item)

    # quantize and dequantize

    def _check_placeholder(self, node: fx.Node) -> None:
        """An input that is quantized, once at least; who reads it beside that reads what was quantized, which
        is all that the C is given.
        """
        if not node.users:
            raise ModelError(f"input '{node.name}' is read by no operator; leave it out")
        plain = [reader for reader in node.users if reader.target is not fx_reader.QUANTIZE]
        found = {fx_reader.quantization(r) for r in node.users if r.target is fx_reader.QUANTIZE}
        if plain and len(found) != 1:
            raise fx_reader.refuse(
                plain[0], f"reads the input '{node.name}' without its being quantized; {HOW_TO_QUANTIZE}"
            )
        if plain:
            self._tensors.values[node] = self._input(node, found.pop())

    def _input(self, node: fx.Node, quantization: Quantization) -> Value:
        """An input's value, which has the quantization of its first reader."""
        tensors, (given, size) = self._tensors, self._given[node]
        if given not in tensors.types:
            tensors.types[given] = tensor_type(size, quantization)
            tensors.sources[given] = node.name
        return Value(given, tensors.shapes.of(node))

    def _quantize(self, node: fx.Node) -> None:
        source, tensors = node.args[0], self._tensors
        assert isinstance(source, fx.Node)
        quantization = fx_reader.quantization(node)
        if source.op == "placeholder":
            value = self._input(source, quantization)
        else:
            value = tensors.value(node, source)
        if value.function is None and tensors.types[value.name].quantization == quantization:
            tensors.values[node] = value
            return
        name = source.name if value.function is not None else f"{source.name}_requantized"
        path = fx_reader.module_path(source) or source.name
        tensors.add(name, tensors.table(value, quantization), (value.name,), path)
        tensors.sources[name] = source.name
        tensors.values[node] = Value(name, value.shape, last=value.last)
        if value.last:
            tensors.last.add(name)

    def _dequantize(self, node: fx.Node) -> None:
        if fx_reader.is_stored(node):
            return
        value = self._tensors.value(node, node.args[0])
        if fx_reader.quantization(node) != self._tensors.types[value.name].quantization:
            raise ModelError(f"its scale or zero point is not that with which '{node.args[0]}' was quantized")
        self._tensors.values[node] = value

    # views and functions

    def _keeps_shape(self, node: fx.Node) -> bool:
        return self._tensors.shapes.of(node) == self._tensors.shapes.of(node.args[0])

    def _transpose(self, node: fx.Node) -> None:
        tensors, value = self._tensors, self._tensors.real(node, node.args[0])
        order = order_of(node, len(value.shape))
        turned = turned_view(value, order, tensors.types[value.name])
        if turned is None and value.last and len(order) == 3:
            turned = moved_view(value, order)
        if turned is not None:
            tensors.values[node] = turned
            return
        if not value.last and order[0] != 0 and value.shape[0] == 1 and len(order) > 2:  # a batch of rows
            value = Value(tensors.ordered(value), value.shape, last=True)
        if value.last and (ops := turned_rows(value.shape, order)) is not None:
            name = tensors.copies(value, ops)
            tensors.values[node] = Value(name, tuple(value.shape[axis] for axis in order), last=True)
            return
        if value.last:
            value = Value(tensors.plain(value), value.shape)
        shape, op = transposed(order, value.shape, tensors.types[value.name])
        if op is None:
            tensors.values[node] = replace(value, shape=shape)
            return
        source = value.name if len(value.shape) > 4 else tensors.plain(value)
        tensors.add(node.name, op, (source,), fx_reader.module_path(node) or node.name)
        tensors.sources[node.name] = node.name
        tensors.values[node] = Value(node.name, shape)

    def _function(self, node: fx.Node) -> Value | None:
        """The node as a function of one value; None where it is none."""
        if node.target in FUNCTIONS or node.target in LIMITS:
            return composed(node, self._tensors.value(node, node.args[0]))
        if node.target not in PAIRS:
            return None
        operands = [self._tensors.values.get(a) if isinstance(a, fx.Node) else None for a in node.args[:2]]
        given = [number(a) if v is None else v for a, v in zip(node.args, operands, strict=False)]
        return paired(node, given[0], given[1])

    def _output(self, node: fx.Node, given: Any) -> tuple[str, str]:
        """Name of an output, whose order of elements is torch's, and the torch node's."""
        value = self._tensors.value(node, given)
        last = value.last and value.function is None
        self._forms.append(FrameworkShape(value.shape, last))
        return value.name if last else self._tensors.plain(value), str(given)
