"""Serial ports, by pyserial: opened for one program alone, read with patience, gone when pulled."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnpool_mcu.errors import UsageError, ValidationError

DEFAULT_BAUD = 115200


@dataclass(frozen=True)
class SerialPort:
    """A port of this computer, such as /dev/ttyACM0 or COM3, and its bits a second."""

    name: str
    baud: int = DEFAULT_BAUD


class LineLostError(ValidationError):
    """A port vanished while it was in use: a cable pulled, a board without power."""


class SerialLine:
    """An open port."""

    def __init__(self, port: SerialPort, serial: Any) -> None:
        self._port, self._serial = port, serial

    def read(self, seconds: float) -> bytes:
        """What has come; b"" after so many seconds of silence. LineLostError where the port is gone."""
        try:
            self._serial.timeout = seconds
            first: bytes = self._serial.read(1)
            return first + self._serial.read(self._serial.in_waiting) if first else b""
        except (OSError, TypeError) as error:  # TypeError: pyserial's own, when another thread has closed it
            raise self._lost(error) from error

    def write(self, data: bytes) -> None:
        """Sends all of `data`; LineLostError where the port is gone, or takes nothing."""
        try:
            self._serial.write(data)
            self._serial.flush()
        except Exception as error:  # termios.error is no OSError
            raise self._lost(error) from error

    def _lost(self, error: Exception) -> LineLostError:
        return LineLostError(
            f"{self._port.name}: the port is gone ({error}); is the cable in, has the board power?"
        )


@contextmanager
def opened(port: SerialPort) -> Iterator[SerialLine]:
    """The port, open and empty, for nobody else. UsageError where it cannot be had."""
    import serial

    try:
        device = serial.Serial(port.name, port.baud, exclusive=True, write_timeout=5.0)
    except (OSError, ValueError) as error:
        raise UsageError(_why_not(port, error)) from error
    try:
        device.reset_input_buffer()
        yield SerialLine(port, device)
    finally:
        device.close()


def known_ports() -> list[str]:
    """The names of the ports that this computer has, with what it says of each."""
    from serial.tools import list_ports

    return [
        found.device if found.description in (None, "n/a") else f"{found.device} ({found.description})"
        for found in sorted(list_ports.comports(), key=lambda found: str(found.device))
    ]


def _why_not(port: SerialPort, error: Exception) -> str:
    """Why a port could not be opened, and what to do."""
    number, name = getattr(error, "errno", None), f"--port {port.name}"
    if number in (errno.ENOENT, errno.ENXIO, errno.ENODEV, errno.ENOTDIR):
        there = ", ".join(known_ports()) or "none: plug the board in"
        return f"{name}: there is no such port; those there are: {there}"
    if number in (errno.EACCES, errno.EPERM):
        return f"{name}: you may not use it; on Linux: sudo usermod -a -G dialout $USER, then log in anew"
    if number in (errno.EBUSY, errno.EAGAIN):
        return f"{name}: another program uses it; end that (a terminal, a second run), then try again"
    if isinstance(error, ValueError) or "baud" in str(error):
        return f"--baud {port.baud}: {name} has no such rate ({error}); 115200 is the firmware's own"
    if Path(port.name).exists():
        return f"{name}: is no serial port ({error})"
    return f"{name}: cannot be opened ({error})"
