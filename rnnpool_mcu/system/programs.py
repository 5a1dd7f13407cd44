"""Every program of others is started and ended here: in a group of its own, with all that it starts."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any

_GRACE_SECONDS = 0.3
"""Between the request to end and the end; an interrupted command is gone within a second."""
_running: set[subprocess.Popen[Any]] = set()
_lock = threading.Lock()


def run_program(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    text: str | None = None,
    environment: Mapping[str, str] | None = None,
    timeout: float | None = None,
) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end; what it printed, bytes that are no UTF-8 replaced.

    It reads `text`, else nothing. Raises subprocess.TimeoutExpired after `timeout` seconds. However this
    ends, no process of it is left.
    """
    given = subprocess.DEVNULL if text is None else subprocess.PIPE
    with started(
        command,
        folder=folder,
        environment=environment,
        stdin=given,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as process:
        out, errors = process.communicate(None if text is None else text.encode(), timeout)
    told = (data.decode("utf-8", "replace") for data in (out, errors))
    return subprocess.CompletedProcess(list(command), process.returncode, *told)


@contextmanager
def started(
    command: Sequence[str],
    *,
    folder: Path | None = None,
    environment: Mapping[str, str] | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
) -> Iterator[subprocess.Popen[bytes]]:
    """A running program, ended with its group when the block is left."""
    process = None
    try:
        with _signals_wait():
            process = subprocess.Popen(
                list(command),
                cwd=folder,
                env=environment,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
            with _lock:
                _running.add(process)
        yield process
    finally:
        if process is not None:
            try:
                end_group(process)
            finally:
                with _lock:
                    _running.discard(process)


@contextmanager
def _signals_wait() -> Iterator[None]:
    """Holds back what ends this command, while a program begins that nobody would end if it came now."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    numbers = (getattr(signal, name, None) for name in ("SIGINT", "SIGTERM", "SIGHUP"))
    former = {number: signal.getsignal(number) for number in numbers if number is not None}
    handlers = {number: handler for number, handler in former.items() if callable(handler)}
    came: list[int] = []
    try:
        for number in handlers:
            signal.signal(number, lambda number, _frame: came.append(number))
        yield
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for number in came:
            signal.raise_signal(number)


def end_running() -> None:
    """Ends every program that runs, those that other threads wait for as well."""
    with _lock:
        running = tuple(_running)
    for process in running:
        _signal_group(process, signal.SIGKILL)


def end_group(process: subprocess.Popen[bytes]) -> None:
    """Ends a process that was started in a session of its own, with all that it started."""
    if process.poll() is None:
        _signal_group(process, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_GRACE_SECONDS)
        _signal_group(process, signal.SIGKILL)  # and what it left behind
        process.wait()
    for stream in (process.stdin, process.stdout, process.stderr):
        if stream is not None:
            stream.close()


def _signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(process.pid, number)
