"""Counts every benchmark kernel's instructions on the emulated Cortex-M4: `make bench-kernels`.

Writes docs/benchmarks/kernels.json and, from it, the kernel table of docs/benchmarks.md. A count is exact and
the same on every machine; it covers the whole layer: every call of the kernel, requantization included.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rnnpool_mcu.ir.firmware import FlashTiming
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.lookup_tables import SMOOTH
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.gru import Gru
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.lstm import Lstm
from rnnpool_mcu.quantize.rnnpool_cell import quantize_rnnpool
from rnnpool_mcu.run.cycles import block_cycles, taken_cycles
from rnnpool_mcu.run.disassembly import Instruction, disassemble
from rnnpool_mcu.run.layer_ranges import Range
from rnnpool_mcu.run.plugin import Counts, count_blocks
from rnnpool_mcu.run.profile import instructions_of, unaligned_multiples
from scripts.results_page import PAGE as PAGE
from scripts.results_page import with_block, write_results
from tests.ops import layers
from tests.ops.kernel_harness import (
    MACHINE,
    KernelCase,
    assert_bit_exact,
    random_case,
    run_program_qemu,
    run_qemu,
    write_sources,
)

DOCS = Path(__file__).resolve().parents[1] / "docs"
RECORD = DOCS / "benchmarks" / "kernels.json"

POINT = Window((1, 1), (1, 1))
SAME = Window((3, 3), (1, 1), Padding(1, 1, 1, 1))
HALVED = Window((3, 3), (2, 2), Padding(0, 0, 1, 1))


@dataclass(frozen=True)
class Shape:
    """A layer to measure. The other engines' instructions per MAC are recorded figures, None if unknown."""

    name: str
    op: Operator
    inputs: tuple[TensorType, ...]
    cmsis_nn: float | None = None
    tinyengine: float | None = None
    target: float | None = None  # instructions per MAC, at most
    macs: int | None = field(default=None, kw_only=True)  # unless the operator's own: of elements, say

    def case(self) -> KernelCase:
        return random_case(self.op, self.inputs)


def _conv(
    name: str,
    size: tuple[int, int],  # width, height
    channels: tuple[int, int],  # in, out
    window: Window,
    *figures: float | None,
) -> Shape:
    image = layers.tensor(size[1], size[0], channels[0])
    return Shape(name, layers.conv(image, channels[1], window), (image,), *figures)


def _depthwise(
    name: str, size: tuple[int, int], channels: int, window: Window, *figures: float | None
) -> Shape:
    image = layers.tensor(size[1], size[0], channels)
    return Shape(name, layers.depthwise(image, window), (image,), *figures)


def _fully_connected(name: str, inner: int, outer: int, *figures: float | None) -> Shape:
    weights = np.random.default_rng(0).integers(-127, 128, (outer, inner), dtype=np.int8)
    out = Quantization(0.1, 0)
    op = FullyConnected(weights, np.zeros(outer, np.int32), np.full(outer, 0.001), out)
    return Shape(name, op, (layers.tensor(1, 1, inner),), *figures)


def _rnnpool(
    name: str, size: tuple[int, int], channels: int, hidden: int, target: float | None = None
) -> Shape:
    """Patches of 8x8 every 4 pixels; counted are the products left when patches share RNN1's sweeps."""
    (width, height), rng = size, np.random.default_rng(0)
    sizes = [(channels, hidden), (hidden, hidden), (hidden,), (hidden,)]
    sizes += [(hidden, hidden), (hidden, hidden), (hidden,), (hidden,)]
    weights = [rng.normal(0, 0.3, shape) for shape in sizes]
    image = layers.tensor(height, width, channels, zero_point=-128)
    op = quantize_rnnpool(
        *weights, patch=(8, 8), stride=(4, 4), nonlinearity=SMOOTH, input=image.quantization
    )
    out = op.infer_type((image,))
    sweeps = out.width * (4 * out.height + 4) + out.height * (4 * out.width + 4)
    macs = 8 * sweeps * hidden * (channels + hidden) + out.height * out.width * 32 * hidden * 2 * hidden
    return Shape(name, op, (image,), target=target, macs=macs)


def _l2_norm(name: str, size: tuple[int, int], channels: int) -> Shape:
    image = layers.tensor(size[1], size[0], channels)
    weight = np.random.default_rng(0).uniform(3, 10, channels)
    return Shape(name, L2Norm.of(weight, Quantization(10 / 127, 0)), (image,), macs=image.bytes)


