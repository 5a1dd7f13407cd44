"""Row order inside a cascade: the deepest operator whose input rows are there goes first.

That one rule is what the generated C follows too, so the order is known here step by step. It drains
every row as far down the network as it can go before the next image row is pulled, which keeps the
rolling buffers of a chain at the rows its kernels span.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from weakref import WeakKeyDictionary

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Absorber, RowWindow
from rnnpool_mcu.ir.plan import Step
from rnnpool_mcu.ir.tensor_type import TensorType


@dataclass
class Progress:
    """How far each value has got: rows made, and rows absorbed per input group."""

    made: dict[str, int]
    absorbed: dict[str, list[int]]


# Windows of a node over all of its output rows: graphs that differ in one block share their other nodes.
_WINDOWS: WeakKeyDictionary[Node, tuple[tuple[RowWindow, ...], ...]] = WeakKeyDictionary()


def windows_of(graph: Graph, node: Node) -> tuple[tuple[RowWindow, ...], ...]:
    """The input windows of every output row of a row operator."""
    found = _WINDOWS.get(node)
    if found is None:
        types, rows = graph.input_types(node), range(height_of(graph, node.name))
        found = _WINDOWS[node] = tuple(node.op.input_windows(row, types) for row in rows)
    return found


def height_of(graph: Graph, value: str) -> int:
    """Rows of a value; a list of detections counts as one row."""
    value_type = graph.types[value]
    return value_type.height if isinstance(value_type, TensorType) else 1


def fresh_progress(graph: Graph) -> Progress:
    """Nothing made yet."""
    made = dict.fromkeys(graph.types, 0)
    absorbed = {n.name: [0] * len(n.op.groups()) for n in graph.nodes if isinstance(n.op, Absorber)}
    return Progress(made, absorbed)


def complete(graph: Graph, progress: Progress, values: Sequence[str]) -> None:
    """Mark values as made, and their rows as absorbed by the absorbers that read them."""
    for name in values:
        progress.made[name] = height_of(graph, name)
    known = set(values)
    for node in graph.nodes:
        if not isinstance(node.op, Absorber):
            continue
        for index, group in enumerate(node.op.groups()):
            if known.issuperset(node.inputs[i] for i in group):
                progress.absorbed[node.name][index] = height_of(graph, node.inputs[group[0]])


def next_step(graph: Graph, node: Node, progress: Progress) -> Step | None:
    """The step that `node` could take now, or None when it waits for rows or is done."""
    if isinstance(node.op, Absorber):
        return _next_absorb(graph, node, node.op, progress)
    row = progress.made[node.name]
    if row == height_of(graph, node.name):
        return None
    for name, window in zip(node.inputs, windows_of(graph, node)[row], strict=True):
        if progress.made[name] < min(window.stop, height_of(graph, name)):
            return None
    return Step("row", node.name, row)


def _next_absorb(graph: Graph, node: Node, op: Absorber, progress: Progress) -> Step | None:
    if progress.made[node.name]:
        return None
    waiting = False
    for index, group in reversed(list(enumerate(op.groups()))):
        row = progress.absorbed[node.name][index]
        if row == height_of(graph, node.inputs[group[0]]):
            continue
        waiting = True
        if all(progress.made[node.inputs[i]] > row for i in group):
            return Step("absorb", node.name, row, index)
    return None if waiting else Step("finish", node.name, 0)


def advance(progress: Progress, step: Step) -> None:
    """Record that a step was taken."""
    if step.kind == "absorb":
        progress.absorbed[step.value][step.group] += 1
    else:
        progress.made[step.value] += 1


class Cascade:
    """The values made together, and which of their nodes may be ready.

    Absorbers take rows of a cascade's values as they are made, also when they finish in a later one. A node
    found waiting is not asked again until one of its inputs has grown: long chains stay cheap.
    """

    def __init__(self, graph: Graph, values: Sequence[str]) -> None:
        self._graph, self._values = graph, values
        self._members = set(values)
        self._nodes = [node for node in reversed(graph.nodes) if self._takes_part(node)]
        self._pulls_image = graph.input_name in self._members
        self._waiting: set[str] = set()

    def _takes_part(self, node: Node) -> bool:
        early = isinstance(node.op, Absorber) and not self._members.isdisjoint(node.inputs)
        return early or node.name in self._members

    def next_step(self, progress: Progress) -> Step | None:
        """The step the cascade takes next, or None when all of its values are complete.

        Raises RuntimeError when the cascade is stuck, which a verified graph cut in order never is.
        """
        for node in self._nodes:
            if node.name in self._waiting:
                continue
            step = next_step(self._graph, node, progress)
            if step is not None and (step.kind != "finish" or node.name in self._members):
                return step
            self._waiting.add(node.name)
        row = progress.made[self._graph.input_name]
        if self._pulls_image and row < self._graph.input_type.height:
            return Step("image", self._graph.input_name, row)
        unfinished = [v for v in self._values if progress.made[v] < height_of(self._graph, v)]
        if unfinished:
            raise RuntimeError(f"cascade stops before '{unfinished[0]}' is complete")
        return None

    def advance(self, progress: Progress, step: Step) -> None:
        """Take a step: record it, and ask the readers of its value again."""
        advance(progress, step)
        self._waiting.difference_update(node.name for node in self._graph.consumers[step.value])


def first_needed_row(graph: Graph, value: str, progress: Progress) -> int:
    """The lowest row of a value that some consumer still has to read; the rows made when none does."""
    needed = progress.made[value]
    for node in graph.consumers[value]:
        needed = min(needed, _first_needed_by(graph, node, value, progress))
    return needed


def _first_needed_by(graph: Graph, node: Node, value: str, progress: Progress) -> int:
    made = progress.made[value]
    if isinstance(node.op, Absorber):
        rows = progress.absorbed[node.name]
        groups = enumerate(node.op.groups())
        return min(rows[g] for g, group in groups if value in [node.inputs[i] for i in group])
    row = progress.made[node.name]
    if row == height_of(graph, node.name):
        return made
    windows = zip(node.inputs, windows_of(graph, node)[row], strict=True)
    return min(max(0, window.first) for name, window in windows if name == value)
