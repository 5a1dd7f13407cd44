"""Shapes of the values in an exported torch graph, and the order that a transpose gives its axes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.nn.aten import aten, call_arguments

Shape = tuple[int, ...]
Size = tuple[int, int, int]
"""Height, width and channels of an input."""


class Shapes:
    """Shapes as the export recorded them; where it did not, from running the graph on zeros once."""

    def __init__(self, module: fx.GraphModule, sizes: Sequence[Size]) -> None:
        """`sizes` are the inputs', for graphs that recorded none."""
        self._module, self._sizes = module, sizes
        self._found: dict[fx.Node, Any] | None = None

    def of(self, node: Any) -> Shape:
        """Shape of a node's one tensor; ModelError where sides are not fixed."""
        value = self._recorded(node)
        if not isinstance(value, torch.Tensor):
            raise ModelError(f"'{node}' gives {type(value).__name__}, supported: one tensor")
        if any(not isinstance(side, int) for side in value.shape):
            raise ModelError(
                f"'{node}' is {[str(side) for side in value.shape]}, supported: fixed sides; export it "
                "without dynamic_shapes"
            )
        return tuple(value.shape)

    def parts(self, node: fx.Node) -> tuple[Shape, ...]:
        """Shapes of the tensors of a node that gives several."""
        return tuple(tuple(value.shape) for value in self._recorded(node))

    def _recorded(self, node: Any) -> Any:
        value = node.meta.get("val")
        if value is not None:
            return value
        if self._found is None:
            self._found = self._run()
        return self._found.get(node)

    def _run(self) -> dict[fx.Node, Any]:
        placeholders = [node for node in self._module.graph.nodes if node.op == "placeholder"]
        shapes = [(1, channels, height, width) for height, width, channels in self._sizes]
        recorder = _Recorder(self._module)
        with torch.no_grad():
            recorder.run(*(_zeros(n, shape) for n, shape in zip(placeholders, shapes, strict=True)))
        return recorder.found


def _zeros(node: fx.Node, shape: Shape) -> torch.Tensor:
    value = node.meta.get("val")
    return torch.zeros(tuple(value.shape) if isinstance(value, torch.Tensor) else shape)


class _Recorder(fx.Interpreter):
    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.found: dict[fx.Node, Any] = {}

    def run_node(self, n: fx.Node) -> Any:
        self.found[n] = super().run_node(n)
        return self.found[n]


def order_of(node: fx.Node, rank: int) -> list[int]:
    """Axis of the input that each axis of a transpose's result is."""
    arguments = call_arguments(node)
    if node.target is aten.permute.default:
        return [int(axis) % rank for axis in arguments["dims"]]
    order = list(range(rank))
    first, second = (0, 1) if node.target is aten.t.default else (arguments["dim0"], arguments["dim1"])
    order[first % rank], order[second % rank] = order[second % rank], order[first % rank]
    return order
