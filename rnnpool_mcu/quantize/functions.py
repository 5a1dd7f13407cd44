"""Which operators of an exported graph are functions of one value: a chain of them is one table.

`x * relu6(x + 3) / 6` is four operators and one function of x: only its end is quantized.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import fx

from rnnpool_mcu.nn.aten import FUNCTIONS, LIMITS, PAIRS, WEIGHTED, aten, number

Roots = Mapping[fx.Node, fx.Node]


def function_roots(module: fx.GraphModule) -> dict[fx.Node, fx.Node]:
    """Every function with the value that it is a function of."""
    return _analysed(module)[0]


def inner_functions(module: fx.GraphModule) -> set[fx.Node]:
    """Functions that only further functions of the same value read: they are never quantized."""
    roots, ends = _analysed(module)
    return set(roots) - ends


def is_fused(activation: fx.Node, roots: Roots) -> bool:
    """Whether an activation is a clamp of the operator before it."""
    if activation.target not in LIMITS:
        return False
    producer = activation.args[0]
    if not isinstance(producer, fx.Node) or len(producer.users) != 1 or producer in roots:
        return False
    return producer.target in (*WEIGHTED, *PAIRS) or weighted_before(producer) is not None


def weighted_before(node: fx.Node) -> fx.Node | None:
    """The convolution whose result only this BatchNorm reads; None for any other node.

    Such pairs are one operator. They are met in training only: elsewhere the BatchNorm is folded before.
    """
    if node.target is not aten.batch_norm.default:
        return None
    before = node.args[0]
    if isinstance(before, fx.Node) and before.target in WEIGHTED and len(before.users) == 1:
        return before
    return None


def _analysed(module: fx.GraphModule) -> tuple[dict[fx.Node, fx.Node], set[fx.Node]]:
    """Functions with their values, and those that are read by anything but functions of the same value.

    A function that is read otherwise is a value of its own for those who read it, so that the functions
    of it are no longer functions of what it was made of: the search goes on until no more such are found.
    """
    ends: set[fx.Node] = set()
    while True:
        roots = _roots(module, ends)
        found = {
            node
            for node, root in roots.items()
            if not node.users or any(roots.get(user) is not root for user in node.users)
        }
        if found <= ends:
            return roots, ends
        ends |= found


def _roots(module: fx.GraphModule, ends: set[fx.Node]) -> dict[fx.Node, fx.Node]:
    roots: dict[fx.Node, fx.Node] = {}

    def value(argument: Any) -> fx.Node | None:
        if not isinstance(argument, fx.Node) or argument.op == "get_attr":
            return None
        return argument if argument in ends else roots.get(argument, argument)

    for node in module.graph.nodes:
        root = None
        if node.target in FUNCTIONS or (node.target in LIMITS and not is_fused(node, roots)):
            root = value(node.args[0])
        elif node.target in PAIRS:
            root = _of_pair(node, value(node.args[0]), value(node.args[1]))
        if root is not None:
            roots[node] = root
    return roots


def _of_pair(node: fx.Node, first: fx.Node | None, second: fx.Node | None) -> fx.Node | None:
    """The value that both operands are functions of, or the one beside a number."""
    if first is not None and second is not None:
        return first if first is second else None
    if first is None:
        return second if number(node.args[0]) is not None else None
    return first if number(node.args[1]) is not None else None