def _lstm(name: str, steps: int, inputs: int, units: int, target: float | None = None) -> Shape:
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (4, units, inputs), dtype=np.int8)
    recurrent = rng.integers(-127, 128, (4, units, units), dtype=np.int8)
    scales = (np.full(4, 0.01 / np.sqrt(n)) for n in (inputs, units))
    op = Lstm(
        *(weights, recurrent, np.zeros((4, units), np.int32), *scales),
        cell_bits=11,
        output=Quantization(1 / 128, 0),
    )
    return Shape(name, op, (layers.tensor(1, steps, inputs),), target=target)


def _gru(name: str, steps: int, inputs: int, units: int, target: float | None = None) -> Shape:
    rng = np.random.default_rng(0)
    weights = rng.integers(-127, 128, (3, units, inputs), dtype=np.int8)
    recurrent = rng.integers(-127, 128, (3, units, units), dtype=np.int8)
    bias, scales = np.zeros((3, units), np.int32), (np.full(3, 0.01 / np.sqrt(n)) for n in (inputs, units))
    op = Gru(weights, recurrent, bias, bias, *scales, Quantization(1 / 128, 0))
    return Shape(name, op, (layers.tensor(1, steps, inputs),), target=target)


def shapes() -> tuple[Shape, ...]:
    """The shapes for which other engines' figures are recorded, then some of this project's own networks."""
    block = layers.tensor(30, 40, 32)
    return (
        _conv("1×1, 40×30, 64→128", (40, 30), (64, 128), POINT, 2.06, 2.24, 1.25),
        _conv("1×1, 20×15, 128→64", (20, 15), (128, 64), POINT, 1.75, 1.94, 1.20),
        _conv("1×1, 6×6, 128→128", (6, 6), (128, 128), POINT, 1.83, 1.91, 1.20),
        _conv("1×1, 48×48, 8→16", (48, 48), (8, 16), POINT, 6.63, 7.14, 3.0),
        _conv("1×1, 24×24, 16→32", (24, 24), (16, 32), POINT, 3.96, 4.11, 2.0),
        _conv("3×3 s2, 96×96, 3→8", (96, 96), (3, 8), HALVED, 6.12, 3.12, 2.2),
        _conv("3×3, 32×32, 16→16", (32, 32), (16, 16), SAME, 2.33, 2.33, 1.10),
        _conv("3×3, 8×8, 64→64", (8, 8), (64, 64), SAME, 1.76, 1.93, 1.05),
        _depthwise("depthwise 3×3 s1, 40×30×128", (40, 30), 128, SAME, 8.05, 8.49, 2.4),
        _depthwise("depthwise 3×3 s2, 40×30×128", (40, 30), 128, HALVED, 8.04, 10.5, 3.8),
        _fully_connected("fully connected 640→128", 640, 128, 1.95, None, 1.40),
        _conv("3×3 s2, 320×240, 1→4", (320, 240), (1, 4), HALVED),
        _conv("1×1, 7×7, 160→32", (7, 7), (160, 32), POINT),
        _depthwise("depthwise 3×3 s1, 7×7×96", (7, 7), 96, SAME),
        _depthwise("depthwise 5×5 s1, 28×28×144", (28, 28), 144, Window((5, 5), (1, 1), Padding(2, 2, 2, 2))),
        Shape("add, 40×30×32 (per element)", Add(Quantization(0.03, 5)), (block, block), macs=block.bytes),
        _rnnpool("RNNPool 8×8 s4, 160×120×4, hidden 16", (160, 120), 4, 16, 2.0),
        _rnnpool("RNNPool 8×8 s4, 160×20×3, hidden 4", (160, 20), 3, 4),
        _lstm("LSTM, 49 steps, 40→64", 49, 40, 64, 1.6),
        _lstm("LSTM, 10 steps, 64→128", 10, 64, 128, 1.6),
        _lstm("LSTM, 28 steps, 28→32", 28, 28, 32),
        _gru("GRU, 49 steps, 40→64", 49, 40, 64, 1.6),
        _gru("GRU, 10 steps, 64→128", 10, 64, 128, 1.6),
        _gru("GRU, 28 steps, 28→32", 28, 28, 32),
        _l2_norm("L2 norm, 40×30×32 (per element)", (40, 30), 32),
        _l2_norm("L2 norm, 20×15×128 (per element)", (20, 15), 128),
    )


