"""The cost model: features that add up, a coefficient for every loop, a fit that finds what was put in."""

from __future__ import annotations

import json
from importlib import resources

import numpy as np
import pytest

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Operator, Work
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.lookup_tables import SMOOTH
from rnnpool_mcu.ops.chunked_residual import ChunkedResidual
from rnnpool_mcu.ops.conv_work import PLAIN, PlainLoop, plain_work
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.inverted_residual import InvertedResidual
from rnnpool_mcu.quantize.rnnpool_cell import quantize_rnnpool
from rnnpool_mcu.schedule.pricing.costs import (
    COSTS_FILE,
    FEATURES,
    coefficients,
    features,
    predicted_cost,
    predicted_cycles,
    predicted_instructions,
    predicted_total,
    predicted_work,
)
from tests.graphs import INPUT, GraphBuilder
from tests.ops import layers

POINT, SAME = Window((1, 1), (1, 1)), Window((3, 3), (1, 1), Padding(1, 1, 1, 1))
FITTED_WELL = ("conv2d", "depthwise", "inverted_residual", "chunked_residual", "rnnpool", "l2_norm", "add")


def _loops() -> dict[str, dict[str, float]]:
    text = resources.files("rnnpool_mcu.schedule.pricing").joinpath(COSTS_FILE).read_text(encoding="utf-8")
    loops: dict[str, dict[str, float]] = json.loads(text)["loops"]
    return loops


@pytest.mark.parametrize("unit", ["instructions", "cycles"])
def test_the_loops_of_the_zoo_are_explained_within_five_percent(unit: str) -> None:
    errors = {
        name: entry[f"largest_{unit}_error_percent"]
        for name, entry in _loops().items()
        if name.startswith(FITTED_WELL)
    }
    assert len(errors) > 20
    assert {name: error for name, error in errors.items() if error > 5} == {}


def test_no_feature_makes_an_operator_cheaper_and_cycles_are_no_fewer_than_instructions() -> None:
    for name, factors in coefficients().items():
        assert all(factor >= 0 for pair in factors for factor in pair), name
    graph = _network()
    for node in graph.nodes:
        assert predicted_cycles(graph, node) > predicted_instructions(graph, node) > 0
    assert predicted_cost(graph) > predicted_total(graph) > 0


def _network() -> Graph:
    builder = GraphBuilder(TensorType(16, 16, 3, Quantization(1 / 255, -128)))
    value = builder.conv(INPUT, 8, 3, 2)
    for _ in range(2):
        value = builder.residual(value, expansion=4)
    return builder.graph(value)


def test_every_loop_of_the_zoo_s_operators_was_fitted() -> None:
    image = layers.tensor(12, 10, 32)
    block = _block(image, keep_rows=False)
    operators: list[Operator] = [
        *(layers.conv(image, 16, SAME), layers.conv(image, 2, SAME), layers.conv(image, 32, SAME, groups=4)),
        *(layers.depthwise(image, SAME), layers.depthwise(image, Window((5, 5), (2, 2)))),
        *(block, _block(image, keep_rows=True), ChunkedResidual(block, 16)),
    ]
    named = {work.kernel for op in operators for work in op.work((image,))}
    named |= {work.kernel for fast in (False, True) for work in _rnnpool_works(fast)}
    assert named - coefficients().keys() == set()


def _block(image: TensorType, *, keep_rows: bool) -> InvertedResidual:
    expand = layers.conv(image, 64, POINT)
    middle = expand.infer_type((image,))
    depthwise = layers.depthwise(middle, SAME)
    project = layers.conv(depthwise.infer_type((middle,)), 16, POINT)
    return InvertedResidual(expand, depthwise, project, None, keep_rows, tile=4)


def _rnnpool_works(constants_in_ram: bool) -> tuple[Work, ...]:
    rng = np.random.default_rng(0)
    shapes = [(4, 8), (8, 8), (8,), (8,), (8, 8), (8, 8), (8,), (8,)]
    image = layers.tensor(16, 20, 4)
    weights = [rng.normal(0, 0.4, shape) for shape in shapes]
    op = quantize_rnnpool(
        *weights, patch=(8, 8), stride=(4, 4), nonlinearity=SMOOTH, input=image.quantization
    )
    fast = op.faster()
    assert fast is not None
    return (fast if constants_in_ram else op).work((image,))


