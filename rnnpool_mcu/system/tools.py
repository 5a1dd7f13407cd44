"""Finds and runs the programs of others: compilers, make, simulators."""

from __future__ import annotations

import errno
import os
import re
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path

from rnnpool_mcu.errors import BudgetError, ToolMissingError, UsageError, UserError
from rnnpool_mcu.system.programs import run_program

DEBIAN_PACKAGES = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "arm-none-eabi-objdump": "binutils-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
    "make": "make",
    "gcc": "gcc",
    "clang": "clang",
}
_LOG_LINES = 30
_ADVICE = {
    "RAM": "allow more, or compile the model with a smaller image or budget",
    "FLASH": "use a model with fewer weights, or a --board with more flash",
}
_FULL = {
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "File too large": errno.EFBIG,
    "Read-only file system": errno.EROFS,
}
"""What compilers, linkers and make say where the machine fails them, whatever they were doing."""


class BuildError(UserError):
    """A compiler refused the sources of a project."""


def find_tool(name: str) -> Path:
    """The program `name` on PATH; ToolMissingError with the Debian package to install otherwise."""
    found = shutil.which(name)
    if found is None:
        package = DEBIAN_PACKAGES.get(name)
        advice = f"install it: apt-get install {package}" if package else "install it and put it on PATH"
        raise ToolMissingError(f"{name} is not on PATH; {advice}")
    return Path(found)


def make(project: Path, target: str, variables: Mapping[str, str], *, compiler: str) -> None:
    """Runs `make target` in a project folder; BuildError with the end of its log when it fails.

    BudgetError when the linker finds that the RAM budget is exceeded, ToolMissingError when a program or
    the C library's headers are missing, UsageError when the folder cannot be written to.
    """
    find_tool(compiler)
    command = [str(find_tool("make")), "--no-print-directory", "-j2", "-C", str(project), target]
    command += [f"{name}={value}" for name, value in variables.items()]
    done = run_program(command)
    if done.returncode == 0:
        return
    _check_writable(project)
    log = done.stdout + done.stderr
    _check_resources(project, log)
    overflow = re.search(r"region `(\w+)' overflowed by (\d+) bytes", log)
    if overflow is not None:
        advice = _ADVICE.get(overflow[1], "use another memory of the board, or a smaller model")
        raise BudgetError(
            f"{project}: the firmware does not fit, {overflow[1]} exceeded by {overflow[2]} bytes; {advice}"
        )
    header = re.search(r"fatal error: (std\w+|string)\.h: No such file", log)
    if header is not None:
        package = "libnewlib-arm-none-eabi" if compiler.startswith("arm") else "libc6-dev"
        raise ToolMissingError(
            f"{compiler} finds no C library ({header[1]}.h); install it: apt-get install {package}"
        )
    tail = "\n".join(log.splitlines()[-_LOG_LINES:])
    raise BuildError(f"{project}: `{' '.join(command)}` failed:\n{tail}")


def output_of(command: Sequence[str]) -> str:
    """What a program that has to succeed prints; BuildError with its message where it does not."""
    done = run_program(command)
    if done.returncode != 0:
        raise BuildError(f"`{' '.join(command)}` ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return done.stdout


def _check_resources(project: Path, log: str) -> None:
    """OSError or UsageError where the machine was at its end, not the sources at fault."""
    for words, number in _FULL.items():
        if words in log:
            raise OSError(number, os.strerror(number), str(project))
    if "Killed signal terminated" in log or "out of memory" in log or "Cannot allocate memory" in log:
        raise UsageError(f"{project}: the compiler ran out of memory; end other programs, or add memory")


def _check_writable(project: Path) -> None:
    """Raises UsageError where `make` may not write, also on a read-only file system."""
    for folder in (project, project / "build"):
        if folder.is_dir() and not os.access(folder, os.W_OK):
            raise UsageError(
                f"{folder}: cannot be written to, and the build goes there; copy {project} elsewhere"
            )
