"""Padding folded into RNNPool: what goes, what stays, and that no byte changes."""

from __future__ import annotations

from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.max_out import MaxOut
from rnnpool_mcu.ops.replicate_pad import ReplicatePad
from rnnpool_mcu.ops.rnnpool import RnnPool
from rnnpool_mcu.passes.fold_replicate_pad import fold_replicate_pad
from tests.ops.test_rnnpool import RELU6, float_weights, make_op
from tests.passes.same_graph import assert_same_outputs


def graph(*nodes: tuple[str, Operator, str], outputs: tuple[str, ...]) -> Graph:
    image = TensorType(11, 13, 2, RELU6)
    return Graph("image", image, tuple(Node(name, op, (source,)) for name, op, source in nodes), outputs)


def pool() -> RnnPool:
    return make_op(float_weights(2, 4, 3, seed=8), (4, 5), (2, 3))


def test_rnnpool_pads_in_place_of_the_nodes_behind_it() -> None:
    before = graph(
        ("pool", pool(), "image"),
        ("pad", ReplicatePad(1, 2), "pool"),
        ("again", ReplicatePad(2, 0), "pad"),
        ("out", MaxOut(3), "again"),
        outputs=("out", "again"),
    )
    once, changed = fold_replicate_pad(before)
    assert changed and [node.name for node in once.nodes] == ["pad", "again", "out"]
    assert once.types["pad"] == before.types["pad"]
    after, changed = fold_replicate_pad(once)
    assert changed and [node.name for node in after.nodes] == ["again", "out"]
    assert_same_outputs(before, after)
    assert fold_replicate_pad(after) == (after, False)


def test_padding_of_what_others_read_too_stays() -> None:
    read_twice = graph(
        ("pool", pool(), "image"),
        ("pad", ReplicatePad(1, 1), "pool"),
        ("a", MaxOut(3), "pad"),
        ("b", MaxOut(3), "pool"),
        outputs=("a", "b"),
    )
    pool_output = graph(
        ("pool", pool(), "image"), ("pad", ReplicatePad(1, 1), "pool"), outputs=("pad", "pool")
    )
    of_the_image = graph(("pad", ReplicatePad(1, 1), "image"), ("out", pool(), "pad"), outputs=("out",))
    for unchanged in (read_twice, pool_output, of_the_image):
        assert fold_replicate_pad(unchanged) == (unchanged, False)
