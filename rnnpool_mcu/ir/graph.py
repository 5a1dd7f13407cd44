"""The integer graph: nodes in topological order, one output each, over inputs and states."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from types import MappingProxyType

from rnnpool_mcu.ir.operator import Int8Array, Operator
from rnnpool_mcu.ir.tensor_type import TensorType, ValueType


@dataclass(frozen=True, eq=False)
class Node:
    """One operator applied to named values; its result carries the node's name."""

    name: str
    op: Operator
    inputs: tuple[str, ...]


@dataclass(frozen=True)
class Input:
    """A tensor that the caller gives anew in each run, row after row."""

    name: str
    type: TensorType


@dataclass(frozen=True, eq=False)
class State:
    """A tensor that the caller keeps from one run to the next; nodes read it as it was when the run began.

    When a run ends, the rows of `next` are appended and as many of the oldest go: all of them where `next`
    has as many rows as the state; else the state is a ring of the last rows made.
    """

    name: str
    type: TensorType
    initial: Int8Array  # before the first run, of the type's shape
    next: str  # an input or a node's value


@dataclass(frozen=True, eq=False)
class Graph:
    """Nodes in topological order over inputs and states; values are named by the node that makes them.

    With `image_resident` the inputs stand in the arena as a whole when a run begins, and a row of theirs may
    be overwritten once it was read; else a caller hands over row after row.
    """

    input_name: str  # the first input's, of most models the image
    input_type: TensorType
    nodes: tuple[Node, ...]
    outputs: tuple[str, ...]
    image_resident: bool = False
    more_inputs: tuple[Input, ...] = ()
    states: tuple[State, ...] = ()

    @cached_property
    def inputs(self) -> tuple[Input, ...]:
        """Every input, in the order in which the C takes them."""
        return (Input(self.input_name, self.input_type), *self.more_inputs)

    @cached_property
    def given(self) -> tuple[Input | State, ...]:
        """What no node makes: inputs, then states."""
        return (*self.inputs, *self.states)

    @cached_property
    def input_names(self) -> frozenset[str]:
        return frozenset(given.name for given in self.inputs)

    @cached_property
    def state_names(self) -> frozenset[str]:
        return frozenset(state.name for state in self.states)

    @cached_property
    def values(self) -> tuple[str, ...]:
        """What a run makes, in order: rows of the inputs as they are taken, then the nodes' results."""
        return (*(given.name for given in self.inputs), *(node.name for node in self.nodes))

    @cached_property
    def held(self) -> frozenset[str]:
        """Values that states take their next content from: whole until the run ends."""
        return frozenset(state.next for state in self.states)

    @cached_property
    def results(self) -> frozenset[str]:
        """What a run must leave: the outputs, and what states take over."""
        return self.held.union(self.outputs)

    @cached_property
    def types(self) -> Mapping[str, ValueType]:
        """Type of every value, inferred by the operators in order."""
        types: dict[str, ValueType] = {given.name: given.type for given in self.given}
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
