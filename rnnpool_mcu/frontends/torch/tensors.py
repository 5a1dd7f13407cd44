"""The values of an exported torch graph, and the integer graph that is made of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from torch import fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.builder import Builder
from rnnpool_mcu.frontends.channels_first import image_shape, product
from rnnpool_mcu.frontends.node_names import readable_names
from rnnpool_mcu.frontends.torch import fx_reader
from rnnpool_mcu.frontends.torch.call import HOW_TO_QUANTIZE
from rnnpool_mcu.frontends.torch.shapes import Shapes
from rnnpool_mcu.frontends.values import Value
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Operator


class Tensors(Builder):
    """Values by their torch node; nodes are named by torch's until the end."""

    def __init__(self, shapes: Shapes) -> None:
        """`shapes` are those of the torch graph."""
        super().__init__()
        self.shapes = shapes
        self.values: dict[fx.Node, Value] = {}
        self.last: set[str] = set()  # values whose torch tensor has its elements in the graph's order
        self._paths: dict[str, str] = {}

    def add(self, name: str, op: Operator, inputs: tuple[str, ...], path: str) -> None:
        """Append a node that is named by a module's path at the end."""
        self._paths[name] = path
        self.append(Node(name, op, inputs))

    def note_copy(self, copy: str, name: str) -> None:
        """A copy is named behind the module that made the value."""
        self._paths[copy] = f"{self._paths.get(name, name)}.as_{self.types[copy]}"

    def settle(self, node: fx.Node, name: str, shape: tuple[int, ...], *, last: bool = False) -> None:
        """A node's value is what was made; ModelError where torch's shape of it is another."""
        kind = self.types[name]
        sides = [side for side in (kind.channels, kind.height, kind.width) if side != 1]
        squeezed = [side for side in shape if side != 1]
        wrong = product(shape) != product(kind.shape)
        if wrong or (
            not last and len(shape) <= 4 and image_shape(name, shape) != kind.shape and squeezed != sides
        ):
            raise ModelError(f"its result would be {kind}, torch's is {list(shape)}; leave it out, or resize")
        self.values[node] = Value(name, shape, last=last)
        self.sources[name] = node.name
        if last:
            self.last.add(name)

    def value(self, user: fx.Node, given: Any) -> Value:
        """The value of an operand; ModelError where it is none."""
        if isinstance(given, fx.Node) and given in self.values:
            return self.values[given]
        if isinstance(given, fx.Node) and given.op != "get_attr":
            raise fx_reader.refuse(given, f"its result is read by {user} without being quantized")
        raise ModelError(f"operand {given!r} is a constant, a tensor of the model is needed")

    def real(self, user: fx.Node, given: Any) -> Value:
        """A computed value that is no function waiting for its quantization."""
        found = self.value(user, given)
        if found.function is not None:
            raise fx_reader.refuse(
                given, f"its result is read by {user} without being quantized; {HOW_TO_QUANTIZE}"
            )
        return found

    def plain(self, value: Value) -> str:
        """Name of a value in the order that torch's shape stands for."""
        if value.function is not None:
            raise ModelError(f"'{value.label}' of '{value.name}' is not quantized; {HOW_TO_QUANTIZE}")
        return super().plain(value)

    def named(self, outputs: list[tuple[str, str]]) -> tuple[Graph, dict[str, str]]:
        """The verified graph, nodes named by the modules that made them, and each name by torch's."""
        if not self.inputs or any(name not in self.types for name in self.inputs):
            raise ModelError("graph: it has no quantized input, or one that is not; a model takes tensors")
        graph = self.graph(outputs)
        readable = readable_names([self._paths[node.name] for node in graph.nodes], taken=self.inputs)
        names = {name: name for name in self.inputs}
        names |= {node.name: name for node, name in zip(graph.nodes, readable, strict=True)}
        nodes = tuple(
            Node(names[node.name], node.op, tuple(names[given] for given in node.inputs))
            for node in graph.nodes
        )
        return replace(graph, nodes=nodes, outputs=tuple(names[name] for name in graph.outputs)), names
