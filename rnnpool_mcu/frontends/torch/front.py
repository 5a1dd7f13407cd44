"""Frontend of quantized torch.export graphs: aten calls between quantize nodes become integer nodes.

A node's scale, zero point and fused activation are known where its result is quantized: everything between a
dequantize node and the next quantize node is one operator, its activation, or a chain of functions of one
value, which is one table. Views cost nothing until somebody reads them in another order than the graph's,
height x width x channels.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from torch import fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.channels_first import HEIGHT, image_shape, reordered, transposed
from rnnpool_mcu.frontends.node_names import readable_names
from rnnpool_mcu.frontends.quantized_layers import tensor_type
from rnnpool_mcu.frontends.torch import fx_reader
from rnnpool_mcu.frontends.torch.call import HOW_TO_QUANTIZE, UNBOUNDED, Call, Converter
from rnnpool_mcu.frontends.torch.channels_last import channels_first, rows_of, turned_view
from rnnpool_mcu.frontends.torch.checks import NOT_SUPPORTED
from rnnpool_mcu.frontends.torch.converters import CONVERTERS
from rnnpool_mcu.frontends.torch.functions import FUNCTIONS, Value, bounds_of, composed, paired
from rnnpool_mcu.frontends.torch.shapes import Shapes, order_of
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ir.verify import verify_graph
from rnnpool_mcu.nn.aten import (
    GETITEM,
    LIMITS,
    PAIRS,
    PARTS,
    TRANSPOSES,
    VIEWS,
    aten,
    call_arguments,
    number,
)
from rnnpool_mcu.ops.broadcast import Broadcast
from rnnpool_mcu.ops.concat import Concat
from rnnpool_mcu.ops.lookup import Lookup, requantize
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.softmax import Softmax

INPUT_NAME = "input"
_SEVERAL = {*PARTS, aten.adaptive_max_pool2d.default}
_WHOLE = {aten.slice.Tensor, aten.narrow.default, aten.expand.default, aten.expand_as.default}
"""Operators that are views where they change no size."""


@dataclass(frozen=True, eq=False)
class ImportedGraph:
    """An integer graph and, for every value of it, the name of the torch node that computes it."""

    graph: Graph
    sources: Mapping[str, str]
    last: frozenset[str] = frozenset()  # values whose torch tensor has its elements in the graph's order


@dataclass(frozen=True, eq=False)
class _Target:
    """Where a call's result ends: behind the activations that were folded into it."""

    node: fx.Node
    quantization: Quantization | None
    bounds: tuple[float, float] = UNBOUNDED


def import_exported(
    module: fx.GraphModule, input_size: tuple[int, int, int], converters: Mapping[Any, Converter] = CONVERTERS
) -> ImportedGraph:
    """Integer graph of a converted (quantize/dequantize) graph; input_size is (height, width, channels).

    Raises ModelError naming the operator, its module and source line for anything that is not supported.
    """
    walk = _Walk(module, input_size, converters)
    for node in module.graph.nodes:
        walk.visit(node)
    return walk.result()


