"""A graph under construction, the same for every format: its nodes, types and sources."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.channels_first import image_shape, reordered
from rnnpool_mcu.frontends.channels_last import channels_first
from rnnpool_mcu.frontends.quantized_layers import tensor_type
from rnnpool_mcu.frontends.values import Value
from rnnpool_mcu.ir.graph import Graph, Input, Node, State
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ir.verify import verify_graph
from rnnpool_mcu.ops.broadcast import Broadcast
from rnnpool_mcu.ops.lookup import Lookup, requantize
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.transpose import Transpose

INPUT_NAME = "input"


class Builder:
    """Nodes in execution order, the type of every value, and the tensor in the file that it was."""

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.types: dict[str, TensorType] = {}
        self.sources: dict[str, str] = {}
        self.inputs: tuple[str, ...] = (INPUT_NAME,)  # in the file's order, by their names in the graph
        self.states: list[State] = []

    def append(self, node: Node, source: str = "") -> TensorType:
        """Add a node that computes a tensor; ModelError where an input or a scale does not fit it."""
        if node.name in self.types:
            raise ModelError(f"'{source or node.name}' is made twice; the file is damaged")
        inputs = tuple(self.types[name] for name in node.inputs)
        made = node.op.infer_type(inputs)
        assert isinstance(made, TensorType)
        node.op.check_constants(inputs)
        self.types[node.name] = tensor_type(made.shape, made.quantization)
        self.nodes.append(node)
        if source:
            self.sources[node.name] = source
        return made

    def copied(self, name: str, op: Operator, copy: str = "") -> str:
        """Name of a copy of a value by an operator that keeps its quantization, made once."""
        copy = copy or f"{name}_{'times' if isinstance(op, Broadcast) else 'as'}_{self._inferred(op, name)}"
        base, count = copy, 1
        while copy in self.types and not self._is_made_by(copy, op, name):  # two orders of one shape
            count += 1
            copy = f"{base}_{count}"
        if copy not in self.types:
            self.append(Node(copy, op, (name,)))
            self.note_copy(copy, name)
        return copy

    def copies(self, value: Value, ops: Sequence[Operator]) -> str:
        """Name of a value behind copies one behind the other, those that keep its shape left out."""
        if value.function is not None:
            raise ModelError(f"'{value.label}' of '{value.name}' has no quantization of its own")
        name = value.name
        for op in ops:
            same = isinstance(op, Reshape) and op.shape == self.types[name].shape
            name = name if same else self.copied(name, op)
        return name

    def _is_made_by(self, copy: str, op: Operator, name: str) -> bool:
        made = next((node for node in self.nodes if node.name == copy), None)
        return made is not None and made.inputs == (name,) and made.op == op

    def note_copy(self, copy: str, name: str) -> None:
        """What a format keeps beside a copy of a value."""

    def plain(self, value: Value) -> str:
        """Name of a value in the order that the framework's shape stands for, channels first."""
        name = value.name
        wanted = image_shape(name, value.shape)
        for op in channels_first(value.shape) if value.last else reordered(self.types[name], wanted):
            name = self.copied(name, op)
        return name

    def ordered(self, value: Value) -> str:
        """Name of a value whose elements stand in the framework's order, in whatever shape."""
        if value.last:
            return value.name
        name = self.plain(value)
        height, width, channels = self.types[name].shape
        return name if channels == 1 or height * width == 1 else self.copied(name, Transpose((2, 0, 1)))

    def broadcast(self, names: Sequence[str]) -> tuple[str, ...]:
        """The names of values repeated where one has a side of 1 and the other has not."""
        shapes = [self.types[name].shape for name in names]
        height, width, channels = (max(sides) for sides in zip(*shapes, strict=True))
        op = Broadcast((height, width, channels))
        return tuple(
            name if shape == op.shape else self.copied(name, op)
            for name, shape in zip(names, shapes, strict=True)
        )

    def table(self, value: Value, quantization: Quantization) -> Lookup:
        """The operator that makes of a value its function, or itself, at a quantization."""
        before = self.types[value.name].quantization
        if value.function is None:
            return requantize(before, quantization)
        with np.errstate(all="ignore"):
            return Lookup.of(value.function, before, quantization, value.label)

    def graph(self, outputs: Sequence[tuple[str, str]]) -> Graph:
        """The verified graph with outputs, each a value and the name that it has in the file."""
        names: dict[str, str] = {}
        for value, told in outputs:
            if value in self.inputs:
                raise ModelError("an output is the model's input itself, allowed: results of operators")
            if value in names:
                raise ModelError(
                    f"outputs '{names[value]}' and '{told}' are the same tensor, allowed: each once; leave "
                    "one of them out"
                )
            names[value] = told
        first, *others = self.inputs
        graph = Graph(
            *(first, self.types[first], tuple(self.nodes), tuple(names)),
            more_inputs=tuple(Input(name, self.types[name]) for name in others),
            states=tuple(self.states),
        )
        verify_graph(graph)
        return graph

    def _inferred(self, op: Operator, name: str) -> TensorType:
        made = op.infer_type((self.types[name],))
        assert isinstance(made, TensorType)
        return made