def test_an_rnnpool_takes_longer_from_flash_than_from_ram() -> None:
    slow, fast = (sum(map(predicted_work, _rnnpool_works(in_ram))) for in_ram in (False, True))
    assert 1.2 * fast < slow < 2 * fast


def test_rnnpool_shares_the_sweeps_of_patches_that_overlap() -> None:
    works = {work.kernel: work for work in _rnnpool_works(False)}
    # 3 x 4 patches. Rows: 4 pairs in the first row of patches, 2 new ones in each below, 8 steps each, for
    # each of 4 columns of patches; columns: 4 pairs for the first patch of a row, 2 for each of the others.
    sweeps = 4 * (4 + 2 + 2) + 3 * (4 + 3 * 2)
    assert works["rnnpool_s8 summaries"].calls == sweeps
    assert works["rnnpool_s8 summaries"].passes == 8 * sweeps
    assert works["rnnpool_s8 projections"].calls == sweeps + 4 * 2 * 2  # and what is recalled
    assert works["rnnpool_s8 pooling"].passes == 3 * 4 * 16


def test_blocks_of_pixels_add_up_to_the_row() -> None:
    loop = PlainLoop(27, 7, 3, 8, 3, (-128, 127))
    row, *blocks = plain_work(loop, width=8, calls=5)
    assert (row.kernel, row.calls, row.outputs) == (PLAIN, 5, 0)
    assert {work.kernel: work.calls for work in blocks} == {
        f"{PLAIN} by 3, unrolled": 10,
        f"{PLAIN} by 2": 5,
    }
    assert sum(work.macs for work in blocks) == 5 * 8 * 27 * 8
    assert sum(work.products or 0 for work in blocks) == 5 * 8 * 28 * 8  # windows are filled up to words


def test_a_clamped_row_costs_more() -> None:
    image = layers.tensor(4, 8, 16)
    free, clamped = (
        sum(map(predicted_work, layers.conv(image, 16, POINT, clamp=clamp).work((image,))))
        for clamp in ((-128, 127), (-20, 127))
    )
    assert clamped > free


def test_chunks_repeat_no_products_but_the_expansion_s() -> None:
    image = layers.tensor(12, 10, 32)
    block = _block(image, keep_rows=False)
    chunked = ChunkedResidual(block, 16)
    expanded = (12 * 3 - 2) * 32 * 64  # products of a column; tiles share none
    columns = 5 + 6 + 3  # of three tiles inside the map
    rest = 12 * 10 * (64 * 9 + 64 * 16)
    assert chunked.executed_macs((image,)) == expanded * columns + rest
    calls = {work.kernel: work.calls for work in chunked.work((image,))}
    assert calls["chunked_residual_s8"] == 12 * 3  # tiles of 4, 4 and 2 columns


def test_a_fit_finds_the_coefficients_it_was_made_from() -> None:
    fit_costs = pytest.importorskip("scripts.fit_costs")
    rng = np.random.default_rng(0)
    truth = {"one": (0.8, 5.0, 0.0, 20.0, 300.0), "two": (2.0, 0.0, 1.5, 0.0, 40.0)}
    samples = []
    for _ in range(40):
        works = tuple(Work(name, *map(int, rng.integers(1, 10_000, 5))) for name in truth)
        taken = sum(sum(f * a for f, a in zip(truth[w.kernel], features(w), strict=True)) for w in works)
        samples.append(fit_costs.Sample(works, round(taken), round(1.5 * taken)))
    loops = fit_costs.fit(samples)
    for name, factors in truth.items():
        found = [loops[name]["instructions"].get(feature, 0.0) for feature in FEATURES]
        assert found == pytest.approx(factors, rel=0.02, abs=0.02)
        assert loops[name]["cycles"]["products"] == pytest.approx(1.5 * factors[0], rel=0.02)
        assert loops[name]["largest_cycles_error_percent"] < 0.1
