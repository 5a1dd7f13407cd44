"""A compiled folder's report says what made it: the same each time, and true of each file."""

from __future__ import annotations

import hashlib
from pathlib import Path

from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.pipeline import Target, compile_graph
from rnnpool_mcu.report import read_report
from tests.graphs import INPUT, GraphBuilder


def test_the_same_inputs_give_the_same_provenance(tmp_path: Path) -> None:
    builder = GraphBuilder(TensorType(6, 6, 2, Quantization(1 / 255, -128)))
    graph = builder.graph(builder.conv(INPUT, 3, 3))
    target = Target("net", 60_000, "resident", "mps2-an386", "net", "net.onnx", source_sha256="0" * 64)
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        compile_graph(graph, target, tmp_path / name)
    one, other = (read_report(tmp_path / name)["provenance"] for name in ("a", "b"))
    assert one == other
    assert one["source_sha256"] == "0" * 64 and "gcc" in one["compiler"] and "numpy" in one["packages"]
    assert {"graph.npz", "project.json", "Makefile", "src/net.c"} <= one["files"].keys()
    for name, digest in one["files"].items():
        assert hashlib.sha256((tmp_path / "a" / name).read_bytes()).hexdigest() == digest
