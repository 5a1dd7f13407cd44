"""Networks of every operator in every mode: the kernel products' modes one behind and beside the other.

A mode says what it does to a map of any shape, and of what types its other operands are. Here each operand
is taken from what the network has already made, brought to that type by tables, slices and repetition where
nothing fits, or it is a stored map, an input of its own, or what the run before left.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import DetectionsType, Quantization, TensorType
from rnnpool_mcu.ops import lookup
from rnnpool_mcu.ops.broadcast import Broadcast
from rnnpool_mcu.ops.slice import Slice
from rnnpool_mcu.ops.stored import Stored
from tests.graphs import INPUT, GraphBuilder
from tests.ops.kernel_modes import MODES, Mode
from tests.soak.networks.network import Drawn, Network, Random, Reached, network

MOST_BYTES = 3000  # of a value
MOST_LAYERS = 6
MOST_INPUTS = 3
SIDES = (1, 1, 2, 3, 4, 5, 6, 7, 8, 9, 11, 13)
CHANNELS = (1, 1, 2, 3, 4, 4, 5, 6, 7, 8, 8, 9, 12, 16, 17, 33)
IMAGES = (Quantization(1 / 255, -128), Quantization(0.02, -3), Quantization(0.05, 11))
ALL = tuple((operator, mode) for operator, modes in MODES.items() for mode in modes)


def operator_networks(seed: int, count: int) -> Drawn:
    """So many networks of one to six modes."""
    return Drawn([_network(seed * 1000 + i) for i in range(count)])


def _network(seed: int) -> Network:
    rng = np.random.default_rng(seed)
    while (made := _Maker(rng).network()) is None:
        pass
    graph, reached = made
    return network("operators", seed, graph, reached)


class _Maker:
    """Builds one network from random draws."""

    def __init__(self, rng: Random) -> None:
        self._rng = rng
        self._builder = GraphBuilder(self._shape(), seed=int(rng.integers(1 << 20)))
        self._open: list[str] = [INPUT]  # values of tensors, the newest last
        self._ends: list[str] = []  # boxes, which nothing reads
        self._states: list[str] = []
        self._reached: list[Reached] = []

    def network(self) -> tuple[Graph, list[Reached]] | None:
        """The graph and what it covers; None where nothing could be added."""
        for _ in range(int(self._rng.integers(1, MOST_LAYERS + 1))):
            self._layer()
        self._take_states()
        read = {name for node in self._builder.nodes for name in node.inputs}
        made = [node.name for node in self._builder.nodes if node.name not in read]
        maps = [name for name in made if name not in self._ends]
        boxes = self._ends[:1]
        if boxes and sum(self._builder.type_of(name).bytes for name in maps) % 4:
            maps = []  # C has no place for them beside boxes
        if not self._reached or not (maps or boxes):
            return None
        try:
            return self._builder.graph(*boxes, *maps), self._reached
        except ModelError:
            return None

    def _shape(self) -> TensorType:
        rng = self._rng
        return TensorType(
            int(rng.choice(SIDES)), int(rng.choice(SIDES)), int(rng.choice(CHANNELS)), IMAGES[rng.integers(3)]
        )

    def _layer(self) -> None:
        """One more mode, if it takes the map."""
        before = len(self._builder.nodes)
        for _ in range(6):
            operator, mode = self._mode()
            value = self._open[-1 if self._rng.random() < 0.7 else self._rng.integers(len(self._open))]
            try:
                if self._add(operator, mode, value):
                    return
            except (ModelError, ValueError):
                pass
            del self._builder.nodes[before:]

    def _mode(self) -> tuple[type[Operator], Mode]:
        """Modes alike, or operators alike, of which some have many modes."""
        if self._rng.random() < 0.5:
            return ALL[self._rng.integers(len(ALL))]
        operator = list(MODES)[self._rng.integers(len(MODES))]
        return operator, MODES[operator][self._rng.integers(len(MODES[operator]))]

    def _add(self, operator: type[Operator], mode: Mode, value: str) -> bool:
        image = self._builder.type_of(value)
        made = mode.build(image)
        if made is None:
            return False
        op, types = made
        out = op.infer_type(types)
        if isinstance(out, DetectionsType) and self._ends:
            return False  # a graph gives one list of boxes
        if out.bytes > MOST_BYTES or any(kind.bytes > MOST_BYTES for kind in types):
            return False
        op.c_params(types)
        inputs = [self._operand(kind, value) for kind in types]
        name = self._builder.add(op, *inputs)
        if isinstance(out, TensorType):
            self._open.append(name)
        else:
            self._ends.append(name)
        self._reached.append(Reached(operator.__name__, mode.name, image.shape))
        return True

    def _operand(self, kind: TensorType, value: str) -> str:
        """A value of a type."""
        b, draw = self._builder, self._rng.random()
        exact = [name for name in self._open if b.type_of(name) == kind]
        if value in exact and draw < 0.8:
            return value
        if exact and draw < 0.5:
            return exact[self._rng.integers(len(exact))]
        if draw > 0.9 and len(b.more_inputs) < MOST_INPUTS - 1:
            return b.another_input(kind)
        if draw > 0.8 and len(b.states) < MOST_INPUTS:
            return b.state(kind, None if self._rng.random() < 0.5 else kind.zero_point)
        if draw > 0.65:
            height = 1 if self._rng.random() < 0.3 else kind.height
            values = self._rng.integers(-128, 128, (height, *kind.shape[1:]), dtype=np.int8)
            return b.add(Stored(values, kind.quantization, kind.height), value)
        return self._brought(kind, value)

    def _brought(self, kind: TensorType, value: str) -> str:
        """A value made into the type: cut to its sides, repeated where it has one, then by a table."""
        b, given = self._builder, self._builder.type_of(value)
        if given.shape != kind.shape:
            size = [min(a, c) if a >= c else 1 for a, c in zip(given.shape, kind.shape, strict=True)]
            value = b.add(Slice((0, 0, 0), (size[0], size[1], size[2])), value)
            if tuple(size) != kind.shape:
                value = b.add(Broadcast(kind.shape), value)
        if given.quantization != kind.quantization:
            value = b.add(lookup.requantize(given.quantization, kind.quantization), value)
        return value

    def _take_states(self) -> None:
        """Every state takes a value of its type over, made or brought."""
        b = self._builder
        for state in b.states:
            fits = [name for name in self._open if self._fits(b.type_of(name), state.type)]
            if not fits:
                kind = replace(state.type, height=int(self._rng.integers(1, state.type.height + 1)))
                fits = [self._made(kind)]
            b.takes(state.name, fits[self._rng.integers(len(fits))])

    def _made(self, kind: TensorType) -> str:
        """By an operator, as a state itself is no result."""
        value = self._open[self._rng.integers(len(self._open))]
        made = self._brought(kind, value)
        return self._builder.add(Slice((0, 0, 0), kind.shape), made) if made == value else made

    @staticmethod
    def _fits(new: TensorType, old: TensorType) -> bool:
        rows = replace(new, height=old.height) == old
        return rows and new.height <= old.height
