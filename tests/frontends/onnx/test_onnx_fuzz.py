"""That a damaged ONNX file never brings anything else than our errors."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from functools import cache

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx
from onnx import helper, numpy_helper

from rnnpool_mcu.errors import UserError
from rnnpool_mcu.frontends.onnx.domain.export import export_onnx
from rnnpool_mcu.frontends.onnx.reader import parse_onnx
from rnnpool_mcu.importing.onnx import convert_model
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.lookup_tables import NONLINEARITIES
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Window
from rnnpool_mcu.ops.detector_decode import DetectorDecode
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.lookup import Lookup
from rnnpool_mcu.ops.max_out import MaxOut
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.quantize.rnnpool_cell import quantize_rnnpool
from tests.onnx_models import Builder, quantized


@cache
def _fuzzed() -> bytes:
    b = Builder(1)
    x = b.relu(b.conv(b.input(1, 2, 6, 6), 2, 4))
    x = b.node("Add", x, b.conv(x, 4, 4, group=4))
    pools = [b.node(kind, x, kernel_shape=[2, 2], strides=[2, 2]) for kind in ("MaxPool", "AveragePool")]
    x = b.node("Mul", b.node("Concat", *pools, axis=1), b.stored(np.float32(2)))
    x = b.node("Resize", x, "", b.stored(np.array([1, 1, 2, 2], np.float32)), mode="linear")
    x = b.node("Slice", x, *(b.stored(np.array([value])) for value in (1, 5, 2)))
    x = b.node("HardSwish", b.node("Transpose", x, perm=[0, 1, 3, 2]))
    x = b.node("Softmax", b.gemm(b.node("Reshape", x, b.stored(np.array([1, -1]))), 8 * 6 * 4, 3))
    return quantized(b.finish(x))


@cache
def _fuzzed_detector() -> bytes:
    """Our own operators: RNNPool, its map normalised, heads of one level, their decode."""
    random, half = np.random.default_rng(3), Quantization(0.5, 3)

    def conv(ins: int, outs: int) -> Conv2d:
        weights = random.integers(-127, 128, (outs, 1, 1, ins), np.int8)
        bias, scales = random.integers(-99, 99, outs, np.int32), np.full(outs, 2.0**-7)
        return Conv2d(weights, bias, scales, Window((1, 1), (1, 1)), half, (-20, 127))

    shapes = [(3, 4), (4, 4), (1, 4), (1, 4), (4, 2), (2, 2), (1, 2), (1, 2)]
    weights = [random.normal(0, 0.5, shape).astype(np.float32) for shape in shapes]
    image = TensorType(8, 10, 3, Quantization(float(np.float32(1 / 255)), -128))
    pool = quantize_rnnpool(
        *weights, patch=(4, 4), stride=(2, 2), nonlinearity=NONLINEARITIES[0], input=image.quantization
    )
    factors = np.linspace(1, 2, 8).astype(np.float32)
    nodes = (
        Node("pool", pool, ("input",)),
        Node("norm", L2Norm.of(factors.astype(np.float64), half), ("pool",)),
        Node("gate", Lookup.of(np.tanh, half, half, "Tanh"), ("norm",)),
        Node("loc", conv(8, 4), ("gate",)),
        Node("scores", conv(8, 3), ("norm",)),
        Node("conf", MaxOut(2), ("scores",)),
        Node("boxes", DetectorDecode(((4, 2),), (8, 10), 0.1), ("loc", "conf")),
    )
    return export_onnx(Graph("input", image, nodes, ("boxes",)), {"pool": weights, "norm": [factors]}, {})


FUZZED: dict[str, Callable[[], bytes]] = {"network": _fuzzed, "detector": _fuzzed_detector}


def _taken(data: bytes) -> None:
    with contextlib.suppress(UserError):
        run_passes(convert_model(parse_onnx(data, "net")).graph)


@pytest.mark.parametrize("name", FUZZED)
def test_the_fuzzed_models_are_sound(name: str) -> None:
    assert run_passes(convert_model(parse_onnx(FUZZED[name](), "net")).graph).nodes


_PLACE = st.floats(0, 1, exclude_max=True)
_BYTES = st.one_of(st.sampled_from([0, 1, 127, 128, 255]), st.integers(0, 255))


@pytest.mark.parametrize("name", FUZZED)
@settings(max_examples=300, deadline=4000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(changes=st.lists(st.tuples(_PLACE, _BYTES), min_size=1, max_size=4), cut=st.one_of(st.none(), _PLACE))
def test_damaged_files_bring_our_errors_only(
    name: str, changes: list[tuple[float, int]], cut: float | None
) -> None:
    data = bytearray(FUZZED[name]())
    for place, value in changes:
        data[int(place * len(data))] = value
    _taken(bytes(data) if cut is None else bytes(data[: int(cut * len(data))]))


_VALUES = st.one_of(
    st.integers(-3, 9),
    st.sampled_from([2**31 - 1, 2**40, 2**63 - 1, -(2**63)]),
    st.lists(st.integers(-2, 5), max_size=5),
    st.sampled_from([[2**40, 2], [0, 0], [1, 1, 1, 2**62]]),
    st.floats(width=32),
    st.sampled_from(["SAME_UPPER", "linear", "edge", ""]),
)


@pytest.mark.parametrize("name", FUZZED)
@settings(max_examples=300, deadline=4000, derandomize=True, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_wrong_attributes_and_tensors_bring_our_errors_only(name: str, data: st.DataObject) -> None:
    model = onnx.ModelProto.FromString(FUZZED[name]())
    nodes = [node for node in model.graph.node if node.attribute or data.draw(st.booleans())]
    node = data.draw(st.sampled_from(nodes))
    names = [a.name for a in node.attribute] + ["axis", "pads", "group", "auto_pad", "block_size"]
    changed, value = data.draw(st.sampled_from(names)), data.draw(_VALUES)
    kept = [attribute for attribute in node.attribute if attribute.name != changed]
    del node.attribute[:]
    node.attribute.extend([*kept, *([helper.make_attribute(changed, value)] if value != [] else [])])
    tensor = data.draw(st.sampled_from(list(model.graph.initializer)))
    if data.draw(st.booleans()):
        given = numpy_helper.to_array(tensor)
        other = data.draw(st.sampled_from([given[:0] if given.ndim else given, given * 0, -given, given.T]))
        tensor.CopyFrom(numpy_helper.from_array(np.ascontiguousarray(other), tensor.name))
    if data.draw(st.booleans()):
        index = data.draw(st.integers(0, max(0, len(node.input) - 1)))
        node.input[index] = data.draw(st.sampled_from([n for k in model.graph.node for n in k.input] + [""]))
    _taken(model.SerializeToString())
