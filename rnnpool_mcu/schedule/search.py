"""The Pareto front of (peak RAM, predicted instructions) over how a graph can be run.

The choices that span the space: where it is cut into cascades, which inverted-residual blocks run fused and
keep all but the newest of their expanded rows, which of them recompute those rows instead, and which heads
normalise their rows as they read them.

Cuts: a cascade's peak depends on nothing outside it but the values that cross its ends, so the cuts with
the lowest peak are a path whose largest edge is smallest. Blocks: from two starts, nothing fused and every
block fused but nothing repeated, each round lowers the peak; of the changes that do, the one that costs the
fewest instructions a byte is taken. Candidates are judged by the most bytes live in one step, which the
arena's placement meets or comes near, or by first fit where values stand whole.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Absorber
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.schedule.arena import EXACT_EFFORT
from rnnpool_mcu.schedule.costs import predicted_cost, predicted_total, predicted_work
from rnnpool_mcu.schedule.fuse import (
    Block,
    BlockOption,
    Fusible,
    Option,
    chunk_sizes,
    fusibles,
    replacement,
    with_replaced,
)
from rnnpool_mcu.schedule.heads import Head, HeadOption
from rnnpool_mcu.schedule.lifetimes import Footprint, footprint
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.schedule.speed import faster_nodes

TILES = (8, 4)  # output columns a fused block computes at once
HEAD_TILES = (1 << 16, 16, 8)  # and a fused head; the first is a whole row
MAX_CHUNK = 32  # expanded channels of one that a block recomputes at once, if not all
MAX_ROUNDS = 200
TRIED = 2  # neighbours that lower the peak, of which the cheapest is taken
MAX_MISSES = 8  # cascades from one start that do not fit before longer ones are given up


@dataclass(frozen=True)
class Choice:
    """How to run a graph: fused blocks by name, and the values after which a new cascade begins."""

    blocks: Mapping[str, Option]  # and heads
    cuts: tuple[str, ...]  # in the graph's order
    constants_in_ram: bool = False  # of the operators that have such a variant


@dataclass(frozen=True, eq=False)
class Candidate:
    """A choice with what it takes."""

    choice: Choice
    graph: Graph  # with the choice's blocks fused
    peak: Footprint  # of the cascade that needs most
    instructions: float  # predicted, of one inference
    cost: float  # the same and what reading constants from flash takes longer: what the front is ordered by
    tied: int = 1  # cascades that need as much as the one that needs most

    @property
    def peak_bytes(self) -> int:
        """The most bytes live in one step: no arena of this choice is smaller."""
        return self.peak.peak_bytes

    def plan(self, *, exact_effort: float = EXACT_EFFORT) -> Plan:
        """The candidate as a plan with arena offsets."""
        return plan_graph(self.graph, cascades_of(self.graph, self.choice.cuts), exact_effort=exact_effort)


def cascades_of(graph: Graph, cuts: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """The graph's values in order, cut after each value in `cuts`."""
    cascades: list[list[str]] = [[]]
    ends = set(cuts)
    for name in (graph.input_name, *(node.name for node in graph.nodes)):
        cascades[-1].append(name)
        if name in ends:
            cascades.append([])
    return tuple(tuple(values) for values in cascades if values)


