"""Weekly: every plan of the fronts of random graphs, on the emulated board, byte for byte the definition.

`make test-weekly` runs it; RNNPOOL_WEEKLY_GRAPHS says over how many graphs (25 by default, about half an
hour). `make test-all` takes three of them.
"""

from __future__ import annotations

import os
import shutil

import numpy as np
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.pipeline import Target, write_sources
from rnnpool_mcu.run import qemu
from rnnpool_mcu.schedule.planner import layer_by_layer
from rnnpool_mcu.schedule.search import pareto_front
from rnnpool_mcu.validate.engines import run_reference
from tests.graphs import graphs

GRAPHS = int(os.environ.get("RNNPOOL_WEEKLY_GRAPHS", "3"))
RAM_BYTES = 1 << 20

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        any(shutil.which(tool) is None for tool in ("qemu-system-arm", "arm-none-eabi-gcc")),
        reason="qemu-system-arm or arm-none-eabi-gcc is not installed",
    ),
]


@settings(
    max_examples=GRAPHS,
    deadline=None,
    derandomize=os.environ.get("RNNPOOL_WEEKLY_GRAPHS") is None,  # weekly: other graphs each time
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    suppress_health_check=[HealthCheck.too_slow],
)
@given(graphs(max_side=24, max_layers=6))
def test_every_plan_of_a_front_is_bit_exact_on_the_board(
    tmp_path_factory: pytest.TempPathFactory, graph: Graph
) -> None:
    images = np.random.default_rng(0).integers(0, 256, (1, *graph.input_type.shape), dtype=np.uint8)
    expected = run_reference(graph, images, lambda _: None).outputs
    plans = [candidate.plan(place_effort=0) for candidate in pareto_front(graph)]
    for plan in (*plans, layer_by_layer(graph, place_effort=0)):
        folder = tmp_path_factory.mktemp("front")
        target = Target("net", RAM_BYTES, "streamed", "mps2-an386", "test network", "none")
        write_sources(plan, target, folder)
        assert qemu.run(folder, images).outputs == expected
        shutil.rmtree(folder)
