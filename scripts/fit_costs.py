"""Measures the kernels on the emulated board and fits the planner's cost model: `make fit-costs`.

Writes rnnpool_mcu/schedule/pricing/costs.json: per kernel loop the instructions and cycles per feature (see
schedule/pricing/costs.py), the number of shapes it ran in, and the largest relative error over them. Cycles
are the estimate of `rnnpool-mcu profile` for BOARD, with the constants in its flash.
"""

from __future__ import annotations

import json
import subprocess
import tempfile
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import nnls

from rnnpool_mcu.ir.operator import Work
from rnnpool_mcu.run.cycles import block_cycles, taken_cycles
from rnnpool_mcu.run.disassembly import Instruction, disassemble
from rnnpool_mcu.run.layer_ranges import OUTSIDE, Range
from rnnpool_mcu.run.plugin import BlockCount, count_blocks
from rnnpool_mcu.run.profile import instructions_of
from rnnpool_mcu.schedule.pricing.costs import COSTS_FILE, CYCLES, FEATURES, INSTRUCTIONS, features
from rnnpool_mcu.toolchain.board import load_board
from scripts import cost_cases, cost_cases_networks
from tests.ops.kernel_harness import MACHINE, KernelCase, run_program_qemu, write_sources

OUT = Path(__file__).resolve().parents[1] / "rnnpool_mcu" / "schedule" / "pricing" / COSTS_FILE
BOARD = "nucleo-f439zi"
BATCH = 60  # cases in one program: their heap is released after each, their constants share 4 MB of flash


@dataclass(frozen=True)
class Sample:
    """One measured case."""

    works: tuple[Work, ...]
    instructions: int
    cycles: int


def measure(chosen: Sequence[KernelCase]) -> list[Sample]:
    """What each case's kernel took, all its calls, on the emulated board."""
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_sources(chosen, work)
        run_program_qemu(work, ("-O2", "-g"))
        elf = work / "program.elf"
        code = disassemble(elf)
        command = ["qemu-system-arm", *MACHINE, "-kernel", str(elf)]
        _, counts = count_blocks(
            elf,
            _ranges(code, chosen),
            load_board(BOARD).flash_timing,
            lambda options: subprocess.run([*command, *options], cwd=work, check=True),
        )
    taken: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    for block in counts.blocks:
        instructions, cycles = _block_cost(block, code)
        taken[block.layer][0] += instructions
        taken[block.layer][1] += cycles
    return [
        Sample(case.op.work(case.types), *taken[_name(i)])  # what no range names is the harness's
        for i, case in enumerate(chosen)
    ]


def _name(index: int) -> str:
    return f"case{index}"


def _ranges(code: Mapping[int, Instruction], chosen: Sequence[KernelCase]) -> list[Range]:
    """The calls of each case's kernel, and around them the rest of the harness's code."""
    calls, places = [], defaultdict(list)
    functions = {_name(i): case.op.kernel for i, case in enumerate(chosen)}
    for address, found in code.items():
        if found.function not in functions:
            continue
        end = address + found.size
        places[found.function] += [address, end]
        if found.mnemonic.startswith("bl") and f"<{functions[found.function]}" in found.operands:
            calls.append(Range(address, end, found.function))
    return [*calls, *(Range(min(place), max(place), OUTSIDE) for place in places.values())]


def _block_cost(block: BlockCount, code: Mapping[int, Instruction]) -> tuple[int, int]:
    """Instructions and cycles of all executions."""
    body = instructions_of(block, code)
    cycles = block.executions * sum(block_cycles(body)) + block.taken * taken_cycles(body[-1], code)
    waits = block.extra_accesses + block.fetch_stalls + block.data_stalls
    return block.executions * len(body), cycles + waits


def fit(samples: Sequence[Sample]) -> dict[str, Any]:
    """Per kernel loop the coefficients that are not zero, and how well they explain its cases."""
    columns = sorted({(work.kernel, f) for sample in samples for work in sample.works for f in FEATURES})
    place = {column: i for i, column in enumerate(columns)}
    matrix = np.zeros((len(samples), len(columns)))
    for row, sample in zip(matrix, samples, strict=True):
        for work in sample.works:
            for name, amount in zip(FEATURES, features(work), strict=True):
                row[place[work.kernel, name]] += amount
    loops: dict[str, Any] = {}
    for unit in (INSTRUCTIONS, CYCLES):
        measured = np.array([getattr(sample, unit) for sample in samples], float)
        factors = _least_squares(matrix, measured)
        errors = np.abs(matrix @ factors / measured - 1)
        for kernel in dict.fromkeys(kernel for kernel, _ in columns):
            entry = loops.setdefault(kernel, {})
            entry[unit] = _coefficients(kernel, place, factors)
            ran = [any(work.kernel == kernel for work in sample.works) for sample in samples]
            entry["shapes"] = sum(ran)
            entry[f"largest_{unit}_error_percent"] = round(100 * float(errors[ran].max()), 1)
    return loops


def _coefficients(
    kernel: str, place: Mapping[tuple[str, str], int], factors: NDArray[np.float64]
) -> dict[str, float]:
    found = {name: round(float(factors[place[kernel, name]]), 4) for name in FEATURES}
    return {name: value for name, value in found.items() if value > 0}


def _least_squares(matrix: NDArray[np.float64], measured: NDArray[np.float64]) -> NDArray[np.float64]:
    """Factors >= 0 with the least squares of relative errors."""
    relative = matrix / measured[:, None]
    size = np.maximum(relative.max(axis=0), 1e-30)
    factors, _ = nnls(relative / size, np.ones(len(measured)), maxiter=100 * matrix.shape[1])
    found: NDArray[np.float64] = factors / size
    return found


def main() -> None:
    """Measure, fit, write, and print what is left."""
    chosen, samples = [*cost_cases_networks.cases(), *cost_cases.cases()], []
    for start in range(0, len(chosen), BATCH):
        samples += measure(chosen[start : start + BATCH])
        print(f"{len(samples)} of {len(chosen)} cases measured", flush=True)
    loops = fit(samples)
    for name, entry in loops.items():
        error = entry["largest_instructions_error_percent"], entry["largest_cycles_error_percent"]
        print(f"{name:45s} {entry['shapes']:3d} shapes, largest errors {error[0]:5.1f} % {error[1]:5.1f} %")
    OUT.write_text(json.dumps({"board": BOARD, "loops": loops}, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