class Search:
    """One graph's candidates; the footprint of each cascade is computed once."""

    def __init__(self, graph: Graph, *, constants_in_ram: bool = False) -> None:
        self._graph = graph
        self._faster = faster_nodes(graph) if constants_in_ram else {}
        self._blocks = {fusible.name: fusible for fusible in fusibles(graph)}
        place = {node.name: i for i, node in enumerate(graph.nodes)}
        ordered = (sorted(block.nodes, key=place.__getitem__) for block in self._blocks.values())
        inner = {name for names in ordered for name in names[:-1]}
        self._places: dict[tuple[str, Option], Mapping[str, tuple[Node, ...]]] = {}
        self._ends = tuple(node.name for node in graph.nodes if node.name not in inner)
        self._footprints: dict[tuple[object, ...], Footprint] = {}
        self._costs: dict[tuple[str, Option | None], float] = {}

    def front(self) -> tuple[Candidate, ...]:
        """Candidates none of which is beaten in both RAM and cost; fastest first."""
        kept = self._all_keeping_rows()
        seen = self._descent(self._evaluate(kept, ())) if kept else []
        seen += self._descent(self._evaluate({}, ()))
        if self._faster:
            seen += [
                self._evaluate(c.choice.blocks, c.choice.cuts, constants_in_ram=True) for c in pareto(seen)
            ]
        return pareto(seen)

    def _all_keeping_rows(self) -> dict[str, Option]:
        """Every block with an expansion fused the way that repeats no work."""
        blocks = ((name, block) for name, block in self._blocks.items() if isinstance(block, Block))
        return {name: BlockOption(True, TILES[0]) for name, block in blocks if block.expand is not None}

    def _descent(self, candidate: Candidate) -> list[Candidate]:
        """The candidates from one start down, each smaller than the last."""
        seen = [candidate]
        for _ in range(MAX_ROUNDS):
            recut = self._recut(candidate)
            better = recut if recut is not None else self._lower(candidate)
            if better is None:
                break
            candidate = better
            seen.append(candidate)
        return seen

    def _evaluate(
        self, blocks: Mapping[str, Option], cuts: tuple[str, ...], *, constants_in_ram: bool = False
    ) -> Candidate:
        choice = Choice(blocks, cuts, constants_in_ram)
        graph = self._fused(choice)
        footprints: list[Footprint] = []
        done: list[str] = []
        for cascade in cascades_of(graph, cuts):
            footprints.append(self._footprint(graph, choice, cascade, done))
            done += cascade
        peak = max(footprints, key=lambda f: f.peak_bytes)
        tied = sum(f.peak_bytes == peak.peak_bytes for f in footprints)
        return Candidate(choice, graph, peak, predicted_total(graph), predicted_cost(graph), tied)

    def _fused(self, choice: Choice) -> Graph:
        places: dict[str, tuple[Node, ...]] = {}
        for name, option in choice.blocks.items():
            places |= self._replacement(name, option)
        return with_replaced(self._graph, places | (self._faster if choice.constants_in_ram else {}))

    def _replacement(self, name: str, option: Option) -> Mapping[str, tuple[Node, ...]]:
        """Made once, so that graphs with the same choice share their nodes."""
        key = (name, option)
        if key not in self._places:
            self._places[key] = replacement(self._graph, self._blocks[name], option)
        return self._places[key]

    def _footprint(self, graph: Graph, choice: Choice, cascade: Iterable[str], done: list[str]) -> Footprint:
        values = tuple(cascade)
        copied = choice.constants_in_ram and not self._faster.keys().isdisjoint(values)
        key = (values, tuple(choice.blocks.get(name) for name in values), copied)
        if key not in self._footprints:
            self._footprints[key] = footprint(graph, values, done)
        return self._footprints[key]

    def _recut(self, candidate: Candidate) -> Candidate | None:
        """The same blocks with the cuts of the lowest peak; None unless that is lower than now."""
        graph, limit = candidate.graph, candidate.peak_bytes
        names = [graph.input_name, *(node.name for node in graph.nodes)]
        crossing = crossing_bytes(graph)
        allowed = (name for name in self._ends if name in crossing and crossing[name] < limit)
        ends = [0, *(names.index(name) + 1 for name in allowed)]
        if len(ends) > 1:  # cutting wherever that is allowed: what needs more is not worth simulating
            steps = ((names[a:b], names[:a]) for a, b in pairwise(ends))
            peaks = (self._footprint(graph, candidate.choice, *step).peak_bytes for step in steps)
            limit = min(limit, max(peaks) + 1)
        best: list[tuple[int, int, int]] = [(0, 0, 0)] + [(limit, 0, 0)] * (len(ends) - 1)  # peak, cuts, from
        for i, start in enumerate(ends[:-1]):
            if best[i][0] >= limit:
                continue
            misses = 0
            for j in range(i + 1, len(ends)):
                values = names[start : ends[j]]
                size = self._footprint(graph, candidate.choice, values, names[:start]).peak_bytes
                if size >= limit:
                    misses += 1
                    if misses == MAX_MISSES:
                        break
                    continue
                best[j] = min(best[j], (max(best[i][0], size), best[i][1] + 1, i))
        if best[-1][0] >= limit:
            return None
        cuts, at = [], best[-1][2]
        while at:
            cuts.append(names[ends[at] - 1])
            at = best[at][2]
        return self._evaluate(candidate.choice.blocks, tuple(reversed(cuts)))

    def _lower(self, candidate: Candidate) -> Candidate | None:
        """A neighbour that lowers the peak at few instructions a byte; None when none lowers it.

        Where several cascades have the same peak, each has to be lowered in turn before the peak is.
        Neighbours are simulated in the order of their estimated price, until TRIED of them have lowered it.
        """
        better: list[tuple[float, int, Candidate]] = []
        for blocks in self._neighbours(candidate):
            other = self._evaluate(blocks, candidate.choice.cuts)
            saved = candidate.peak_bytes - other.peak_bytes
            if saved > 0 or (saved == 0 and other.tied < candidate.tied):
                price = max(0.0, other.instructions - candidate.instructions) / max(1, saved)
                better.append((price, len(better), other))
            if len(better) == TRIED:
                break
        return min(better)[2] if better else None

    def _neighbours(self, candidate: Candidate) -> list[dict[str, Option]]:
        """The same with one block, alive at the peak, run the next way; by estimate cheapest a byte first."""
        chosen = candidate.choice.blocks
        found: list[tuple[float, int, dict[str, Option]]] = []
        for name, block in self._blocks.items():
            alive = candidate.peak.of(block.nodes)
            for option in _options_after(self._graph, block, chosen.get(name)) if alive else ():
                other = {**chosen, name: option}
                kept = sum(node.op.state_bytes(types) for node, types in self._nodes(name, option))
                dearer = self._instructions(name, option) - self._instructions(name, chosen.get(name))
                found.append((max(0.0, dearer) / max(1, alive - kept), len(found), other))
        return [blocks for _, _, blocks in sorted(found, key=lambda item: item[:2])]

    def _nodes(self, name: str, option: Option | None) -> list[tuple[Node, tuple[TensorType, ...]]]:
        """The nodes that a block or head is run as, with their input types."""
        if option is None:
            nodes = [self._graph.node(inner) for inner in self._blocks[name].nodes]
            return [(node, self._graph.input_types(node)) for node in nodes]
        graph = with_replaced(self._graph, self._replacement(name, option))
        nodes = [node for made in self._replacement(name, option).values() for node in made]
        return [(node, graph.input_types(node)) for node in nodes]

    def _instructions(self, name: str, option: Option | None) -> float:
        """Predicted instructions of a block or head run that way."""
        key = (name, option)
        if key not in self._costs:
            works = (work for node, types in self._nodes(name, option) for work in node.op.work(types))
            self._costs[key] = sum(map(predicted_work, works))
        return self._costs[key]


