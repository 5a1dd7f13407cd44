"""fixed_point.py and fixed_point.h are twins: both against exact integers, host and Cortex-M4."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rnnpool_mcu.numerics import fixed_point
from rnnpool_mcu.numerics.fixed_point import MAX_SHIFT, MIN_SHIFT, quantize_multipliers, requantize
from rnnpool_mcu.system.resources import template_dir
from tests.ops.kernel_harness import run_program_host, run_program_qemu

ACCUMULATORS = [-(2**31), -(2**31) + 1, -(2**30), -65536, -129, -2, -1, 0, 1, 2, 127, 65535, 2**30, 2**31 - 1]
MULTIPLIERS = [0, 1, 2, 3, 2**16 + 1, 2**30 - 1, 2**30, 2**30 + 1, 2**31 - 1]
SHIFTS = [MIN_SHIFT, 34, 40, 47, 54, MAX_SHIFT]
# Zero point and clamp.
OUTPUTS = [(0, -128, 127), (-128, -128, 127), (127, -128, 127), (3, -100, 90), (-5, -5, 20)]

PROGRAM = """
#include "fixed_point.h"
#include "port.h"

typedef struct {
    int32_t acc, multiplier, shift, zero_point, low, high;
} edge;

extern const edge edges[];
int main(void);

static int8_t results[EDGES];
static int8_t row_results[EDGES];

/* The Cortex-M4 kernels' requantization, then their clamp of whole rows. */
static void fill_row_results(void)
{
#if FIXED_POINT_M4
    for (int32_t i = 0; i < EDGES; ++i) {
        const edge *e = &edges[i];
        const int32_t offset = requantize_offset(e->shift, e->zero_point);
        row_results[i] = requantize_full_range(e->acc, e->multiplier, offset, e->shift - 32);
    }
    for (int32_t i = 0; i < EDGES;) {
        int32_t next = i; /* rows are runs of edges with the same clamp, of many lengths and alignments */
        while (next < EDGES && edges[next].low == edges[i].low && edges[next].high == edges[i].high) {
            ++next;
        }
        clamp_row_s8(row_results + i, next - i, edges[i].low, edges[i].high);
        i = next;
    }
#else
    memcpy(row_results, results, sizeof results);
#endif
}

int main(void)
{
    for (int32_t i = 0; i < EDGES; ++i) {
        const edge *e = &edges[i];
        results[i] = requantize(e->acc, e->multiplier, e->shift, e->zero_point, e->low, e->high);
    }
    fill_row_results();
    port_write(results, EDGES);
    port_write(row_results, EDGES);
    return 0;
}
"""


def edges() -> NDArray[np.int32]:
    """[n, 6]: acc, multiplier, shift, zero point, low, high; all combinations, halves, and random ones."""
    found = [
        (acc, multiplier, shift, *output)
        for acc, multiplier, shift, output in itertools.product(ACCUMULATORS, MULTIPLIERS, SHIFTS, OUTPUTS)
    ]
    for shift, k, nudge in itertools.product(range(MIN_SHIFT, MAX_SHIFT + 1), (-3, -1, 0, 1, 6), (-1, 0, 1)):
        acc = (2 * k + 1) * 2 ** (shift - 31) + nudge  # at and beside k + 1/2 with a multiplier of 2^30
        found.append((acc, 2**30, shift, 1, -128, 127))
    rng = np.random.default_rng(0)
    for _ in range(2000):
        shift = int(rng.integers(MIN_SHIFT, MAX_SHIFT + 1))
        low, high = sorted(rng.integers(-128, 128, 2).tolist())
        wide = 2 ** int(rng.integers(1, 32))
        acc, multiplier = int(rng.integers(-wide, wide)), int(rng.integers(0, 2**31))
        found.append((acc, multiplier, shift, int(rng.integers(-128, 128)), low, high))
    return np.array(found, np.int64).astype(np.int32)


def exact(edge: NDArray[np.int32]) -> int:
    acc, multiplier, shift, zero_point, low, high = map(int, edge)
    return max(low, min(high, (2 * acc * multiplier + 2**shift) // 2 ** (shift + 1) + zero_point))


def numpy_results(cases: NDArray[np.int32]) -> list[int]:
    return [int(requantize(np.array(acc), *rest)) for acc, *rest in cases.tolist()]


def write_program(work: Path, cases: NDArray[np.int32]) -> None:
    (work / "main.c").write_text(f"#define EDGES {len(cases)}\n{PROGRAM}")
    (work / "edges.bin").write_bytes(cases.astype("<i4").tobytes())
    words = '.section .rodata,"a"\n.balign 16\n.global edges\nedges:\n.incbin "edges.bin"\n'
    (work / "edges.S").write_text(words + '.section .note.GNU-stack,"",%progbits\n')


def test_numpy_is_exact() -> None:
    cases = edges()
    assert numpy_results(cases) == [exact(edge) for edge in cases]


def test_host_c_is_exact(tmp_path: Path) -> None:
    cases = edges()
    write_program(tmp_path, cases)
    flags = ("-O1", "-fsanitize=undefined,address", "-fno-sanitize-recover=all")
    actual = np.frombuffer(run_program_host(tmp_path, "gcc", flags), np.int8)
    assert actual.tolist() == 2 * [exact(edge) for edge in cases]


@pytest.mark.parametrize("optimize", ["-O2", "-O0"])
def test_cortex_m4_is_exact(tmp_path: Path, optimize: str) -> None:
    cases = edges()
    write_program(tmp_path, cases)
    actual = np.frombuffer(run_program_qemu(tmp_path, (optimize,)), np.int8)
    assert actual.tolist() == 2 * [exact(edge) for edge in cases]


def test_twins_have_the_same_names_in_the_same_order() -> None:
    header = (template_dir() / "include" / "fixed_point.h").read_text()
    shared = header.split("Word-wise building blocks")[0]
    in_c = re.findall(r"^static inline \w+ (\w+)\(", shared, re.MULTILINE)
    source = Path(fixed_point.__file__).read_text()
    in_python = re.findall(r"^def (\w+)\(", source, re.MULTILINE)
    assert in_c == [name for name in in_python if name != "quantize_multipliers"]  # made at compile time only


@given(st.lists(st.floats(2.0**-30, 60000.0), min_size=1, max_size=8))
def test_multipliers_are_within_half_a_step_of_the_shared_shift(factors: list[float]) -> None:
    real = np.array(factors)
    found = quantize_multipliers(real)
    assert MIN_SHIFT <= found.shift <= MAX_SHIFT
    assert found.multipliers.min() >= 0
    step = 2.0 ** (found.left_shift - found.shift)
    # A factor that would round up to 2^31 is capped a whole step below.
    allowed = step if found.multipliers.max() == 2**31 - 1 else step / 2
    assert np.abs(found.multipliers * step - real).max() <= allowed
    assert found.left_shift == 0 or real.max() >= 0.25


@pytest.mark.parametrize("factors", [[0.0], [-0.1, 0.5], [float("nan")], [float("inf")], [65536.0]])
def test_factors_without_a_fixed_point_form_are_refused(factors: list[float]) -> None:
    with pytest.raises(ValueError, match="requantization factor"):
        quantize_multipliers(np.array(factors))
