"""Fuse expansion, depthwise convolution, projection and sum into one InvertedResidual each.

Whether and how a block is fused is the planner's choice. Requires a topological order;
ensures the same outputs, bit for bit, under the same names.

1. A depthwise convolution read by one 1 x 1 convolution alone, its projection, is a block.
2. A 1 x 1 convolution that makes the depthwise convolution's input, for it alone, is the block's expansion.
   In a chain of depthwise-separable layers it is the projection of the block before, and stays that.
3. An Add that is the projection's only reader, and whose other term is another value, belongs to the block;
   of two blocks that end in one Add, the first has it.
4. A value inside a block is no output of the graph.
5. The fused node has the name and place of the block's last; it reads the block's input, then the other term.

An L2Norm and the convolutions that read it are fused likewise: see schedule/heads.py.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.chunked_residual import CHUNK_STEP, ChunkedResidual
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.depthwise_conv2d import DepthwiseConv2d
from rnnpool_mcu.ops.inverted_residual import MAX_KERNEL_HEIGHT, InvertedResidual, is_pointwise
from rnnpool_mcu.schedule.heads import Head, HeadOption, fusible_heads


@dataclass(frozen=True)
class BlockOption:
    """How a block is fused; see InvertedResidual."""

    keep_rows: bool  # False where the block has no expansion
    tile: int  # output columns computed at once
    chunk: int = 0  # expanded channels at a time, where they are recomputed; 0: all. See ChunkedResidual


@dataclass(frozen=True)
class Block:
    """Names of the nodes that can become one."""

    expand: str | None
    depthwise: str
    project: str
    add: str | None

    @property
    def nodes(self) -> tuple[str, ...]:
        """In the order they run."""
        members = (self.expand, self.depthwise, self.project, self.add)
        return tuple(name for name in members if name is not None)

    @property
    def name(self) -> str:
        """Name of the last node, and of the fused one."""
        return self.nodes[-1]

    def fused(self, graph: Graph, option: BlockOption) -> Mapping[str, tuple[Node, ...]]:
        """What takes the place of each of the nodes, by name."""
        inner: dict[str, tuple[Node, ...]] = dict.fromkeys(self.nodes, ())
        return inner | {self.name: (_fused(graph, self, option),)}


Fusible = Block | Head
Option = BlockOption | HeadOption


def fusible_blocks(graph: Graph) -> tuple[Block, ...]:
    """Every block, in the graph's order; no node belongs to two."""
    makers = {node.name: node for node in graph.nodes}
    blocks: list[Block] = []
    taken: set[str] = set()
    for node in graph.nodes:
        project = _projection(graph, node)
        if project is None:
            continue
        expand = _expansion(graph, node, makers)
        if expand is not None and expand.name in taken:
            expand = None
        add = _sum(graph, project)
        if add is not None and add.name in taken:
            add = None
        block = Block(expand.name if expand else None, node.name, project.name, add.name if add else None)
        blocks.append(block)
        taken.update(block.nodes)
    return tuple(blocks)


def chunk_sizes(graph: Graph, block: Block, largest: int) -> tuple[int, ...]:
    """Sizes of chunks that a block's expanded channels can be cut into, up to `largest`, descending."""
    expanded = graph.types[block.expand] if block.expand is not None else None
    if not isinstance(expanded, TensorType):
        return ()
    allowed = range(CHUNK_STEP, min(largest, expanded.channels // 2) + 1, CHUNK_STEP)
    return tuple(size for size in reversed(allowed) if expanded.channels % size == 0)


def fusibles(graph: Graph) -> tuple[Fusible, ...]:
    """Every inverted-residual block and every head; no node belongs to two."""
    blocks = fusible_blocks(graph)
    taken = {name for block in blocks for name in block.nodes}
    return (*blocks, *fusible_heads(graph, taken))


def replacement(graph: Graph, fusible: Fusible, option: Option) -> Mapping[str, tuple[Node, ...]]:
    """What takes the place of each of the nodes of a block or head run that way, by name."""
    if isinstance(fusible, Head) and isinstance(option, HeadOption):
        return fusible.fused(graph, option)
    if isinstance(fusible, Block) and isinstance(option, BlockOption):
        return fusible.fused(graph, option)
    raise ValueError(f"'{fusible.name}' is a {type(fusible).__name__}, {option} is no way to run it")


def fuse(graph: Graph, choices: Mapping[str, Option]) -> Graph:
    """The graph with the chosen blocks and heads, by name, fused. ValueError where a name is neither's."""
    known = {fusible.name: fusible for fusible in fusibles(graph)}
    unknown = sorted(choices.keys() - known.keys())
    if unknown:
        raise ValueError(f"no fusible block is named '{unknown[0]}', allowed: {', '.join(known) or 'none'}")
    places: dict[str, tuple[Node, ...]] = {}
    for name, option in choices.items():
        places |= replacement(graph, known[name], option)
    return with_replaced(graph, places)


def with_replaced(graph: Graph, places: Mapping[str, tuple[Node, ...]]) -> Graph:
    """The graph with other nodes in the place of those named."""
    return replace(graph, nodes=tuple(n for node in graph.nodes for n in places.get(node.name, (node,))))


def _only_reader(graph: Graph, value: str) -> Node | None:
    """The node that alone reads a value which is no output, once."""
    readers = graph.consumers[value]
    if len(readers) != 1 or value in graph.results or readers[0].inputs.count(value) != 1:
        return None
    return readers[0]


def _projection(graph: Graph, node: Node) -> Node | None:
    if not isinstance(node.op, DepthwiseConv2d) or not node.op.is_plain:
        return None
    if node.op.window.kernel[0] > MAX_KERNEL_HEIGHT:
        return None
    reader = _only_reader(graph, node.name)
    return reader if reader is not None and _is_pointwise(reader) else None


def _expansion(graph: Graph, depthwise: Node, makers: Mapping[str, Node]) -> Node | None:
    maker = makers.get(depthwise.inputs[0])
    if maker is None or not _is_pointwise(maker) or _only_reader(graph, maker.name) is None:
        return None
    return maker


def _sum(graph: Graph, project: Node) -> Node | None:
    reader = _only_reader(graph, project.name)
    return reader if reader is not None and isinstance(reader.op, Add) else None


def _is_pointwise(node: Node) -> bool:
    return isinstance(node.op, Conv2d) and is_pointwise(node.op)


def _fused(graph: Graph, block: Block, option: BlockOption) -> Node:
    depthwise, project = graph.node(block.depthwise), graph.node(block.project)
    assert isinstance(depthwise.op, DepthwiseConv2d) and isinstance(project.op, Conv2d)
    expand, add, inputs = None, None, depthwise.inputs
    if block.expand is not None:
        first = graph.node(block.expand)
        assert isinstance(first.op, Conv2d)
        expand, inputs = first.op, first.inputs
    if block.add is not None:
        last = graph.node(block.add)
        assert isinstance(last.op, Add)
        add, inputs = last.op, (*inputs, *(name for name in last.inputs if name != block.project))
    op = InvertedResidual(expand, depthwise.op, project.op, add, option.keep_rows, option.tile)
    return Node(block.name, ChunkedResidual(op, option.chunk) if option.chunk else op, inputs)
