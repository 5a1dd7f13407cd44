"""The integer Face-M4 agrees with torch layer by layer, and the comparison notices when it does not."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

from rnnpool_mcu.frontends.torch.front import ImportedGraph, import_exported  # noqa: E402
from rnnpool_mcu.importing.checkpoint import TORCH_CONVERTERS  # noqa: E402
from rnnpool_mcu.ir.graph import Node  # noqa: E402
from rnnpool_mcu.quantize.calibration import as_batches, synthetic_images  # noqa: E402
from rnnpool_mcu.quantize.float_agreement import sqnr_db  # noqa: E402
from rnnpool_mcu.quantize.post_training import QuantizedModel, quantize_model  # noqa: E402
from tests.quantize.torch_agreement import layer_agreement  # noqa: E402
from tests.torch_models import face_m4  # noqa: E402

SIZE = (96, 128, 1)
IMAGE = synthetic_images(SIZE, 1, seed=4)[0]


@pytest.fixture(scope="module")
def quantized() -> QuantizedModel:
    return quantize_model(face_m4(hidden=16), SIZE, as_batches(synthetic_images(SIZE, 6)))


@pytest.fixture(scope="module")
def imported(quantized: QuantizedModel) -> ImportedGraph:
    return import_exported(quantized.module, SIZE, TORCH_CONVERTERS)


def test_every_layer_of_face_m4_agrees(quantized: QuantizedModel, imported: ImportedGraph) -> None:
    rows = layer_agreement(quantized, imported.graph, imported.sources, IMAGE)
    assert [row.name for row in rows] == [node.name for node in imported.graph.nodes]
    assert max(row.max_steps for row in rows) <= 1
    assert np.mean([row.differing for row in rows if row.name != "pool"]) < 0.005
    assert min(row.sqnr_db for row in rows) > 15, rows


def test_a_wrong_weight_shows(quantized: QuantizedModel, imported: ImportedGraph) -> None:
    nodes = list(imported.graph.nodes)
    index = next(i for i, node in enumerate(nodes) if node.name == "blocks_1_layers_0")
    op = nodes[index].op
    weights = op.weights.copy()  # type: ignore[attr-defined]
    weights[3] = -weights[3]
    wrong = dataclasses.replace(op, weights=weights)  # type: ignore[type-var]
    nodes[index] = Node(nodes[index].name, wrong, nodes[index].inputs)
    graph = dataclasses.replace(imported.graph, nodes=tuple(nodes))
    rows = {row.name: row for row in layer_agreement(quantized, graph, imported.sources, IMAGE)}
    assert rows["blocks_1_layers_0"].max_steps > 10
    assert rows["blocks_0_layers_2"].max_steps <= 1
    assert rows["blocks_1_layers_1"].max_steps <= 1  # it is given torch's inputs
    before = {r.name: r for r in layer_agreement(quantized, imported.graph, imported.sources, IMAGE)}
    assert rows["blocks_1_layers_0"].sqnr_db < before["blocks_1_layers_0"].sqnr_db - 3


def test_sqnr_of_known_noise() -> None:
    assert sqnr_db(100 * 10.0**2, 100 * 0.1**2) == pytest.approx(40.0)
    assert sqnr_db(100.0, 0.0) == math.inf
    assert sqnr_db(0.0, 3.0) == -math.inf
