"""Pad: what each mode writes, the windows it reads, C and the Cortex-M4 against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ops.convolution import Padding
from rnnpool_mcu.ops.pad import Pad
from tests.ops.kernel_harness import KernelCase, assert_cortex_m4_equals_numpy, assert_host_equals_numpy
from tests.ops.layers import on_random, tensor


def cases() -> list[KernelCase]:
    return [
        on_random(Pad(Padding(1, 2, 3, 4)), tensor(3, 5, 3)),
        on_random(Pad(Padding(0, 0, 1, 0), value=127), tensor(3, 5, 3)),
        on_random(Pad(Padding(1, 0, 0, 1), channels=(2, 3)), tensor(2, 3, 4)),
        on_random(Pad(Padding(2, 3, 1, 2), "reflect"), tensor(4, 5, 3)),
        on_random(Pad(Padding(3, 4, 3, 4), "reflect"), tensor(4, 5, 2)),
        on_random(Pad(Padding(3, 1, 2, 5), "symmetric"), tensor(3, 5, 3)),
        on_random(Pad(Padding(2, 3, 4, 1), "replicate"), tensor(2, 1, 5)),
        on_random(Pad(Padding()), tensor(2, 2, 2)),
    ]


@pytest.mark.parametrize(
    ("mode", "expected"),
    [
        ("constant", [-3, -3, 1, 2, 3, -3]),
        ("reflect", [3, 2, 1, 2, 3, 2]),
        ("symmetric", [2, 1, 1, 2, 3, 3]),
        ("replicate", [1, 1, 1, 2, 3, 3]),
    ],
)
def test_modes(mode: str, expected: list[int]) -> None:
    row = np.array([[[1], [2], [3]]], np.int8)
    across = Pad(Padding(0, 2, 0, 1), mode)  # type: ignore[arg-type]
    assert across.eval_int8((tensor(1, 3, 1),), (row,)).ravel().tolist() == expected
    down = Pad(Padding(2, 0, 1, 0), mode)  # type: ignore[arg-type]
    column = row.reshape(3, 1, 1)
    assert down.eval_int8((tensor(3, 1, 1),), (column,)).ravel().tolist() == expected


def test_windows_never_step_back_and_hold_what_is_read() -> None:
    for case in cases():
        assert isinstance(case.op, Pad)
        (image,) = case.types
        out = case.op.infer_type(case.types)
        windows = [case.op.input_windows(r, case.types)[0] for r in range(out.height)]
        assert [w.first for w in windows] == sorted(w.first for w in windows)
        for window, source in zip(windows, case.op._rows(image), strict=True):
            assert window.first >= 0 and window.stop <= image.height
            assert source < 0 or window.first <= source < window.stop


def test_host_equals_numpy_under_sanitizers() -> None:
    assert_host_equals_numpy(cases())


def test_cortex_m4_equals_numpy() -> None:
    assert_cortex_m4_equals_numpy(cases())


@pytest.mark.parametrize(
    ("op", "message"),
    [
        (Pad(Padding(-1)), "allowed: 0 or more"),
        (Pad(Padding(1), value=200), "and an int8"),
        (Pad(Padding(4), "reflect"), "for reflect: no more"),
        (Pad(Padding(5), "symmetric"), "for symmetric: no more"),
        (Pad(Padding(1), "replicate", channels=(1, 0)), "channels"),
        (Pad(Padding(1), "wrap"), "mode 'wrap'"),  # type: ignore[arg-type]
    ],
)
def test_bad_parameters_are_refused(op: Pad, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        op.infer_type((tensor(4, 4, 1),))


def test_sides_that_no_table_holds_are_refused() -> None:
    with pytest.raises(ModelError, match="Pad: input 40000x1x1, supported: sides up to 32767"):
        Pad(Padding(1)).infer_type((tensor(40000, 1, 1),))
