"""Finds and runs the programs of others: compilers, make, simulators."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from rnnpool_mcu.errors import BudgetError, ToolMissingError, UsageError, UserError

DEBIAN_PACKAGES = {
    "arm-none-eabi-gcc": "gcc-arm-none-eabi libnewlib-arm-none-eabi",
    "arm-none-eabi-objdump": "binutils-arm-none-eabi",
    "qemu-system-arm": "qemu-system-arm",
    "make": "make",
    "gcc": "gcc",
    "clang": "clang",
}
_LOG_LINES = 30
_GRACE_SECONDS = 3.0


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
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode == 0:
        return
    _check_writable(project)
    log = done.stdout + done.stderr
    overflow = re.search(r"region `(RAM|FLASH)' overflowed by (\d+) bytes", log)
    if overflow is not None:
        raise BudgetError(
            f"{project}: the firmware does not fit, {overflow[1]} exceeded by {overflow[2]} bytes; "
            f"allow more, or compile the model with a smaller image or budget"
        )
    header = re.search(r"fatal error: (std\w+|string)\.h: No such file", log)
    if header is not None:
        package = "libnewlib-arm-none-eabi" if compiler.startswith("arm") else "libc6-dev"
        raise ToolMissingError(
            f"{compiler} finds no C library ({header[1]}.h); install it: apt-get install {package}"
        )
    tail = "\n".join(log.splitlines()[-_LOG_LINES:])
    raise BuildError(f"{project}: `{' '.join(command)}` failed:\n{tail}")


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that was started in a session of its own, with all that it started."""
    for signal_number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal_number)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
            return


def _check_writable(project: Path) -> None:
    """Raises UsageError where `make` may not write, also on a read-only file system."""
    for folder in (project, project / "build"):
        if folder.is_dir() and not os.access(folder, os.W_OK):
            raise UsageError(
                f"{folder}: cannot be written to, and the build goes there; copy {project} elsewhere"
            )
