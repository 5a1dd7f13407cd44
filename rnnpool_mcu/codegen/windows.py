"""An operator's row windows as C expressions of the output row."""

from __future__ import annotations

import textwrap
from dataclasses import dataclass
from functools import reduce

from rnnpool_mcu.ir.graph import Graph, Node


@dataclass(frozen=True)
class WindowExpression:
    """first(row) = min(stride * row + offset, limit), else table[row]; every window is `count` rows."""

    stride: int
    offset: int
    count: int
    limit: int | None  # None: never reached
    table: tuple[int, ...] = ()  # of first rows, where no formula gives them
    symbol: str = ""  # the table's name in C

    @property
    def declaration(self) -> str:
        """C definition of the table; empty without one."""
        if not self.table:
            return ""
        rows = textwrap.fill(", ".join(map(str, self.table)), 110)
        ctype = "int16_t" if max(map(abs, self.table)) < 2**15 else "int32_t"
        return f"static const {ctype} {self.symbol}[{len(self.table)}] = {{\n{rows}\n}};\n"

    def first(self, row: str) -> str:
        """C expression of the first row of the window of output row `row`."""
        return f"{self.symbol}[{row}]" if self.table else self._at(row, self.offset, self.limit)

    def stop(self, row: str) -> str:
        """C expression of the row after the window's last."""
        if self.table:
            return f"{self.symbol}[{row}] + {self.count}"
        limit = None if self.limit is None else self.limit + self.count
        return self._at(row, self.offset + self.count, limit)

    def _at(self, row: str, offset: int, limit: int | None) -> str:
        text = row if self.stride == 1 else f"{self.stride} * {row}" if self.stride else "0"
        if offset:
            text += f" + {offset}" if offset > 0 else f" - {-offset}"
        return text if limit is None else f"at_most({text}, {limit})"


def window_expressions(
    graph: Graph, node: Node, height: int, symbol: str = ""
) -> tuple[WindowExpression, ...]:
    """One expression per input of a row operator with `height` output rows; `symbol` prefixes tables.

    Raises ValueError for windows of unequal size or that step back: an operator's defect.
    """
    types = graph.input_types(node)
    rows = [node.op.input_windows(row, types) for row in range(height)]
    found = []
    for i in range(len(node.inputs)):
        firsts, counts = [w[i].first for w in rows], {w[i].stop - w[i].first for w in rows}
        if len(counts) != 1 or firsts != sorted(firsts):
            raise ValueError(f"'{node.name}': its row windows differ in size or step back")
        found.append(_expression(firsts, counts.pop(), f"{symbol}_first_{i}"))
    return tuple(found)


def _expression(firsts: list[int], count: int, symbol: str) -> WindowExpression:
    stride = firsts[1] - firsts[0] if len(firsts) > 1 else 0
    straight = [stride * row + firsts[0] for row in range(len(firsts))]
    if firsts == straight:
        return WindowExpression(stride, firsts[0], count, None)
    limit = firsts[-1]
    if firsts == [min(first, limit) for first in straight]:
        return WindowExpression(stride, firsts[0], count, limit)
    return WindowExpression(0, 0, count, None, tuple(firsts), symbol)


def first_rows_read(graph: Graph, node: Node, value: str, height: int, row: str, symbol: str) -> str:
    """C expression of the first row of `value` that output row `row` of `height` reads.

    Raises ValueError where an operator reads less than its windows, but not along a line from row 1 on.
    """
    types = graph.input_types(node)
    at = [i for i, name in enumerate(node.inputs) if name == value]
    firsts = [min(node.op.rows_read(y, types)[i].first for i in at) for y in range(height)]
    if all(node.op.rows_read(y, types) == node.op.input_windows(y, types) for y in range(height)):
        windows = window_expressions(graph, node, height, symbol)
        return reduce(lambda a, b: f"at_most({a}, {b})", dict.fromkeys(windows[i].first(row) for i in at))
    start = min(1, height - 1)
    stride = firsts[start + 1] - firsts[start] if height > start + 1 else 0
    offset = firsts[start] - stride * start
    line = WindowExpression(stride, offset, 1, None)
    if firsts[start:] != [stride * y + offset for y in range(start, height)]:
        raise ValueError(f"'{node.name}': the rows it reads do not advance evenly")
    return line.first(row) if firsts[0] == offset else f"{row} == 0 ? {firsts[0]} : {line.first(row)}"
