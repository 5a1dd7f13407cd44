"""Post-training quantization: the scheme's fixed parts, stored ranges, and the same bytes every time."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

from torch import nn  # noqa: E402

from rnnpool_mcu.errors import ModelError, UsageError  # noqa: E402
from rnnpool_mcu.frontends.torch.front import import_exported  # noqa: E402
from rnnpool_mcu.importing.checkpoint import TORCH_CONVERTERS  # noqa: E402
from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8  # noqa: E402
from rnnpool_mcu.ir.graph import Graph  # noqa: E402
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType  # noqa: E402
from rnnpool_mcu.quantize.calibration import as_batches, synthetic_images  # noqa: E402
from rnnpool_mcu.quantize.post_training import QuantizedModel, quantize_model  # noqa: E402
from tests.torch_models import Lambda, face_m4, randomised  # noqa: E402

SIZE = (64, 80, 1)


def graph_of(quantized: QuantizedModel, size: tuple[int, int, int] = SIZE) -> Graph:
    return import_exported(quantized.module, size, TORCH_CONVERTERS).graph


def quantization_of(graph: Graph, name: str) -> Quantization:
    value = graph.types[name]
    assert isinstance(value, TensorType)
    return value.quantization


@pytest.fixture(scope="module")
def face() -> QuantizedModel:
    return quantize_model(face_m4(), SIZE, as_batches(synthetic_images(SIZE, 4)))


@pytest.fixture(scope="module")
def face_graph(face: QuantizedModel) -> Graph:
    return graph_of(face)


def test_known_ranges_are_fixed(face_graph: Graph) -> None:
    assert quantization_of(face_graph, "input") == Quantization(float(np.float32(1 / 255)), -128)
    assert quantization_of(face_graph, "pool") == Quantization(1 / 128, 0)


def test_values_that_are_only_moved_keep_their_quantization(face_graph: Graph) -> None:
    assert quantization_of(face_graph, "pad") == quantization_of(face_graph, "pool")
    assert quantization_of(face_graph, "max_out") == quantization_of(face_graph, "conf_0")


def test_relu6_outputs_use_at_most_their_range(face_graph: Graph) -> None:
    stem = quantization_of(face_graph, "stem")
    assert stem.zero_point == -128
    assert stem.scale <= 6.0 / 255.0 * (1 + 1e-6)


def test_weights_are_symmetric_per_channel(face_graph: Graph) -> None:
    op = face_graph.node("loc_1").op
    weights, scales = op.weights, op.weight_scales  # type: ignore[attr-defined]
    assert weights.min() >= -127
    assert (np.abs(weights.reshape(4, -1)).max(axis=1) == 127).all()
    assert len(set(scales)) == 4


def test_stored_ranges_give_the_same_graph_without_images(face: QuantizedModel, face_graph: Graph) -> None:
    again = graph_of(quantize_model(face_m4(), SIZE, calibration=face.calibration))
    assert again.types == face_graph.types
    image = image_to_int8(synthetic_images(SIZE, 1, seed=3)[0])
    first, second = evaluate_graph(face_graph, image), evaluate_graph(again, image)
    assert all((first[name] == second[name]).all() for name in face_graph.types)


def test_same_images_give_the_same_ranges(face: QuantizedModel) -> None:
    again = quantize_model(face_m4(), SIZE, as_batches(synthetic_images(SIZE, 4)))
    assert again.calibration == face.calibration


def test_ranges_of_another_model_are_refused(face: QuantizedModel) -> None:
    ranges = dict(face.calibration)
    del ranges["blocks.1"]
    with pytest.raises(ModelError, match=r"'blocks\.1'.*calibrate again"):
        quantize_model(face_m4(), SIZE, calibration=ranges)


def test_no_images_is_an_error() -> None:
    with pytest.raises(UsageError, match="no images"):
        quantize_model(face_m4(), SIZE, images=[])


def test_values_of_one_module_are_told_apart() -> None:
    model = Lambda(lambda m, x: m.conv(x) + m.conv(x), conv=nn.Conv2d(1, 3, 3))
    size = (9, 9, 1)
    quantized = quantize_model(randomised(model), size, as_batches(synthetic_images(size, 2)))
    assert set(quantized.calibration) == {"conv", "conv#2", ""}


def test_model_with_data_dependent_flow_is_refused() -> None:
    model = Lambda(lambda m, x: m.a(x) if bool(x.sum() > 0) else x, a=nn.ReLU())
    with pytest.raises(ModelError, match=r"torch\.export failed"):
        quantize_model(model, SIZE, as_batches(synthetic_images(SIZE, 1)))
