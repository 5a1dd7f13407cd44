"""An operator's row windows as C expressions of the output row."""

from __future__ import annotations

from dataclasses import dataclass

from rnnpool_mcu.ir.graph import Graph, Node


@dataclass(frozen=True)
class WindowExpression:
    """first(row) = min(stride * row + offset, limit); every window is `count` rows."""

    stride: int
    offset: int
    count: int
    limit: int | None  # None: never reached

    def first(self, row: str) -> str:
        """C expression of the first row of the window of output row `row`."""
        return self._at(row, self.offset, self.limit)

    def stop(self, row: str) -> str:
        """C expression of the row after the window's last."""
        limit = None if self.limit is None else self.limit + self.count
        return self._at(row, self.offset + self.count, limit)

    def _at(self, row: str, offset: int, limit: int | None) -> str:
        text = row if self.stride == 1 else f"{self.stride} * {row}" if self.stride else "0"
        if offset:
            text += f" + {offset}" if offset > 0 else f" - {-offset}"
        return text if limit is None else f"at_most({text}, {limit})"


def window_expressions(graph: Graph, node: Node, height: int) -> tuple[WindowExpression, ...]:
    """One expression per input of a row operator with `height` output rows.

    Raises ValueError for windows that are not of that form: an operator's defect.
    """
    types = graph.input_types(node)
    rows = [node.op.input_windows(row, types) for row in range(height)]
    found = []
    for i in range(len(node.inputs)):
        firsts, counts = [w[i].first for w in rows], {w[i].stop - w[i].first for w in rows}
        stride = firsts[1] - firsts[0] if height > 1 else 0
        straight = [stride * row + firsts[0] for row in range(height)]
        limit = None if firsts == straight else firsts[-1]
        expected = straight if limit is None else [min(first, limit) for first in straight]
        if len(counts) != 1 or firsts != expected:
            raise ValueError(f"'{node.name}': its row windows are not affine in the output row")
        found.append(WindowExpression(stride, firsts[0], counts.pop(), limit))
    return tuple(found)
