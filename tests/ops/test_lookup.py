"""Lookup: tables against the functions in exact or float arithmetic, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops import lookup
from rnnpool_mcu.ops.lookup import Lookup
from tests.ops.kernel_harness import KernelCase, assert_bit_exact, assert_host_equals_numpy, run_qemu
from tests.ops.layers import on_random

IN, OUT = Quantization(0.05, 10), Quantization(1 / 256, -128)
WIDE = Quantization(0.06, -20)

FUNCTIONS: list[tuple[Lookup, Callable[[float], float]]] = [
    (lookup.logistic(IN, OUT), lambda x: 1 / (1 + math.exp(-x))),
    (lookup.tanh(IN, Quantization(1 / 128, 0)), math.tanh),
    (lookup.hard_swish(IN, WIDE), lambda x: x * min(max(x + 3, 0), 6) / 6),
    (lookup.hard_sigmoid(IN, OUT), lambda x: min(max(x / 6 + 0.5, 0), 1)),
    (lookup.hard_sigmoid(IN, OUT, 0.2, 0.4), lambda x: min(max(0.2 * x + 0.4, 0), 1)),
    (lookup.leaky_relu(IN, WIDE, 0.1), lambda x: x if x > 0 else 0.1 * x),
    (lookup.relu(IN, WIDE), lambda x: max(x, 0)),
    (lookup.relu6(IN, WIDE), lambda x: min(max(x, 0), 6)),
    (lookup.clip(IN, WIDE, -1, 2), lambda x: min(max(x, -1), 2)),
    (lookup.elu(IN, WIDE, 0.7), lambda x: x if x > 0 else 0.7 * (math.exp(x) - 1)),
    (lookup.swish(IN, WIDE), lambda x: x / (1 + math.exp(-x))),
    (lookup.requantize(IN, WIDE), lambda x: x),
]


@pytest.mark.parametrize(("op", "function"), FUNCTIONS, ids=[op.function for op, _ in FUNCTIONS])
def test_a_table_is_its_function_to_within_rounding(op: Lookup, function: Callable[[float], float]) -> None:
    every = np.arange(-128, 128, dtype=np.int8).reshape(1, 256, 1)
    actual = op.eval_int8((TensorType(1, 256, 1, IN),), (every,)).ravel()
    for q, out in zip(range(-128, 128), actual, strict=True):
        exact = function(IN.scale * (q - IN.zero_point)) / op.output.scale + op.output.zero_point
        assert abs(int(out) - min(max(exact, -128), 127)) <= 0.5 + 1e-9
    assert len(set(actual.tolist())) > 30


def cases() -> list[KernelCase]:
    found = [on_random(lookup.swish(IN, WIDE), TensorType(2, i, 3, IN), seed=i) for i in range(1, 9)]
    every = np.arange(-128, 128, dtype=np.int8).reshape(1, 64, 4)
    return [*found, KernelCase(lookup.logistic(IN, OUT), (TensorType(1, 64, 4, IN),), (every,))]


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy_and_its_work_per_element() -> None:
    results = run_qemu(cases())
    assert_bit_exact(cases(), results)
    per_element = results[-1].instructions / 256
    print(f"{per_element:.2f} instructions per element")
    assert per_element <= 4.1


def test_extreme_scales_saturate() -> None:
    assert lookup.requantize(Quantization(1e38, 0), Quantization(1e-38, 0)).table.tolist() == (
        [-128] * 128 + [0] + [127] * 127
    )
    assert set(lookup.logistic(Quantization(1e300, 0), OUT).table.tolist()) == {-128, 0, 127}


def test_a_function_without_a_value_is_refused() -> None:
    with np.errstate(invalid="ignore"), pytest.raises(ModelError, match="root: no value at input -128"):
        Lookup.of(np.sqrt, IN, OUT, "root")


def test_an_input_of_another_quantization_is_refused() -> None:
    with pytest.raises(ModelError, match=r"relu: input scale 0.06 and zero point -20, its table is for 0.05"):
        lookup.relu(IN, OUT).infer_type((TensorType(1, 1, 1, WIDE),))
