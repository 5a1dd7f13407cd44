"""The generated sources of one small network, compared with files that were read by a person.

After a wanted change: `make golden`, then read the difference before committing it.
"""

from __future__ import annotations

import os
from pathlib import Path

from rnnpool_mcu.codegen.emit import emit
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.schedule.planner import plan_graph
from tests.graphs import INPUT, GraphBuilder

GOLDEN = Path(__file__).parent / "golden"


def _network() -> Graph:
    builder = GraphBuilder(TensorType(12, 10, 1, Quantization(1 / 255, -128)))
    value = builder.residual(builder.conv(INPUT, 2, 3, 2))
    return builder.graph(builder.conv(value, 2, 3), builder.classifier(builder.depthwise(value, 3, 2), 3))


def _generated() -> dict[str, str]:
    plan = plan_graph(_network(), place_effort=0)
    files = emit(plan, name="tiny", title="golden test network")
    return {path: text for path, text in files.items() if "/" not in path}


def test_generated_sources_are_the_golden_ones() -> None:
    generated = _generated()
    if os.environ.get("UPDATE_GOLDEN"):
        GOLDEN.mkdir(exist_ok=True)
        for path, text in generated.items():
            (GOLDEN / f"{path}.golden").write_text(text, encoding="utf-8")
    assert {p.name for p in GOLDEN.iterdir()} == {f"{path}.golden" for path in generated}
    for path, text in generated.items():
        assert text == (GOLDEN / f"{path}.golden").read_text(encoding="utf-8"), f"{path} changed: make golden"


def test_the_same_graph_gives_the_same_bytes() -> None:
    assert _generated() == _generated()
