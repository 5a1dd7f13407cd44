"""What `CompiledModel.run` takes, and what it refuses."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnpool_mcu.api import CompiledModel
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from tests.graphs import INPUT, GraphBuilder

SHAPE = (4, 6, 3)


def _model(example_shape: tuple[int, ...] = (1, 3, 4, 6)) -> CompiledModel:
    builder = GraphBuilder(TensorType(*SHAPE, Quantization(1 / 255, -128)))
    return CompiledModel(Path("out"), {}, builder.graph(builder.conv(INPUT, 2, 3)), (example_shape,))


def _picture() -> Any:
    return np.random.default_rng(0).integers(0, 256, SHAPE, np.uint8)


def test_a_picture_and_its_values_give_the_same() -> None:
    picture = _picture()
    (expected,) = _model().run(picture)
    real = picture.transpose(2, 0, 1).astype(np.float32) / 255
    for given in (real, real[None], real.astype(np.float64)):
        np.testing.assert_array_equal(_model().run(given)[0], expected)
    np.testing.assert_array_equal(_model((1, 72)).run(real.reshape(1, 72))[0], expected)


def test_tensors_of_any_precision_that_ask_for_gradients_are_taken() -> None:
    torch = pytest.importorskip("torch")
    picture = _picture()
    (expected,) = _model().run(picture)
    real = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    np.testing.assert_array_equal(_model().run(real.requires_grad_())[0], expected)
    np.testing.assert_array_equal(_model().run(torch.from_numpy(picture))[0], expected)
    assert _model().run(real.bfloat16())[0].shape == expected.shape


@pytest.mark.parametrize("shape", [SHAPE, (72,), (1, 72), (3, 6, 4), (2, 3, 4, 6), (1, *SHAPE)])
def test_other_shapes_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"allowed: uint8 \[4, 6, 3\], or float \[1, 3, 4, 6\]"):
        _model().run(np.zeros(shape, np.float32))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_not_finite_are_refused(value: float) -> None:
    image = np.zeros((1, 3, 4, 6), np.float32)
    image[0, 1, 2, 3] = value
    with pytest.raises(UsageError, match="NaN or infinite"):
        _model().run(image)
