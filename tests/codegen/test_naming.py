"""Layers may have any names: the C compiles, and computes the same bytes."""

from __future__ import annotations

import dataclasses
import re
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rnnpool_mcu.codegen.emit import emit
from rnnpool_mcu.codegen.naming import KEYWORDS, make_naming
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import DetectionsType, Quantization, TensorType
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.pipeline import Target, generate
from rnnpool_mcu.run import host
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.validate.engines import run_reference
from tests.graphs import INPUT, GraphBuilder

UNLUCKY = (
    *("output", "status", "progress", "run", "row_source", "image_row", "pull_image", "trace", "row"),
    *("short", "auto", "double", "restrict", "bool", "linux", "new", "logits", "count", "slot", "made"),
    *("a", "a_rows", "a_row", "a_weights", "a_2", "a_in0", "a_finish", "outside_m128", "outside_5"),
    *("Conv.1", "conv_1", "1", "NULL", "null", "conv2d_s8", "arena", "out", "é", "x y", "image"),
)


def _chain(names: tuple[str, ...], outputs: int = 1) -> Graph:
    """Convolutions, a classifier behind them; the last `outputs` convolutions are outputs too."""
    builder = GraphBuilder(TensorType(3, 2, 1, Quantization(1 / 255, -128)))
    values = [INPUT]
    for i, name in enumerate(names):
        values.append(builder.conv(values[-1], 1, 3 if i % 4 == 0 else 1))
        builder.nodes[-1] = dataclasses.replace(builder.nodes[-1], name=name)
        values[-1] = name
    return builder.graph(*values[-outputs:], builder.classifier(values[-1], 2))


@pytest.mark.parametrize("image", ["resident", "streamed"])
def test_unlucky_names_compile_and_compute_the_same_bytes(tmp_path: Path, image: str) -> None:
    graph = _chain(UNLUCKY, outputs=len(UNLUCKY))
    target = Target("net", 65536, image, "mps2-an386", "test network", "none")
    generate(graph, target, tmp_path, place_effort=0)
    images = np.random.default_rng(0).integers(0, 256, (2, *graph.input_type.shape), dtype=np.uint8)
    ran = host.run(tmp_path, images, trace=True)
    assert ran.outputs == run_reference(graph, images, lambda _: None).outputs


WORDS = st.sampled_from(
    ["a", "row", "rows", "weights", "2", "first_0", "image", "outside_3", "short", "needed"]
)
NAMES = st.lists(st.lists(WORDS, min_size=1, max_size=3).map("_".join), min_size=1, max_size=6, unique=True)


@settings(max_examples=60, deadline=None)
@given(NAMES, st.integers(1, 6))
def test_no_symbol_is_defined_twice(names: list[str], outputs: int) -> None:
    graph = _chain(tuple(names), min(outputs, len(names)))
    files = emit(plan_graph(graph, place_effort=0), name="net", title="test network")
    source, header = files["net.c"], files["net.h"]
    weights = re.findall(r"^const \w+ (\w+)\[", files["net_weights.c"], re.MULTILINE)
    defined = re.findall(r"^static (?:const )?\w+ \*?(\w+)(?:\[\d+\])? =", source, re.MULTILINE)
    defined += re.findall(r"^(?:static )?\w+ (\w+)\([^;]*$", source, re.MULTILINE)
    types = re.findall(r"^\} (\w+);", source + header, re.MULTILINE)
    assert len(defined) > 2 * len(names)
    assert not [name for name, count in Counter([*weights, *defined, *types]).items() if count > 1]
    for text in (source, header):
        for fields in re.findall(r"typedef struct \{\n(.*?)\}", text, re.DOTALL):
            found = re.findall(r"(\w+)(?:\[\d+\])?;", fields)
            assert len(found) == len(set(found))
            assert KEYWORDS.isdisjoint(found)


def test_ordinary_names_stay_as_they_are() -> None:
    graph = _chain(("stem", "stem_2", "blocks_0_layers_1", "head", "classifier", "conv", "conv_norm"))
    naming = make_naming(graph, "net")
    assert all(value == name for value, name in naming.names.items())


@pytest.mark.parametrize(
    ("model", "name"),
    [("detector", "decode_finish"), ("conv2d", "s8"), ("out", "row"), ("size", "t"), ("uint8", "t")],
)
def test_prefix_and_name_together_are_no_other_function_or_type(model: str, name: str) -> None:
    naming = make_naming(
        _chain((name,)), model, frozenset(["detector_decode_finish", "conv2d_s8", "out_row"])
    )
    assert naming.symbol(name) == f"{model}_{name}_2"


def test_an_output_beside_detections_is_no_field_of_theirs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FullyConnected, "infer_type", lambda *_: DetectionsType(4))
    graph = _chain(("box", "label", "count"), outputs=2)
    naming = make_naming(graph, "net")
    assert [naming.output_field(name) for name in graph.outputs[:2]] == ["label_2", "count_2"]
    assert naming.value("box") == "box"
