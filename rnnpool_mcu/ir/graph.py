"""The integer graph: nodes in topological order, one output each, one image input."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import TensorType, ValueType


@dataclass(frozen=True, eq=False)
class Node:
    """One operator applied to named values; its result carries the node's name."""

    name: str
    op: Operator
    inputs: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order over one image input; values are named by the node that makes them.

    With `image_resident` the whole image stands in the arena when a run begins, and a row of it may be
    overwritten once it was read; else a caller hands over row after row.
    """

    input_name: str
    input_type: TensorType
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    image_resident: bool = False

    @cached_property
    def types(self) -> Mapping[str, ValueType]:
        """Type of every value, inferred by the operators in order."""
        types: dict[str, ValueType] = {self.input_name: self.input_type}
        for node in self.nodes:
            types[node.name] = node.op.infer_type(self._tensor_types(node, types))
        return MappingProxyType(types)

    @cached_property
    def consumers(self) -> Mapping[str, tuple[Node, ...]]:
        """Nodes that read each value, in order."""
        found: dict[str, list[Node]] = {name: [] for name in self.types}
        for node in self.nodes:
            for name in dict.fromkeys(node.inputs):
                found[name].append(node)
        return MappingProxyType({name: tuple(nodes) for name, nodes in found.items()})

    def input_types(self, node: Node) -> tuple[TensorType, ...]:
        """Types of a node's inputs, in its order."""
        return self._input_types[node.name]

    @cached_property
    def _input_types(self) -> Mapping[str, tuple[TensorType, ...]]:
        return {node.name: self._tensor_types(node, self.types) for node in self.nodes}

    def node(self, name: str) -> Node:
        """The node of that name; KeyError when there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise KeyError(name)

    @staticmethod
    def _tensor_types(node: Node, types: Mapping[str, ValueType]) -> tuple[TensorType, ...]:
        found = []
        for name in node.inputs:
            value = types[name]
            if not isinstance(value, TensorType):
                raise ValueError(f"{node.name}: input {name} is not a tensor but {value}")
            found.append(value)
        return tuple(found)
