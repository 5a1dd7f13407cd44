"""Resize: numpy against torch's interpolation and listed indices, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.nn import functional

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.resize import Resize
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import extremes, on_random, tensor

SIZES = [((4, 5), (8, 10)), ((7, 3), (5, 8)), ((1, 4), (3, 2)), ((6, 6), (1, 1)), ((3, 3), (3, 3))]


def cases() -> list[KernelCase]:
    found = []
    for given, wanted in SIZES:
        for coordinates in ("half_pixel", "align_corners", "asymmetric"):
            found.append(on_random(Resize(wanted, "bilinear", coordinates), tensor(*given, 3)))  # type: ignore[arg-type]
            found.append(on_random(Resize(wanted, "nearest", coordinates), tensor(*given, 3)))  # type: ignore[arg-type]
        found.append(on_random(Resize(wanted, "bilinear", arithmetic="tflite"), tensor(*given, 3)))
        found.append(on_random(Resize(wanted, "nearest", arithmetic="float32"), tensor(*given, 3)))
    return found + extremes(found[0])


def with_torch(case: KernelCase, **options: object) -> np.ndarray:
    """Torch's interpolation in float64, in our layout."""
    assert isinstance(case.op, Resize)
    image = torch.tensor(case.values[0].astype(np.float64)).permute(2, 0, 1)[None]
    done = functional.interpolate(image, case.op.size, **options)  # type: ignore[arg-type]
    return done[0].permute(1, 2, 0).numpy()


@pytest.mark.parametrize(("given", "wanted"), SIZES)
@pytest.mark.parametrize("aligned", [False, True])
def test_bilinear_is_torchs_to_within_rounding(
    given: tuple[int, int], wanted: tuple[int, int], aligned: bool
) -> None:
    op = Resize(wanted, "bilinear", "align_corners" if aligned else "half_pixel")
    case = on_random(op, tensor(*given, 3))
    expected = with_torch(case, mode="bilinear", align_corners=aligned)
    # Weights rounded to 1/1024 move a difference of 255 by 1/8 step along each axis.
    assert np.abs(op.eval_int8(case.types, case.values) - expected).max() <= 0.5 + 0.25


@pytest.mark.parametrize(("given", "wanted"), SIZES)
def test_nearest_is_torchs(given: tuple[int, int], wanted: tuple[int, int]) -> None:
    plain = on_random(Resize(wanted, "nearest", "asymmetric", "floor"), tensor(*given, 3))
    assert (plain.op.eval_int8(plain.types, plain.values) == with_torch(plain, mode="nearest")).all()
    centred = on_random(Resize(wanted, "nearest", "half_pixel", "round_prefer_ceil"), tensor(*given, 3))
    expected = with_torch(centred, mode="nearest-exact")
    assert (centred.op.eval_int8(centred.types, centred.values) == expected).all()


@pytest.mark.parametrize(
    ("op", "expected"),
    [
        (Resize((1, 8), "nearest", "asymmetric", "floor"), [0, 0, 1, 1, 2, 2, 3, 3]),
        (Resize((1, 8), "nearest", "asymmetric", "ceil"), [0, 1, 1, 2, 2, 3, 3, 3]),
        (Resize((1, 8), "nearest", "asymmetric", "round_prefer_floor"), [0, 0, 1, 1, 2, 2, 3, 3]),
        (Resize((1, 8), "nearest", "asymmetric", "round_prefer_ceil"), [0, 1, 1, 2, 2, 3, 3, 3]),
        (Resize((1, 7), "nearest", "align_corners", "round_prefer_ceil"), [0, 1, 1, 2, 2, 3, 3]),
        (Resize((1, 2), "nearest", "half_pixel", "round_prefer_floor"), [0, 2]),
        (Resize((1, 2), "nearest", "half_pixel", "round_prefer_ceil"), [1, 3]),
        (Resize((1, 1), "nearest", "pytorch_half_pixel", "floor"), [0]),
        (Resize((1, 9), "nearest", "asymmetric", "floor", (1.0, 2.5)), [0, 0, 0, 1, 1, 2, 2, 2, 3]),
    ],
)
def test_nearest_indices(op: Resize, expected: list[int]) -> None:
    counting = np.arange(4, dtype=np.int8).reshape(1, 4, 1)
    assert op.eval_int8((tensor(1, 4, 1),), (counting,)).ravel().tolist() == expected


def nearest_of_counting(op: Resize, given: int) -> list[int]:
    """Which of `given` columns the operator takes for each of its own."""
    counting = np.arange(given, dtype=np.int8).reshape(1, given, 1)
    return op.eval_int8((tensor(1, given, 1),), (counting,)).ravel().tolist()


@pytest.mark.parametrize("exact", [False, True])
def test_nearest_in_float32_is_torchs_at_every_size(exact: bool) -> None:
    """Where a coordinate is a whole number, float32 comes out below it now and then.

    PyTorch's vector loop fuses the product with the sum for "nearest-exact": 3 of 9,000 sizes, beyond these,
    depend on its machine.
    """
    mode, coordinates = ("nearest-exact", "half_pixel") if exact else ("nearest", "asymmetric")
    differs = 0
    for given, wanted in itertools.product((1, 2, 3, 4, 7, 10, 49, 100), range(1, 140)):
        columns = torch.arange(given, dtype=torch.float32)[None, None, None]
        expected = functional.interpolate(columns, (1, wanted), mode=mode).ravel().tolist()
        op = Resize((1, wanted), "nearest", coordinates, arithmetic="float32")  # type: ignore[arg-type]
        assert nearest_of_counting(op, given) == expected, (given, wanted)
        plain = replace(op, arithmetic="exact", rounding="round_prefer_ceil" if exact else "floor")
        differs += nearest_of_counting(plain, given) != expected
    assert differs


def test_nearest_in_float32_with_torchs_factors() -> None:
    for given, factor in itertools.product((4, 10, 49), (0.3, 1.1, 1.7, 2.0, 2.2, 3.3)):
        columns = torch.arange(given, dtype=torch.float32)[None, None, None]
        wanted = functional.interpolate(columns, scale_factor=(1.0, factor), mode="nearest")
        size, scales = (1, wanted.numel()), (1.0, factor)
        op = Resize(size, "nearest", "asymmetric", scales=scales, arithmetic="float32")
        assert nearest_of_counting(op, given) == wanted.ravel().tolist(), (given, factor)


def test_arithmetic_of_the_other_mode_is_refused() -> None:
    nearest = Resize((2, 2), "nearest", arithmetic="tflite")
    for op in (nearest, Resize((2, 2), "bilinear", arithmetic="float32")):
        with pytest.raises(ModelError, match="which is for the other mode"):
            op.infer_type((tensor(3, 3, 1),))


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


def test_sizes_below_one_are_refused() -> None:
    with pytest.raises(ModelError, match=r"Resize: to \(0, 4\)"):
        Resize((0, 4), "nearest").infer_type((tensor(2, 2, 1),))
    for scale in (0.0, float("nan"), float("inf")):
        with pytest.raises(ModelError, match="scales > 0"):
            Resize((4, 4), "nearest", scales=(2.0, scale)).infer_type((tensor(2, 2, 1),))


def test_sides_that_no_table_holds_are_refused() -> None:
    with pytest.raises(ModelError, match="Resize: input 1x40000x1, supported: sides up to 32767"):
        Resize((1, 2), "nearest").infer_type((tensor(1, 40000, 1),))
