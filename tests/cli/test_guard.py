"""Every way a command can go wrong ends in one line on stderr and its exit code."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from rnnpool_mcu.cli import main
from rnnpool_mcu.cli.guard import GuardedGroup
from rnnpool_mcu.errors import (
    BudgetError,
    ModelError,
    ToolMissingError,
    UsageError,
    UserError,
    ValidationError,
)


def _ending(error: BaseException) -> tuple[int, str]:
    """Exit code and stderr of a command that raises `error`."""

    @click.group(cls=GuardedGroup)
    def group() -> None:
        """A group of its own, so that no command's own handling is in the way."""

    @group.command()
    def fail() -> None:
        """Raises."""
        raise error

    result = CliRunner().invoke(group, ["fail"])
    return result.exit_code, result.stderr


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UserError("no"), 1),
        (UsageError("no"), 2),
        (ModelError("no"), 3),
        (BudgetError("no"), 4),
        (ValidationError("no"), 5),
        (ToolMissingError("no"), 6),
    ],
    ids=lambda value: type(value).__name__,
)
def test_user_errors_end_with_their_code(error: UserError, code: int) -> None:
    assert _ending(error) == (code, "error: no\n")


@pytest.mark.parametrize(
    "number",
    [
        *(errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EISDIR, errno.ENOTDIR, errno.EFBIG),
        *(errno.ENAMETOOLONG, errno.EBUSY, errno.EXDEV),
    ],
)
def test_system_errors_say_where_and_what_next(number: int) -> None:
    code, stderr = _ending(OSError(number, os.strerror(number), "some/file"))
    assert code == 2
    assert stderr.startswith(f"error: some/file: {os.strerror(number).lower()}; ")
    assert stderr.count("\n") == 1


def test_interrupt_is_130() -> None:
    code, stderr = _ending(KeyboardInterrupt())
    assert (code, stderr.strip()) == (130, "error: interrupted")


def test_a_defect_of_ours_keeps_its_traceback() -> None:
    @click.group(cls=GuardedGroup)
    def group() -> None:
        """Holds the failing command."""

    @group.command()
    def fail() -> None:
        """Raises what no user can mend."""
        raise ZeroDivisionError

    result = CliRunner().invoke(group, ["fail"])
    assert isinstance(result.exception, ZeroDivisionError)


def test_unknown_command_and_option_are_guessed() -> None:
    command = CliRunner().invoke(main, ["compil"])
    option = CliRunner().invoke(main, ["doctor", "--jsno", "x"])
    assert (command.exit_code, option.exit_code) == (2, 2)
    assert "Did you mean 'compile'?" in command.stderr
    assert "Did you mean '--json'?" in option.stderr


def test_no_arguments_show_the_help() -> None:
    result = CliRunner().invoke(main, [])
    assert result.exit_code == 2
    assert result.stderr.startswith("Usage: ")


def test_a_reader_that_leaves_is_no_error() -> None:
    done = subprocess.run(
        f"{sys.executable} -m rnnpool_mcu --help; echo $? >&2",
        shell=True,
        stdout=_closed_pipe(),
        stderr=subprocess.PIPE,
        text=True,
        check=True,
    )
    assert done.stderr == "1\n"


def _closed_pipe() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)]
)
def test_signals_leave_nothing_half_written(tmp_path: Path, number: signal.Signals, code: int) -> None:
    script = (
        "import signal, time, click, pathlib\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)\n"  # a background job ignores it
        "signal.signal(signal.SIGHUP, signal.SIG_DFL)\n"  # as does one under nohup
        "from rnnpool_mcu.cli.guard import GuardedGroup\n"
        "from rnnpool_mcu.system.output_folder import whole_folder\n"
        "@click.group(cls=GuardedGroup)\n"
        "def group(): pass\n"
        "@group.command()\n"
        "def wait():\n"
        "    with whole_folder(pathlib.Path('out')) as folder:\n"
        "        (folder / 'half').write_text('x')\n"
        "        time.sleep(60)\n"
        "group(['wait'])\n"
    )
    process = subprocess.Popen([sys.executable, "-c", script], cwd=tmp_path, stderr=subprocess.PIPE)
    deadline = time.monotonic() + 30
    while not list(tmp_path.glob(".out.*/out/half")):
        assert time.monotonic() < deadline, "the command never began to write"
        time.sleep(0.02)
    process.send_signal(number)
    assert process.wait(timeout=30) == code
    assert list(tmp_path.iterdir()) == []
