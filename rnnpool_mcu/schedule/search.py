"""The Pareto front of (peak RAM, predicted cycles) over how a graph can be run.

The choices that span the space: where it is cut into cascades, which inverted-residual blocks run fused and
keep all but the newest of their expanded rows, which of them recompute those rows instead, and which heads
normalise their rows as they read them.

Cuts: a cascade's peak depends on nothing outside it but the values that cross its ends, so the cuts with
the lowest peak are a path whose largest edge is smallest. Blocks: from three starts (nothing fused, every
block fused but nothing repeated, every block fused and no row kept) each round lowers the peak; of the
changes that do, the one that costs the fewest cycles a byte is taken. Candidates are judged by the most
bytes live in one step, which the arena's placement meets or comes near, or by first fit where values stand
whole.

Depth: equal blocks are changed a share at a time, cascades that are many and alike together, so that the
number of rounds does not grow with a network's depth; each round is as long as the network, and simulates
only kinds of cascades that no round met before (pricing/prices.py).
"""

from __future__ import annotations

from collections import ChainMap, Counter
from collections.abc import Hashable, Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import pairwise

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Absorber
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.ir.tensor_type import TensorType, ValueType
from rnnpool_mcu.schedule.arena import PLACE_EFFORT
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
from rnnpool_mcu.schedule.lifetimes import Footprint
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.schedule.pricing.costs import predicted_cost, predicted_total, predicted_work
from rnnpool_mcu.schedule.pricing.prices import Frame, Prices
from rnnpool_mcu.schedule.pricing.speed import faster_nodes

TILES = (8, 4)  # output columns a fused block computes at once
HEAD_TILES = (1 << 16, 16, 8)  # and a fused head; the first is a whole row
MAX_CHUNK = 32  # expanded channels of one that a block recomputes at once, if not all
MAX_ROUNDS = 200
TRIED = 2  # neighbours that lower the peak, of which the cheapest is taken
KIND_STEPS = 8  # in which equal blocks alive at the peak are changed; of so few each alone
STEPS = 32  # in which all blocks alive at the peak are
FEW_CASCADES = 4  # equal ones that are lowered one by one, as cutting anew meanwhile may lower the others
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
    cost: float  # predicted cycles of one, waiting for flash included: what the front is ordered by
    frame: Frame
    tied: int = 1  # cascades that need as much as the one that needs most
    equal: tuple[int, ...] = ()  # how many places behind that one others like it begin

    @property
    def peak_bytes(self) -> int:
        """The most bytes live in one step: no arena of this choice is smaller."""
        return self.peak.peak_bytes

    def plan(self, *, place_effort: int = PLACE_EFFORT) -> Plan:
        """The candidate as a plan with arena offsets."""
        return plan_graph(self.graph, cascades_of(self.graph, self.choice.cuts), place_effort=place_effort)


def cascades_of(graph: Graph, cuts: Iterable[str]) -> tuple[tuple[str, ...], ...]:
    """The graph's values in order, cut after each value in `cuts`."""
    cascades: list[list[str]] = [[]]
    ends = set(cuts)
    for name in graph.values:
        cascades[-1].append(name)
        if name in ends:
            cascades.append([])
    return tuple(tuple(values) for values in cascades if values)