class _Walk:
    """One pass over the torch graph in execution order; nodes are named by torch's until the end."""

    def __init__(
        self, module: fx.GraphModule, input_size: tuple[int, int, int], converters: Mapping[Any, Converter]
    ) -> None:
        self._input_size, self._converters = input_size, converters
        self._shapes = Shapes(module, input_size)
        self._nodes: list[Node] = []
        self._outputs: tuple[str, ...] = ()
        self._types: dict[str, TensorType] = {}
        self._values: dict[fx.Node, Value] = {}
        self._sources: dict[str, str] = {}
        self._paths: dict[str, str] = {}
        self._folded: set[fx.Node] = set()
        self._last: set[str] = set()

    def result(self) -> ImportedGraph:
        """The verified graph, its nodes named by the modules that made them."""
        if INPUT_NAME not in self._types:
            raise ModelError("graph: it has no quantized image input; a model takes one image tensor")
        paths = [self._paths[node.name] for node in self._nodes]
        readable = readable_names(paths, taken=(INPUT_NAME,))
        names = {INPUT_NAME: INPUT_NAME}
        names |= {node.name: name for node, name in zip(self._nodes, readable, strict=True)}
        nodes = tuple(
            Node(names[node.name], node.op, tuple(names[given] for given in node.inputs))
            for node in self._nodes
        )
        outputs = tuple(dict.fromkeys(names[name] for name in self._outputs))
        if INPUT_NAME in outputs:
            raise ModelError("an output is the model's input itself, allowed: results of operators")
        graph = Graph(INPUT_NAME, self._types[INPUT_NAME], nodes, outputs)
        verify_graph(graph)
        sources = {names[name]: source for name, source in self._sources.items()}
        return ImportedGraph(graph, sources, frozenset(names[name] for name in self._last))

    def visit(self, node: fx.Node) -> None:
        """Take one torch node; ModelError names it when that is not possible."""
        if node in self._folded or node.op == "get_attr":
            return
        try:
            self._take(node)
        except (ModelError, ValueError, OverflowError) as error:
            if fx_reader.where(node) in str(error):
                raise
            raise fx_reader.refuse(node, str(error)) from error

    def _take(self, node: fx.Node) -> None:
        if node.op == "output":
            self._outputs = tuple(self._output(node, value) for value in _flat(node.args[0]))
        elif node.op == "placeholder":
            self._check_placeholder(node)
        elif node.op != "call_function":
            raise ModelError(f"a {node.op}, supported: calls of operators; export it with torch.export")
        elif node.target is fx_reader.QUANTIZE:
            self._quantize(node)
        elif node.target in (fx_reader.DEQUANTIZE, fx_reader.DEQUANTIZE_WEIGHTS):
            self._dequantize(node)
        elif node.target in VIEWS or (node.target in _WHOLE and self._keeps_shape(node)):
            self._values[node] = replace(self._real(node, node.args[0]), shape=self._shapes.of(node))
        elif node.target in TRANSPOSES:
            self._transpose(node)
        elif (value := self._function(node)) is not None:
            self._values[node] = value
        elif node.target not in _SEVERAL:  # those are taken where one of their results is read
            self._convert(node)

    # quantize and dequantize

    def _check_placeholder(self, node: fx.Node) -> None:
        readers = {user.target for user in node.users}
        if readers != {fx_reader.QUANTIZE} or self._types:
            raise ModelError("a model must have exactly one image input, quantized to int8")

    def _quantize(self, node: fx.Node) -> None:
        source = node.args[0]
        assert isinstance(source, fx.Node)
        quantization = fx_reader.quantization(node)
        if source.op == "placeholder" and not self._types:
            self._types[INPUT_NAME] = tensor_type(self._input_size, quantization)
            self._sources[INPUT_NAME] = source.name
            self._values[node] = Value(INPUT_NAME, self._shapes.of(source))
            return
        if source.op == "placeholder":
            value = Value(INPUT_NAME, self._shapes.of(source))
        else:
            value = self._value(node, source)
        before = self._types[value.name].quantization
        if value.function is None and before == quantization:
            self._values[node] = value
            return
        if value.function is None:
            op = requantize(before, quantization)
        else:
            with np.errstate(all="ignore"):
                op = Lookup.of(value.function, before, quantization, value.label)
        name = source.name if value.function is not None else f"{source.name}_requantized"
        self._append(name, op, (value.name,), fx_reader.module_path(source) or source.name)
        self._sources[name] = source.name
        self._values[node] = Value(name, value.shape, last=value.last)
        if value.last:
            self._last.add(name)

    def _dequantize(self, node: fx.Node) -> None:
        if fx_reader.is_stored(node):
            return
        value = self._value(node, node.args[0])
        if fx_reader.quantization(node) != self._types[value.name].quantization:
            raise ModelError(f"its scale or zero point is not that with which '{node.args[0]}' was quantized")
        self._values[node] = value

    # views and functions

    def _keeps_shape(self, node: fx.Node) -> bool:
        return self._shapes.of(node) == self._shapes.of(node.args[0])

    def _transpose(self, node: fx.Node) -> None:
        value = self._real(node, node.args[0])
        order = order_of(node, len(value.shape))
        turned = turned_view(value, order, self._types[value.name])
        if turned is not None:
            self._values[node] = turned
            return
        if value.last:
            value = Value(self._plain(value), value.shape)
        shape, op = transposed(order, value.shape, self._types[value.name])
        if op is None:
            self._values[node] = replace(value, shape=shape)
            return
        source = value.name if len(value.shape) > 4 else self._plain(value)
        self._append(node.name, op, (source,), fx_reader.module_path(node) or node.name)
        self._sources[node.name] = node.name
        self._values[node] = Value(node.name, shape)

    def _function(self, node: fx.Node) -> Value | None:
        """The node as a function of one value; None where it is none."""
        if node.target in FUNCTIONS or node.target in LIMITS:
            return composed(node, self._value(node, node.args[0]))
        if node.target not in PAIRS:
            return None
        operands = [self._values.get(a) if isinstance(a, fx.Node) else None for a in node.args[:2]]
        given = [number(a) if v is None else v for a, v in zip(node.args, operands, strict=False)]
        return paired(node, given[0], given[1])

    # operators that compute

    def _convert(self, node: fx.Node) -> None:
        call, result = node, 0
        if node.target is GETITEM:
            call, result = node.args[0], int(node.args[1])  # type: ignore[assignment, arg-type]
        converter = self._converters.get(call.target)
        if converter is None:
            raise fx_reader.refuse(call, NOT_SUPPORTED)
        arguments = call_arguments(call)
        operands = [o for key in converter.inputs for o in _flat(arguments[key]) if _is_computed(o)]
        values = [self._real(call, operand) for operand in operands]
        if not values:
            raise ModelError("all its inputs are stored or constant, a computed one is needed")
        shapes = tuple(value.shape for value in values)
        if all(value.last for value in values) and self._over_rows(node, call, values):
            return
        if len({len(shape) for shape in shapes}) > 1:
            raise ModelError(f"inputs {[list(s) for s in shapes]}, supported: of equally many dimensions")
        names = tuple(
            value.name if converter.flat and not value.last else self._plain(value) for value in values
        )
        if converter.broadcast and len(names) > 1:
            names = self._broadcast(names)
        types, target = tuple(self._types[name] for name in names), self._target(node, converter.clamps)
        parts = self._shapes.parts(call) if call.target in _SEVERAL else ()
        made = self._shapes.of(node)
        ops = converter.convert(
            Call(call, arguments, types, shapes, made, target.quantization, target.bounds, result, parts)
        )
        if target.quantization is None and not converter.keeps:
            raise ModelError(f"its result is read without being quantized; {HOW_TO_QUANTIZE}")
        self._chain(target.node, names, [ops] if isinstance(ops, Operator) else ops, call)
        self._values[target.node] = Value(target.node.name, self._shapes.of(target.node))

    def _over_rows(self, node: fx.Node, call: fx.Node, values: Sequence[Value]) -> bool:
        """Take an operator along an axis of values with their channels last; False for any other."""
        rank, dim = len(values[0].shape), int(call_arguments(call).get("dim") or 0)
        joins = call.target is aten.cat.default and rank >= 3 and dim % rank == 1
        if not joins and not (call.target is aten.softmax.int and rank >= 3 and dim % rank == rank - 1):
            return False
        shapes = [rows_of(value.shape) for value in values]
        names = tuple(
            value.name if self._types[value.name].shape == shape else self._copied(value.name, Reshape(shape))
            for value, shape in zip(values, shapes, strict=True)
        )
        target = self._target(node, clamps=False)
        if target.quantization is None:
            raise ModelError(f"its result is read without being quantized; {HOW_TO_QUANTIZE}")
        op = Concat(target.quantization, HEIGHT) if joins else Softmax(target.quantization)
        self._chain(target.node, names, [op], call)
        self._values[target.node] = Value(target.node.name, self._shapes.of(target.node), last=True)
        self._last.add(target.node.name)
        return True

    def _chain(self, node: fx.Node, names: tuple[str, ...], ops: Sequence[Operator], call: fx.Node) -> None:
        """Append operators one behind the other; the last one gives the node's value."""
        path = fx_reader.module_path(call) or call.name
        for step, op in enumerate(ops, start=1):
            name = node.name if step == len(ops) else f"{node.name}_step_{step}"
            self._append(name, op, names, path)
            names = (name,)
        self._sources[node.name] = node.name

    def _target(self, node: fx.Node, clamps: bool) -> _Target:
        """Where the result goes: through activations, as far as they fold, to its quantization."""
        low, high = UNBOUNDED
        while True:
            readers = list(node.users)
            edges = [reader for reader in readers if reader.target is fx_reader.QUANTIZE]
            if edges and len(edges) != len(readers):
                other = next(reader for reader in readers if reader not in edges)
                raise ModelError(f"its result is read by {other} without being quantized; {HOW_TO_QUANTIZE}")
            bounds = bounds_of(readers[0]) if clamps and len(readers) == 1 else None
            if edges or bounds is None:
                edge = edges[0] if edges else _behind_views(node)
                found = None if edge is None else fx_reader.quantization(edge)
                return _Target(node, found, (low, high))
            low, high = (min(max(bound, bounds[0]), bounds[1]) for bound in (low, high))
            node = readers[0]
            self._folded.add(node)

    # values

    def _value(self, user: fx.Node, value: Any) -> Value:
        if isinstance(value, fx.Node) and value in self._values:
            return self._values[value]
        if isinstance(value, fx.Node) and value.op != "get_attr":
            raise fx_reader.refuse(value, f"its result is read by {user} without being quantized")
        raise ModelError(f"operand {value!r} is a constant, a tensor of the model is needed")

    def _real(self, user: fx.Node, value: Any) -> Value:
        """A computed value that is no function waiting for its quantization."""
        found = self._value(user, value)
        if found.function is not None:
            raise fx_reader.refuse(
                value, f"its result is read by {user} without being quantized; {HOW_TO_QUANTIZE}"
            )
        return found

    def _output(self, node: fx.Node, given: Any) -> str:
        """Name of an output, whose order of elements is torch's."""
        value = self._value(node, given)
        return value.name if value.last and value.function is None else self._plain(value)

    def _plain(self, value: Value) -> str:
        """Name of a value in the order that torch's shape stands for."""
        if value.function is not None:
            raise ModelError(f"'{value.label}' of '{value.name}' is not quantized; {HOW_TO_QUANTIZE}")
        name = value.name
        wanted = image_shape(name, value.shape)
        for op in channels_first(value.shape) if value.last else reordered(self._types[name], wanted):
            name = self._copied(name, op)
        return name

    def _copied(self, name: str, op: Operator) -> str:
        """Name of a copy of a value by an operator that keeps its quantization, made once."""
        made = op.infer_type((self._types[name],))
        copy = f"{name}_as_{made}" if not isinstance(op, Broadcast) else f"{name}_times_{made}"
        if copy not in self._types:
            self._append(copy, op, (name,), f"{self._paths.get(name, name)}.as_{made}")
        return copy

    def _broadcast(self, names: tuple[str, ...]) -> tuple[str, ...]:
        """The names of values repeated where one has a side of 1 and the other has not."""
        shapes = [self._types[name].shape for name in names]
        height, width, channels = (max(sides) for sides in zip(*shapes, strict=True))
        op = Broadcast((height, width, channels))
        return tuple(
            name if shape == op.shape else self._copied(name, op)
            for name, shape in zip(names, shapes, strict=True)
        )

    def _append(self, name: str, op: Operator, inputs: tuple[str, ...], path: str) -> None:
        made = op.infer_type(tuple(self._types[given] for given in inputs))
        assert isinstance(made, TensorType)
        self._types[name] = tensor_type(made.shape, made.quantization)
        self._paths[name] = path
        self._nodes.append(Node(name, op, inputs))


def _flat(result: Any) -> tuple[Any, ...]:
    """The values of a tensor or of a tuple of tensors."""
    return tuple(result) if isinstance(result, (tuple, list)) else (result,)


def _is_computed(operand: Any) -> bool:
    return isinstance(operand, fx.Node) and not fx_reader.is_stored(operand)


def _behind_views(node: fx.Node) -> fx.Node | None:
    """The quantize node that views, the only readers, lead to."""
    readers = list(node.users)
    while len(readers) == 1 and readers[0].target in VIEWS:
        readers = list(readers[0].users)
    return readers[0] if readers and all(r.target is fx_reader.QUANTIZE for r in readers) else None
