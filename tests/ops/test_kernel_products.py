"""Every kernel in every mode over a product of shapes, on the emulated Cortex-M4.

A map of one channel, pixel or row, equal steps, an operand that is repeated: by such things kernels choose
their loops. Heights 1 and 4, widths 1..5 and 7, channels 1..5, 8, 9 and 33; the modes are those of
tests/ops/kernel_modes.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Iterator

import pytest

import rnnpool_mcu.ops
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.system.resources import template_dir
from tests.ops.kernel_harness import assert_bit_exact, run_host, run_qemu
from tests.ops.kernel_modes import MODES
from tests.ops.kernel_modes.mode import SHAPES

AT_ONCE = 700  # cases of one program: its constants fit into the board's flash
SAMPLED = 3  # shapes of each mode in the normal run
LEAST_SHAPES = 8  # of the product, that a mode must take


def operators() -> Iterator[type[Operator]]:
    """Every operator that has a kernel: the public concrete classes of rnnpool_mcu.ops, but for bases."""
    for info in pkgutil.iter_modules(rnnpool_mcu.ops.__path__):
        module = importlib.import_module(f"rnnpool_mcu.ops.{info.name}")
        for found in vars(module).values():
            if not (inspect.isclass(found) and found.__module__ == module.__name__):
                continue
            if issubclass(found, Operator) and not inspect.isabstract(found) and not _is_internal(found):
                yield found


def _is_internal(operator: type[Operator]) -> bool:
    """Whether it is private, or a base of public operators."""
    names = [operator.__name__.lstrip("_"), *(sub.__name__ for sub in operator.__subclasses__())]
    return operator.__name__ not in names or any(name[0] != "_" for name in names[1:])


def test_every_operator_has_modes() -> None:
    missing = sorted(op.__name__ for op in operators() if not MODES.get(op))
    assert not missing, f"{', '.join(missing)}: no modes; add a row in tests/ops/kernel_modes"


@pytest.mark.parametrize("operator", MODES, ids=lambda op: op.__name__)
def test_modes_have_names_and_shapes(operator: type[Operator]) -> None:
    names = [mode.name for mode in MODES[operator]]
    assert len(set(names)) == len(names)
    few = [mode.name for mode in MODES[operator] if len(mode.sample(LEAST_SHAPES)) < LEAST_SHAPES]
    assert not few, (
        f"{operator.__name__}: modes that take fewer than {LEAST_SHAPES} of {len(SHAPES)} shapes: {few}"
    )


def test_every_template_is_reached() -> None:
    """Kernels and instruction-set variants alike; parts that others include are cut off by their names."""
    reached = set()
    for modes in MODES.values():
        for case in (mode.sample(1)[0] for mode in modes):
            for kernel, variants in case.op.kernels():
                reached |= {kernel, *(f"{kernel}_{variant}" for variant in variants)}
    parts = {path.name.removesuffix(".c.j2") for path in (template_dir() / "ops").glob("*.c.j2")}
    included = {
        part for part in parts for whole in (template_dir() / "ops").glob("*.c.j2")
        if f'"ops/{part}.c.j2"' in whole.read_text()
    }  # fmt: skip
    assert parts - included <= reached


def test_a_sample_of_the_products_is_exact_on_the_board_and_the_host() -> None:
    cases = [case for modes in MODES.values() for mode in modes for case in mode.sample(SAMPLED)]
    assert_bit_exact(cases, run_qemu(cases, counted=False))
    assert_bit_exact(cases, run_host(cases))


@pytest.mark.slow
@pytest.mark.parametrize("operator", MODES, ids=lambda op: op.__name__)
def test_the_whole_product_is_exact_on_the_board(operator: type[Operator]) -> None:
    cases = [case for mode in MODES[operator] for case in mode.cases()]
    for first in range(0, len(cases), AT_ONCE):
        part = cases[first : first + AT_ONCE]
        assert_bit_exact(part, run_qemu(part, counted=False))
