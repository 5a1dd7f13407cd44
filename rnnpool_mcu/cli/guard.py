"""The one place where what went wrong becomes a line on stderr and an exit code.

Exit codes: 0 ok, 1 a defect of this package (or nobody reads our output any more), 2 usage, which includes
files that cannot be read or written, 3 unsupported operator or model, 4 budget exceeded, 5 validation
mismatch, 6 toolchain or simulator missing, 129 the terminal closed, 130 interrupted, 143 terminated.
"""

from __future__ import annotations

import errno
import io
import os
import signal
import sys
import threading
from collections.abc import Sequence
from typing import Any

import click

from rnnpool_mcu.errors import ToolMissingError, UsageError, UserError

INTERRUPTED = 130
TERMINATED = 143
HUNG_UP = 129
PIPE_CLOSED = 1  # as click itself does

_EXTRAS = {
    **{
        "torch": "torch",
        "torchao": "torch",
        "onnx": "onnx",
        "onnxruntime": "onnx",
        "skimage": "demo",
        "serial": "hardware",
    },
    **{"tflite": "tflite", "flatbuffers": "tflite", "ai_edge_litert": "tflite", "tensorflow": "tensorflow"},
}
"""Packages the base install leaves out, and the extra that brings each."""

_NEXT_STEPS = {
    errno.ENOSPC: "free some space or write to another disk",
    errno.EDQUOT: "your disk quota is used up; free some space or write to another disk",
    errno.EFBIG: "the file size limit is too low (see 'ulimit -f'), or the file system's",
    errno.EACCES: "check the permissions, or choose another place",
    errno.EPERM: "check the permissions, or choose another place",
    errno.EROFS: "the file system is read-only; choose another place",
    errno.ENOENT: "check the path",
    errno.EISDIR: "a file is needed there, not a folder",
    errno.ENOTDIR: "a part of the path is a file, not a folder",
    errno.EEXIST: "choose another name, or remove what is there",
    errno.EBUSY: "it is in use, perhaps a mount point; choose another place",
    errno.EXDEV: "it is on another file system; choose another place",
    errno.ENAMETOOLONG: "choose a shorter name",
}


class GuardedGroup(click.Group):
    """A click group whose commands end with `error: ...` and an exit code, never with a user's traceback."""

    def main(  # type: ignore[override]
        self, args: Sequence[str] | None = None, prog_name: str | None = None, **extra: Any
    ) -> Any:
        """Runs the command line and exits the process."""
        extra["standalone_mode"] = False
        if threading.current_thread() is threading.main_thread():
            _end_cleanly_on("SIGTERM", TERMINATED)
            _end_cleanly_on("SIGHUP", HUNG_UP)
            _tell_in_any_encoding()
        sys.exit(_run(lambda: super(GuardedGroup, self).main(args, prog_name, **extra)))


def _tell_in_any_encoding() -> None:
    """Lets what a locale's encoding lacks (a table's lines, a file's name) be replaced, not fail."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _end_cleanly_on(name: str, code: int) -> None:
    """Lets clean-up run when the signal comes, where there is such a one and it is not ignored (nohup)."""
    number = getattr(signal, name, None)
    if number is not None and signal.getsignal(number) is not signal.SIG_IGN:
        signal.signal(number, lambda *_: sys.exit(code))


def _run(command: Any) -> int:
    try:
        result = command()
        sys.stdout.flush()
    except BrokenPipeError:
        # nobody reads any more: keep the interpreter from failing once again when it flushes at exit
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return PIPE_CLOSED
    except (KeyboardInterrupt, click.Abort):
        return _say("interrupted", INTERRUPTED)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message(), err=True)
        return UsageError.exit_code
    except click.UsageError as error:
        hint = f"\n{error.ctx.get_usage()}" if error.ctx is not None else ""
        return _say(f"{error.format_message()}{hint}", UsageError.exit_code)
    except click.ClickException as error:
        return _say(error.format_message(), UsageError.exit_code)
    except UserError as error:
        return _say(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRAS:
            raise
        message = f"{package} is not installed; pip install 'rnnpool-mcu[{_EXTRAS[package]}]'"
        return _say(message, ToolMissingError.exit_code)
    except OSError as error:
        if error.errno not in _NEXT_STEPS:
            raise
        return _say(describe_os_error(error), UsageError.exit_code)
    return result if isinstance(result, int) else 0


def describe_os_error(error: OSError) -> str:
    """Where it happened, what the system says, and what to do."""
    where = f"{error.filename}: " if error.filename else ""
    step = _NEXT_STEPS.get(error.errno or 0, "see above")
    return f"{where}{(error.strerror or str(error)).lower()}; {step}"


def _say(message: str, code: int) -> int:
    click.echo(f"error: {message}", err=True)
    return code
