"""One random network with the inputs it is run on, and how it is planned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import TensorType

Random = np.random.Generator
RUNS = 5


@dataclass(frozen=True)
class Reached:
    """A thing that a network covers: an operator in a mode, on a map of these sides."""

    operator: str
    mode: str
    shape: tuple[int, int, int]


@dataclass(frozen=True, eq=False)
class Network:
    """A graph, its inputs, and the choices of its plan."""

    kind: str  # which generator made it
    seed: int  # and from what
    graph: Graph
    batch: Batch
    resident: bool  # the inputs stand in the arena
    passes: bool  # run before it is planned
    rank: float  # which plan of the front, the fastest first; 1: each value whole
    reached: tuple[Reached, ...] = ()

    def on(self, graph: Graph) -> Network:
        """The same choices for another graph, on inputs of its own."""
        return replace(self, graph=graph, batch=inputs_of(graph, np.random.default_rng(self.seed)))


@dataclass(frozen=True)
class Disagreement:
    """A model file whose graph is not what its own runtime computes."""

    kind: str
    seed: int
    where: str
    suffix: str = ""
    data: bytes = b""


@dataclass(frozen=True)
class Drawn:
    """What a generator made of a seed: networks, what was refused, and what disagrees with its source."""

    networks: Sequence[Network] = ()
    refused: Sequence[str] = ()
    compared: int = 0  # with their sources' runtimes
    disagreements: Sequence[Disagreement] = ()


def joined(parts: Sequence[Drawn]) -> Drawn:
    """What several generators made."""
    return Drawn(
        [one for part in parts for one in part.networks],
        [one for part in parts for one in part.refused],
        sum(part.compared for part in parts),
        [one for part in parts for one in part.disagreements],
    )


def network(kind: str, seed: int, graph: Graph, reached: Sequence[Reached] = ()) -> Network:
    """The graph with inputs and choices that follow from the seed."""
    rng = np.random.default_rng([seed, 1])
    resident, passes = bool(rng.random() < 0.4), bool(rng.random() < 0.4)
    rank = float(rng.choice([0.0, 1.0, rng.random(), rng.random(), rng.random()]))
    batch = inputs_of(graph, np.random.default_rng(seed))
    return Network(kind, seed, graph, batch, resident, passes, rank, tuple(reached) or shapes_of(graph))


def shapes_of(graph: Graph) -> tuple[Reached, ...]:
    """Each operator of a graph with the map it reads."""
    types = [(node, graph.input_types(node)[0]) for node in graph.nodes]
    return tuple(Reached(type(node.op).__name__, "", kind.shape) for node, kind in types)


def inputs_of(graph: Graph, rng: Random) -> Batch:
    """Runs over the least, the greatest, zero points, extremes mixed, and random bytes, in any order; states
    are reset before the first and before one other."""
    order = rng.permutation(RUNS)
    arrays = [_runs_of(given.type, order, rng) for given in graph.inputs]
    batch = Batch.sequence(*arrays)
    batch.starts[int(rng.integers(2, RUNS))] = True
    return batch


def _runs_of(kind: TensorType, order: NDArray[np.int64], rng: Random) -> NDArray[np.uint8]:
    shape = kind.shape
    runs = [
        np.full(shape, 0, np.uint8),
        np.full(shape, 255, np.uint8),
        np.full(shape, kind.zero_point + 128, np.uint8),
        rng.choice(np.array([0, 255], np.uint8), shape),
        rng.integers(0, 256, shape, dtype=np.uint8),
    ]
    return np.stack([runs[i] for i in order])
