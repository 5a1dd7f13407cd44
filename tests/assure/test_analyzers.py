"""Static analyzers on every kernel, on the headers and on a generated model: `make assure`.

-fanalyzer, cppcheck and clang-tidy; a tool that is not installed is a skip.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from rnnpool_mcu.codegen.emit import emit
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.system.resources import template_dir
from tests.graphs import INPUT, GraphBuilder
from tests.ops.kernel_harness import render_kernel
from tests.ops.kernel_modes import MODES

INCLUDES = ("-I.", "-Ikernels")
# Why some checks are left out: docs/misra.md.
LEFT_OUT = (
    "bugprone-easily-swappable-parameters",
    "bugprone-implicit-widening-of-multiplication-result",
    "bugprone-misplaced-widening-cast",
    "bugprone-narrowing-conversions",
    "bugprone-signed-char-misuse",
    "clang-analyzer-security.insecureAPI.DeprecatedOrUnsafeBufferHandling",
)
TIDY = ",".join(["-*", "clang-analyzer-*", "bugprone-*", *(f"-{check}" for check in LEFT_OUT)])


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model, and in `kernels` every kernel of every mode and the headers."""
    folder = tmp_path_factory.mktemp("sources")
    kernels = folder / "kernels"
    kernels.mkdir()
    for modes in MODES.values():
        for case in (mode.sample(1)[0] for mode in modes):
            for kernel, variants in case.op.kernels():
                for name, text in render_kernel(kernel, variants).items():
                    (kernels / name).write_text(text)
    for header in (template_dir() / "include").glob("*.h"):
        shutil.copy(header, kernels)
    builder = GraphBuilder(TensorType(12, 10, 1, Quantization(1 / 255, -128)))
    value = builder.conv(INPUT, 4, 3)
    graph = builder.graph(builder.classifier(builder.depthwise(value, 3, 2), 3))
    for path, text in emit(plan_graph(graph, place_effort=0), name="tiny", title="tiny").items():
        if "/" not in path:
            (folder / path).write_text(text)
    return folder


def said_by(tool: str, *options: str, folder: Path, behind: tuple[str, ...] = ()) -> str:
    """What a tool says of all sources; it has to end well."""
    if shutil.which(tool) is None:
        pytest.skip(f"{tool} is not installed")
    files = sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*.c"))
    command = [tool, *options, *files, *behind]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("compiler", "target"), [("gcc", ()), ("arm-none-eabi-gcc", ("-mcpu=cortex-m4", "-mthumb"))]
)
def test_gccs_analyzer_finds_nothing(sources: Path, compiler: str, target: tuple[str, ...]) -> None:
    options = ("-std=c99", "-O1", "-fanalyzer", "-Wall", "-Wextra", "-Werror", *INCLUDES, "-c")
    said_by(compiler, *target, *options, folder=sources)


@pytest.mark.slow
def test_cppcheck_finds_nothing(sources: Path) -> None:
    enabled = ("--enable=warning,performance,portability", "--std=c99", "--error-exitcode=1", "--quiet")
    said_by("cppcheck", *enabled, *INCLUDES, folder=sources)


@pytest.mark.slow
def test_clang_tidy_finds_nothing(sources: Path) -> None:
    behind = ("--", "-std=c99", *INCLUDES)
    said = said_by("clang-tidy", "--quiet", f"--checks={TIDY}", folder=sources, behind=behind)
    assert "warning:" not in said, said[:4000]
