"""`rnnpool-mcu doctor`: tells which tools and optional packages are there."""

from __future__ import annotations

import importlib.metadata
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass

import click
from rich import box
from rich.table import Table

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.errors import ToolMissingError
from rnnpool_mcu.system.programs import run_program


@dataclass(frozen=True)
class Finding:
    """One tool or package; `version` is None when it is not there."""

    name: str
    purpose: str
    needed: bool
    version: str | None
    remedy: str


_TOOLS = (
    # program, what for, needed, how to get it
    (
        "arm-none-eabi-gcc",
        "build firmware",
        True,
        "apt-get install gcc-arm-none-eabi libnewlib-arm-none-eabi",
    ),
    ("arm-none-eabi-objdump", "find the worst-case stack", True, "apt-get install binutils-arm-none-eabi"),
    ("make", "build firmware and host C", True, "apt-get install make"),
    ("qemu-system-arm", "run on an emulated board", True, "apt-get install qemu-system-arm"),
    ("gcc", "run C on this machine", True, "apt-get install gcc libc6-dev"),
    ("clang", "a second host compiler", False, "apt-get install clang"),
    ("renode", "a second simulator", False, "see the Renode project's releases"),
)
_PACKAGES = (
    # distribution, what for, needed, extra
    ("torch", "read .pt and .pt2, train", False, "torch"),
    ("torchao", "quantize .pt and .pt2", False, "torch"),
    ("onnx", "read .onnx", False, "onnx"),
    ("onnxruntime", "quantize .onnx, compare", False, "onnx"),
    ("tflite", "read .tflite", False, "tflite"),
    ("ai-edge-litert", "compare with .tflite", False, "tflite"),
    ("tensorflow", "read .keras and .h5", False, "tensorflow"),
    ("pyserial", "run on a board", False, "hardware"),
    ("scikit-image", "the demo's photograph", False, "demo"),
)


@click.command("doctor")
@common_options
def doctor_command(say: Speaker) -> None:
    """Tell which tools and optional packages are there, and how to get the others."""
    packages = (_package(*row) for row in _PACKAGES)
    findings = [*(_tool(*row) for row in _TOOLS), _newlib(), *packages]
    missing = [finding for finding in findings if finding.needed and finding.version is None]
    value = {"python": sys.version.split()[0], "ok": not missing, "findings": [asdict(f) for f in findings]}
    say.result(value, _table(findings))
    if missing:
        names = ", ".join(finding.name for finding in missing)
        raise ToolMissingError(
            f"not installed: {names}; run 'make setup' in a checkout, or install them as shown"
        )


def _tool(program: str, purpose: str, needed: bool, remedy: str) -> Finding:
    return Finding(program, purpose, needed, _program_version(program), remedy)


def _newlib() -> Finding:
    """The C library's headers, which Debian has in a package apart from the compiler's."""
    version = None
    if (compiler := shutil.which("arm-none-eabi-gcc")) is not None:
        source = "#include <string.h>\n#include <_newlib_version.h>\nrnnpool _NEWLIB_VERSION\n"
        lines = _output([compiler, "-E", "-P", "-x", "c", "-"], source)
        version = lines[-1].removeprefix("rnnpool ").strip('"') if lines else None
    return Finding("newlib", "build firmware", True, version, "apt-get install libnewlib-arm-none-eabi")


def _program_version(program: str) -> str | None:
    """The first line of `program --version`; None when it is not on the PATH or does not start."""
    path = shutil.which(program)
    if path is None:
        return None
    lines = _output([path, "--version"])
    return lines[0] if lines else None


def _output(command: list[str], text: str = "") -> list[str]:
    """The lines that a program given `text` prints; none when it fails."""
    try:
        done = run_program(command, text=text, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return []
    return done.stdout.splitlines() if done.returncode == 0 else []


def _package(distribution: str, purpose: str, needed: bool, extra: str) -> Finding:
    try:
        version: str | None = importlib.metadata.version(distribution)
    except importlib.metadata.PackageNotFoundError:
        version = None
    return Finding(distribution, purpose, needed, version, f"pip install 'rnnpool-mcu[{extra}]'")


def _table(findings: list[Finding]) -> Table:
    table = Table(box=box.SIMPLE)
    for title in ("tool", "for", "found"):
        table.add_column(title, overflow="fold")
    for finding in findings:
        absent = f"missing{'' if finding.needed else ' (optional)'}: {finding.remedy}"
        table.add_row(finding.name, finding.purpose, finding.version or absent)
    return table
