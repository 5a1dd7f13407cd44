"""Fixed-point header and row buffers for all inputs: no overflow, nothing out of bounds, right results.

Each program states what it assumes and what must hold; a bounded model checker, CBMC or ESBMC, looks for
inputs that break it. `make assure` runs these; they are skipped where neither is installed.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from rnnpool_mcu.system.resources import template_dir

PROGRAMS = Path(__file__).parent / "programs"
SECONDS = 900
ON_M4 = {"words", "offset"}  # of the part of the header that the Cortex-M4's kernels take
UNWIND = "10"  # rounds of any loop; more are an error

CBMC = (
    *("cbmc", "--bounds-check", "--pointer-check", "--signed-overflow-check", "--undefined-shift-check"),
    *("--div-by-zero-check", "--unwind", UNWIND, "--unwinding-assertions"),
)
ESBMC = ("esbmc", "-DASSURE_ESBMC", "--overflow-check", "--ub-shift-check", "--unwind", UNWIND)


BY_BOOLECTOR = {"slots"}  # which is the quicker of ESBMC's solvers for products of products


def _checker(program: str) -> tuple[str, ...]:
    if shutil.which("cbmc") is not None:
        return CBMC
    if shutil.which("esbmc") is not None:
        return (*ESBMC, "--boolector") if program in BY_BOOLECTOR else ESBMC
    pytest.skip("neither cbmc nor esbmc is installed")


@pytest.mark.slow
@pytest.mark.parametrize("program", sorted(path.stem for path in PROGRAMS.glob("*.c")))
def test_no_input_breaks(program: str) -> None:
    options = [
        f"-DFIXED_POINT_M4={int(program in ON_M4)}",
        f"-I{PROGRAMS}",
        f"-I{template_dir() / 'include'}",
    ]
    command = [*_checker(program), *options, str(PROGRAMS / f"{program}.c")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    said = (done.stdout + done.stderr)[-3000:]
    assert done.returncode == 0 and "VERIFICATION SUCCESSFUL" in done.stdout + done.stderr, said
