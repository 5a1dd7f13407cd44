"""FullyConnectedByRows: the same bytes as the layer at once; C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.fully_connected_by_rows import FullyConnectedByRows
from tests.ops.kernel_harness import KernelCase, assert_bit_exact, assert_host_equals_numpy, run_qemu
from tests.ops.layers import extremes, on_random, tensor
from tests.ops.test_fully_connected import layer

SHAPES = [((4, 3, 5), 9), ((3, 1, 1), 1), ((2, 3, 2), 4), ((5, 7, 1), 6), ((1, 4, 4), 2), ((2, 1, 3), 5)]


def cases() -> list[KernelCase]:
    found = [
        on_random(FullyConnectedByRows(layer(int(np.prod(shape)), out)), tensor(*shape))
        for shape, out in SHAPES
    ]
    return found + extremes(found[0])


def test_the_result_is_the_layers_matrix_product() -> None:
    for case in cases():
        op, (image,) = case.op, case.types
        assert isinstance(op, FullyConnectedByRows)
        centred = case.values[0].ravel().astype(int) - image.zero_point
        acc = op.layer.weights.astype(int) @ centred + op.layer.bias
        exact = (
            acc * op.layer.weight_scales * image.scale / op.layer.output.scale + op.layer.output.zero_point
        )
        assert (
            np.abs(op.eval_int8(case.types, case.values).ravel() - np.clip(exact, -128, 127)).max() <= 0.5001
        )


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy_and_its_work_per_mac() -> None:
    every = [*cases(), on_random(FullyConnectedByRows(layer(1600, 12)), tensor(5, 20, 16))]
    results = run_qemu(every)
    assert_bit_exact(every, results)
    per_mac = results[-1].instructions / (1600 * 12)
    print(f"{per_mac:.2f} instructions per MAC")
    assert per_mac <= 1.8


def test_another_number_of_values_is_refused() -> None:
    with pytest.raises(ModelError, match="allowed: 60"):
        FullyConnectedByRows(layer(60, 2)).infer_type((tensor(4, 3, 4),))