class Search:
    """One graph's candidates; the footprint of each kind of cascade is computed once."""

    def __init__(self, graph: Graph, *, constants_in_ram: bool = False) -> None:
        self._graph = graph
        self._faster = faster_nodes(graph) if constants_in_ram else {}
        self._blocks = {fusible.name: fusible for fusible in fusibles(graph)}
        place = {node.name: i for i, node in enumerate(graph.nodes)}
        ordered = (sorted(block.nodes, key=place.__getitem__) for block in self._blocks.values())
        inner = {name for names in ordered for name in names[:-1]}
        self._ends = tuple(node.name for node in graph.nodes if node.name not in inner)
        self.prices = Prices()
        self._kinds = {name: self._kind(block) for name, block in self._blocks.items()}
        self._places: dict[tuple[str, Option], Mapping[str, tuple[Node, ...]]] = {}
        self._worth: dict[tuple[Hashable, Option | None], tuple[float, int]] = {}

    def _kind(self, block: Fusible) -> Hashable:
        """The same for blocks that take as much, however they are run."""
        nodes = [self._graph.node(name) for name in block.nodes]
        return type(block), tuple(self.prices.shape(self._graph, node) for node in nodes)

    def front(self) -> tuple[Candidate, ...]:
        """Candidates none of which is beaten in both RAM and cost; fastest first."""
        fused = [self._all(keep_rows=True), self._all(keep_rows=False)]
        starts: list[dict[str, Option]] = [*(start for start in fused if start), {}]
        seen = [candidate for start in starts for candidate in self._descent(start)]
        if self._faster:
            seen += [
                self._evaluate(c.choice.blocks, c.choice.cuts, constants_in_ram=True) for c in pareto(seen)
            ]
        return pareto(seen)

    def _all(self, *, keep_rows: bool) -> dict[str, Option]:
        """Every block with an expansion fused, the way that repeats no work or the one that keeps no rows."""
        blocks = ((name, block) for name, block in self._blocks.items() if isinstance(block, Block))
        return {name: BlockOption(keep_rows, TILES[0]) for name, block in blocks if block.expand is not None}

    def _descent(self, start: Mapping[str, Option]) -> list[Candidate]:
        """The candidates from one start down, each smaller than the last."""
        seen = [self._evaluate(start, ())]
        for _ in range(MAX_ROUNDS):
            better = self._recut(seen[-1]) or self._lower(seen[-1])
            if better is None:
                break
            seen.append(better)
        return seen

    def _evaluate(
        self, blocks: Mapping[str, Option], cuts: tuple[str, ...], *, constants_in_ram: bool = False
    ) -> Candidate:
        choice = Choice(blocks, cuts, constants_in_ram)
        graph = self._fused(choice)
        frame = Frame(graph, self.prices)
        steps = list(pairwise(frame.edges(cuts)))
        prices = [self.prices.price(frame, *step) for step in steps]
        worst = max(range(len(steps)), key=lambda i: prices[i].peak_bytes)
        peak, first = prices[worst], steps[worst][0]
        tied = sum(price.peak_bytes == peak.peak_bytes for price in prices)
        equal = tuple(step[0] - first for step, p in zip(steps, prices, strict=True) if p is peak)
        cost = predicted_total(graph), predicted_cost(graph)
        return Candidate(choice, graph, frame.peak(peak, first), *cost, frame, tied, equal)

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

    def _recut(self, candidate: Candidate) -> Candidate | None:
        """The same blocks with the cuts of the lowest peak; None unless that is lower than now."""
        frame = candidate.frame
        crossing = crossing_bytes(candidate.graph)
        allowed = [n for n in self._ends if n in crossing and crossing[n] < candidate.peak_bytes]
        cuts = lowest_cuts(frame, self.prices, frame.edges(allowed), candidate.peak_bytes)
        return None if cuts is None else self._evaluate(candidate.choice.blocks, cuts)

    def _lower(self, candidate: Candidate) -> Candidate | None:
        """A neighbour that lowers the peak at few cycles a byte; None when none lowers it.

        Where several cascades have the same peak, each has to be lowered in turn before the peak is.
        Neighbours are simulated in the order of their estimated price, until TRIED of them have lowered it.
        """
        better: list[tuple[float, int, Candidate]] = []
        for blocks in self._neighbours(candidate):
            other = self._evaluate(blocks, candidate.choice.cuts)
            saved = candidate.peak_bytes - other.peak_bytes
            if saved > 0 or (saved == 0 and other.tied < candidate.tied):
                price = max(0.0, other.cost - candidate.cost) / max(1, saved)
                better.append((price, len(better), other))
            if len(better) == TRIED:
                break
        return min(better)[2] if better else None

    def _neighbours(self, candidate: Candidate) -> list[dict[str, Option]]:
        """The same with a few blocks, alive at the peak, run the next way; by estimate cheapest a byte first.

        Of equal blocks a share is changed at once, and in every cascade that is like the one at the peak.
        """
        changes = self._changes(candidate)
        group = {
            kind: -(-count // KIND_STEPS) for kind, count in Counter(kind for _, _, kind in changes).items()
        }
        everything = -(-len({name for name, _, _ in changes}) // STEPS)
        found: list[dict[str, Option]] = []
        while changes:
            kind = changes[0][2]
            size = group[kind]
            same = [c for c in changes if c[2] == kind][:size]
            taken = {name: option for name, option, _ in same}
            for name, option, _ in changes:
                if len(taken) >= everything:
                    break
                taken.setdefault(name, option)
            changes = [c for c in changes if taken.get(c[0]) != c[1]]
            found.append({**candidate.choice.blocks, **self._everywhere(candidate, taken)})
        return found

    def _changes(self, candidate: Candidate) -> list[tuple[str, Option, Hashable]]:
        """Blocks alive at the peak, the next ways to run them, and what changes are alike; cheapest first."""
        chosen = candidate.choice.blocks
        found: list[tuple[float, int, tuple[str, Option, Hashable]]] = []
        for name, block in self._blocks.items():
            alive, now = candidate.peak.of(block.nodes), chosen.get(name)
            for option in _options_after(self._graph, block, now) if alive else ():
                cost, kept = self._worth_of(name, option)
                dearer = cost - self._worth_of(name, now)[0]
                price = max(0.0, dearer) / max(1, alive - kept)
                found.append((price, len(found), (name, option, (self._kinds[name], now, option))))
        return [change for _, _, change in sorted(found, key=lambda item: item[:2])]

    def _everywhere(self, candidate: Candidate, changes: Mapping[str, Option]) -> dict[str, Option]:
        """The changes, and the same in the cascades like the one at the peak, if these are many."""
        frame, chosen, found = candidate.frame, candidate.choice.blocks, dict(changes)
        alike = candidate.equal if len(candidate.equal) > FEW_CASCADES else ()
        for name, option in changes.items():
            for shift in alike if name in frame.place else ():
                other = frame.names[frame.place[name] + shift]
                if self._kinds.get(other) == self._kinds[name] and chosen.get(other) == chosen.get(name):
                    found.setdefault(other, option)
        return found

    def _nodes(self, name: str, option: Option | None) -> list[tuple[Node, tuple[TensorType, ...]]]:
        """The nodes that a block or head is run as, with their input types."""
        if option is None:
            nodes = [self._graph.node(inner) for inner in self._blocks[name].nodes]
            return [(node, self._graph.input_types(node)) for node in nodes]
        types = ChainMap[str, ValueType]({}, dict(self._graph.types))
        found = []
        for node in (node for made in self._replacement(name, option).values() for node in made):
            inputs = tuple(t for t in (types[n] for n in node.inputs) if isinstance(t, TensorType))
            found.append((node, inputs))
            types[node.name] = node.op.infer_type(inputs)
        return found

    def _worth_of(self, name: str, option: Option | None) -> tuple[float, int]:
        """Predicted cycles of a block or head run that way, and the bytes that it keeps."""
        key = (self._kinds[name], option)
        if key not in self._worth:
            nodes = self._nodes(name, option)
            cost = sum(predicted_work(work) for node, types in nodes for work in node.op.work(types))
            self._worth[key] = cost, sum(node.op.state_bytes(types) for node, types in nodes)
        return self._worth[key]


def lowest_cuts(frame: Frame, prices: Prices, ends: list[int], limit: int) -> tuple[str, ...] | None:
    """Of cuts at some of `ends` those with the lowest peak, if that is below `limit`, and few; else None."""
    everywhere = max(prices.price(frame, *step).peak_bytes for step in pairwise(ends))
    limit = min(limit, everywhere + 1)  # what needs more than cutting wherever that is allowed is no use
    best: list[tuple[int, int, int]] = [(0, 0, 0)] + [(limit, 0, 0)] * (len(ends) - 1)  # peak, cuts, from
    for i, start in enumerate(ends[:-1]):
        if best[i][0] >= limit:
            continue
        misses = 0
        for j in range(i + 1, len(ends)):
            size = prices.price(frame, start, ends[j]).peak_bytes
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
        cuts.append(frame.names[ends[at] - 1])
        at = best[at][2]
    return tuple(reversed(cuts))


def crossing_bytes(graph: Graph) -> dict[str, int]:
    """For a cut after each value: bytes of the values made before and read after it, by all but absorbers."""
    last_read = {
        name: i for i, n in enumerate(graph.nodes) if not isinstance(n.op, Absorber) for name in n.inputs
    }
    last_read |= dict.fromkeys(graph.held, len(graph.nodes))
    made_at = dict.fromkeys(graph.input_names, -1) | {node.name: i for i, node in enumerate(graph.nodes)}
    sizes = {n: t.bytes for n, t in graph.types.items() if n in made_at and isinstance(t, TensorType)}
    return {
        node.name: sum(
            sizes[name] for name, last in last_read.items() if name in sizes and made_at[name] <= i < last
        )
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