def measure(chosen: tuple[Shape, ...]) -> dict[str, dict[str, Any]]:
    """Name -> MACs (or what a shape counts instead), instructions and the other engines' figures.

    Every result is first compared with numpy's; AssertionError where one byte differs.
    """
    cases = [shape.case() for shape in chosen]
    results = run_qemu(cases)
    assert_bit_exact(cases, results)
    found = {}
    for shape, result in zip(chosen, results, strict=True):
        macs = shape.op.macs(shape.inputs) if shape.macs is None else shape.macs
        found[shape.name] = {
            "macs": macs,
            "instructions": result.instructions,
            "instructions_per_mac": round(result.instructions / macs, 3),
            "cmsis_nn": shape.cmsis_nn,
            "tinyengine": shape.tinyengine,
            "target": shape.target,
        }
    return found


def estimate_cycles(chosen: Sequence[Shape]) -> dict[str, int]:
    """Name -> estimated Cortex-M4 cycles of the whole layer with memory that never makes the core wait.

    AssertionError where an LDRD, STRD, LDM or STM met an unaligned address: hardware would have faulted.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        cases = [shape.case() for shape in chosen]
        write_sources(cases, work)
        run_program_qemu(work, ("-O2", "-g"))
        elf = work / "program.elf"
        code = disassemble(elf)
        ranges = [_case_range(code, f"case{i}") for i in range(len(cases))]
        command = ["qemu-system-arm", *MACHINE, "-kernel", str(elf)]
        _, counts = count_blocks(
            elf,
            ranges,
            FlashTiming(),
            lambda options: subprocess.run([*command, *options], cwd=work, check=True),
        )
    assert not unaligned_multiples(counts, code), unaligned_multiples(counts, code)
    kernels = tuple(kernel for case in cases for kernel, _ in case.op.kernels())
    cycles = _cycles_of(counts, code, kernels)
    return {shape.name: cycles[f"case{i}"] for i, shape in enumerate(chosen)}


def _case_range(code: Mapping[int, Instruction], function: str) -> Range:
    addresses = [address for address, instruction in code.items() if instruction.function == function]
    return Range(min(addresses), max(addresses) + code[max(addresses)].size, function)


def _cycles_of(counts: Counts, code: Mapping[int, Instruction], kernels: tuple[str, ...]) -> dict[str, int]:
    """Cycles by case of the functions that come from the kernels' files; the harness's are left out."""
    own = {i.function for i in code.values() if i.source.startswith(kernels)}
    cycles: dict[str, int] = defaultdict(int)
    for block in counts.blocks:
        body = instructions_of(block, code)
        if body[0].function in own:
            cycles[block.layer] += block.executions * sum(block_cycles(body)) + block.extra_accesses
            cycles[block.layer] += block.taken * taken_cycles(body[-1], code)
    return cycles


def recorded() -> dict[str, dict[str, Any]]:
    """What the last `make bench-kernels` wrote."""
    kernels: dict[str, dict[str, Any]] = json.loads(RECORD.read_text(encoding="utf-8"))["kernels"]
    return kernels


def table(kernels: Mapping[str, Mapping[str, Any]]) -> str:
    """Markdown table; but for the last column and the totals instructions per MAC."""

    def cell(value: float | None) -> str:
        return "–" if value is None else f"{value:.2f}"

    lines = [
        "| layer | instructions | per MAC | CMSIS-NN | TinyEngine | allowed | cycles per MAC |",
        "|---|---:|---:|---:|---:|---:|---:|",
    ]
    for name, k in kernels.items():
        figures = (
            k["instructions_per_mac"],
            k["cmsis_nn"],
            k["tinyengine"],
            k["target"],
            k["cycles_per_mac"],
        )
        lines.append(f"| {name} | {k['instructions']:,} | {' | '.join(map(cell, figures))} |")
    return "\n".join(lines)


def with_table(page: str, kernels: Mapping[str, Mapping[str, Any]]) -> str:
    """The page with the text between the kernel table's markers replaced; ValueError without markers."""
    return with_block(page, "kernels", table(kernels))


def main() -> None:
    """Measure, write, print; exit status 1 when a layer takes more than it is allowed."""
    chosen = shapes()
    kernels, cycles = measure(chosen), estimate_cycles(chosen)
    for name, kernel in kernels.items():
        kernel["cycles"] = cycles[name]
        kernel["cycles_per_mac"] = round(cycles[name] / kernel["macs"], 3)
    record = {
        "unit": "instructions; cycles are estimated",
        "core": "Cortex-M4",
        "optimize": "-O2",
        "kernels": kernels,
    }
    write_results(RECORD, record, lambda page: with_table(page, kernels))
    print(table(kernels))
    over = [name for name, k in kernels.items() if k["target"] and k["instructions_per_mac"] > k["target"]]
    if over:
        raise SystemExit(f"more instructions than allowed: {'; '.join(over)}")


if __name__ == "__main__":
    main()
