"""Generated C of an RNNPool that repeats its last rows and columns: each row as the definition has it."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.replicate_pad import ReplicatePad
from rnnpool_mcu.ops.rnnpool import RnnPool
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.pipeline import Target, generate
from rnnpool_mcu.run import host, qemu
from rnnpool_mcu.validate.engines import run_reference
from tests.graphs import INPUT, GraphBuilder
from tests.ops.test_rnnpool import float_weights, make_op

IMAGE = TensorType(23, 21, 1, Quantization(1 / 255, -128))
TARGET = Target("net", 256 * 1024, "streamed", "mps2-an386", "test network", "none")


def network() -> Graph:
    builder = GraphBuilder(IMAGE)
    image = builder.conv(INPUT, 3, 3)
    weights = float_weights(3, 8, 4, seed=2)
    pooled = builder.add(make_op(weights, (6, 5), (4, 3), q=builder.type_of(image).quantization), image)
    return builder.graph(builder.depthwise(builder.add(ReplicatePad(2, 1), pooled)))


def test_each_row_is_the_definitions(tmp_path: Path) -> None:
    plain = network()
    graph = run_passes(plain)
    (pool,) = (node.op for node in graph.nodes if isinstance(node.op, RnnPool))
    assert (pool.pad_bottom, pool.pad_right) == (2, 1)
    generate(graph, TARGET, tmp_path, place_effort=0)
    images = np.random.default_rng(1).integers(0, 256, (2, *IMAGE.shape), dtype=np.uint8)
    expected = run_reference(graph, images, lambda _: None, trace=True)
    assert expected.outputs == run_reference(plain, images, lambda _: None).outputs
    actual = host.run(tmp_path, images, trace=True, sanitize=True)
    assert actual.traces == expected.traces
    assert actual.outputs == expected.outputs
    assert qemu.run(tmp_path, images[:1]).outputs == expected.outputs[:1]