def crossing_bytes(graph: Graph) -> dict[str, int]:
    """For a cut after each value: bytes of the values made before and read after it, by all but absorbers."""
    last_read = {
        name: i for i, n in enumerate(graph.nodes) if not isinstance(n.op, Absorber) for name in n.inputs
    }
    made_at = {graph.input_name: -1} | {node.name: i for i, node in enumerate(graph.nodes)}
    sizes = {name: t.bytes for name, t in graph.types.items() if isinstance(t, TensorType)}
    return {
        node.name: sum(sizes[name] for name, last in last_read.items() if made_at[name] <= i < last)
        for i, node in enumerate(graph.nodes)
    }


def pareto_front(graph: Graph, *, constants_in_ram: bool = False) -> tuple[Candidate, ...]:
    """The front of a verified graph, fastest first.

    With `constants_in_ram` operators may also run from copies of their constants.
    """
    return Search(graph, constants_in_ram=constants_in_ram).front()


def pareto(candidates: Iterable[Candidate]) -> tuple[Candidate, ...]:
    """Those that no other beats in both peak and cost, fastest first."""
    front: list[Candidate] = []
    for candidate in sorted(candidates, key=lambda c: (c.cost, c.peak_bytes, len(c.choice.cuts))):
        if not front or candidate.peak_bytes < front[-1].peak_bytes:
            front.append(candidate)
    return tuple(front)


def _options_after(graph: Graph, fusible: Fusible, current: Option | None) -> tuple[Option, ...]:
    """The next ways to run a block or head that take less RAM than the current one."""
    if isinstance(fusible, Head):
        tile = current.tile if current is not None else HEAD_TILES[0] + 1
        return tuple(HeadOption(t) for t in HEAD_TILES if t < tile)[:1]
    assert current is None or isinstance(current, BlockOption)
    return _block_options_after(fusible, current, chunk_sizes(graph, fusible, MAX_CHUNK))


def _block_options_after(
    block: Block, current: BlockOption | None, chunks: tuple[int, ...]
) -> tuple[BlockOption, ...]:
    tile = TILES[0] if current is None else current.tile
    limit = current.chunk // 2 if current is not None and current.chunk else MAX_CHUNK
    smaller = [chunk for chunk in chunks if chunk <= limit]
    found = [BlockOption(False, tile, chunk) for chunk in smaller[:1]]
    if current is None or current.keep_rows:
        found.append(BlockOption(False, tile))
    if current is None and block.expand is not None:
        found.append(BlockOption(True, tile))
    if current is not None:
        found += [replace(current, tile=t) for t in TILES if t < tile][:1]
    return tuple(reversed(found))
