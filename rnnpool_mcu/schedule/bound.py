"""The least memory that any schedule without recomputation needs, whatever its order.

The RNNPool paper (Saha et al., 2020, appendix, Proposition 1) bounds a stack of stride-1 convolutions: when
a map of m x n is half made, every value read by a kernel of 2 k + 1 rows holds 2 k rows that were made and
are still needed, so the values hold at least 2 * sum(c_q * k_q) * min(m - 1, n - 1) elements. k_q is the half
height of the kernel that reads value q; were it the whole receptive field, rolling buffers would beat the
sum. Here the same is asked of a graph with strides, branches and maps that may rather be held whole:

    state       a[u] rows of each value u are made; a[u] >= need(u, v, a[v]) for every reader v of u
    live bytes  sum over u of row_bytes(u) * max(0, a[u] - released(u, v, a[v])), v the slowest reader of u
    bound       the largest over (v, r) of the least live bytes of any state with a[v] = r

Any schedule passes every (v, r), in one of those states: at its peak it holds at least the bound.
The least over states is found from above by one sweep down the graph and one up it, row by row:

    up(v, j)    ancestors of v: max over inputs u of min over i >= need(j) of
                up(u, i) + row_bytes(u) * max(0, i - released(j))
    down(u, i)  u and its descendants: max over readers v of min over j with need(j) <= i of
                row_bytes(u) * max(0, i - released(j)) + down(v, j)

which for a chain is exact, and for a graph a bound still: where branches meet, one of them is counted.

Assumptions: each pixel is made once, and rows of a value from top to bottom, as everything this compiler
generates does; operators are those of the graph, so an RNNPool is one; an operator may write over what it is
the last to read. Not counted, so that the bound holds for every way to do it: margins, alignment, state and
scratch, rows of graph outputs nobody else reads, values that an absorber alone reads, states and that what
they take over is held to the end.

Columns: a fused block or head runs tile after tile of one output row through all of its operators, so that
no new row of its inner value (an expansion, a norm) need ever be whole. The states above are those between
two output rows, where all rows are whole again; the inner value has then just what some output row needs.
For it therefore only those r are asked, not the ones in between, which a block of stride 2 steps over.
Orders that go on column by column over several output rows (the proposition's other case, which would
replace n by m) are not covered: their states have columns made where these have rows, a value would need a
second set of states, and one bound for both is the lesser of the two. Nothing generated here runs so: image
rows come from top to bottom, and each is asked for once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Absorber
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.schedule.cascade import height_of, windows_of
from rnnpool_mcu.schedule.fuse import fusibles
from rnnpool_mcu.schedule.heads import Head

Bytes = NDArray[np.int64]
UNREACHABLE = np.iinfo(np.int64).max // 4


@dataclass(frozen=True)
class LowerBound:
    """No schedule that makes each row once peaks below `bytes`; needed with `rows` rows of `value` made."""

    bytes: int
    value: str
    rows: int


@dataclass(frozen=True, eq=False)
class _Edge:
    """A row operator that reads a value; indices j of both arrays: rows of the reader made so far."""

    value: str
    reader: str
    need: Bytes  # rows of the value that must have been made
    released: Bytes  # rows of the value, from the top, that the reader has no more use for


def lower_bound(graph: Graph) -> LowerBound:
    """The bound of a verified graph; see the module for formula and source.

    A resident image is made from the start, and its rows count until they were read for the last time.
    """
    edges = [edge for node in graph.nodes for edge in _edges(graph, node)]
    up, down, passed = _up(graph, edges), _down(graph, edges), _passed(graph, edges)
    best = LowerBound(0, graph.input_name, 0)
    for name, above in up.items():
        if (graph.image_resident and name in graph.input_names) or name in graph.state_names:
            continue
        live = np.where(passed[name], above + down[name], 0) if name in passed else above + down[name]
        rows = int(live.argmax())
        if live[rows] > best.bytes:
            best = LowerBound(int(live[rows]), name, rows)
    return best


def _edges(graph: Graph, node: Node) -> list[_Edge]:
    """One for each tensor that a row operator reads."""
    if isinstance(node.op, Absorber):
        return []
    rows = windows_of(graph, node)
    found: dict[str, _Edge] = {}
    for index, name in enumerate(node.inputs):
        if name in graph.state_names:
            continue
        height = height_of(graph, name)
        stops = np.array([0, *(min(windows[index].stop, height) for windows in rows)], np.int64)
        firsts = np.array(
            [*(min(max(0, windows[index].first), height) for windows in rows), height], np.int64
        )
        need = np.maximum.accumulate(stops)
        released = np.minimum.accumulate(firsts[::-1])[::-1]  # a row asked for again later is not released
        if name in found:  # read twice by the same operator
            need = np.maximum(need, found[name].need)
            released = np.minimum(released, found[name].released)
        found[name] = _Edge(name, node.name, need, released)
    return list(found.values())


def _passed(graph: Graph, edges: list[_Edge]) -> dict[str, NDArray[np.bool_]]:
    """Of the values inside blocks and heads, by rows made, whether a fused one too stops there."""
    inner = {f.norm if isinstance(f, Head) else f.expand for f in fusibles(graph)}
    found = {}
    for edge in edges:
        if edge.value in inner:
            found[edge.value] = np.isin(np.arange(height_of(graph, edge.value) + 1), edge.need)
    return found


def _row_bytes(graph: Graph, name: str) -> int:
    value = graph.types[name]
    assert isinstance(value, TensorType)
    return value.row_bytes


def _live(graph: Graph, edge: _Edge) -> Bytes:
    """Bytes live for this reader's sake, [rows of the value made, rows of the reader made]."""
    made = np.arange(height_of(graph, edge.value) + 1)
    rows = np.maximum(0, made[:, None] - edge.released[None, :])
    possible = made[:, None] >= edge.need[None, :]
    if graph.image_resident and edge.value in graph.input_names:
        possible[:-1] = False
    found: Bytes = np.where(possible, rows * _row_bytes(graph, edge.value), UNREACHABLE)
    return found


def _up(graph: Graph, edges: list[_Edge]) -> dict[str, Bytes]:
    """Least live bytes of a value's ancestors, by rows of it made."""
    up = {name: np.zeros(height_of(graph, name) + 1, np.int64) for name in graph.types}
    for edge in edges:  # in the graph's order: a value's ancestors come first
        least = (up[edge.value][:, None] + _live(graph, edge)).min(axis=0)
        up[edge.reader] = np.maximum(up[edge.reader], least)
    return up


def _down(graph: Graph, edges: list[_Edge]) -> dict[str, Bytes]:
    """Least live bytes of a value and its descendants, by rows of it made."""
    down = {name: np.zeros(height_of(graph, name) + 1, np.int64) for name in graph.types}
    for edge in reversed(edges):
        least = (_live(graph, edge) + down[edge.reader][None, :]).min(axis=1)
        down[edge.value] = np.maximum(down[edge.value], least)
    return down


def recomputed_macs(graph: Graph) -> int:
    """Multiply-accumulates that a planned graph runs beyond those that its operators need once."""
    executed = sum(work.macs for node in graph.nodes for work in node.op.work(graph.input_types(node)))
    return max(0, executed - sum(node.op.macs(graph.input_types(node)) for node in graph.nodes))
