"""--port and --baud of the commands that run on a board."""

from __future__ import annotations

import functools
from typing import Any

import click

from rnnpool_mcu.cli.common import Command
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.run_result import Transfer
from rnnpool_mcu.system.serial_lines import DEFAULT_BAUD, SerialPort, known_ports
from rnnpool_mcu.validate.engines import HARDWARE

baud_option = click.option(
    "--baud",
    type=click.IntRange(300, 12_000_000),
    default=DEFAULT_BAUD,
    show_default=True,
    help="Bits a second of the board's serial port, as its firmware was built for.",
)


def line_text(transfer: Transfer | None) -> str:
    """A line about frames that came damaged; nothing where none did."""
    if transfer is None or transfer.damaged + transfer.repeated == 0:
        return ""
    return (
        f"\nthe line: {transfer.frames} frames whole, {transfer.damaged} damaged, {transfer.repeated} asked "
        "for again; the result has nothing of it"
    )


def port_options(command: Command) -> Command:
    """Adds --port and --baud, as a `SerialPort` called `port`, None where no board is to run.

    The command has --engine, once or often. UsageError where one is given without the other.
    """

    @functools.wraps(command)
    def wrapper(port_name: str | None, baud: int, **arguments: Any) -> Any:
        on_board = HARDWARE in (arguments.get("engine"), *arguments.get("engines", ()))
        if not on_board and port_name is not None:
            raise UsageError(
                f"--port {port_name}: only --engine {HARDWARE} uses it; leave it out, or ask for that"
            )
        if on_board and port_name is None:
            there = ", ".join(known_ports()) or "none: plug the board in"
            raise UsageError(f"--engine {HARDWARE}: give the board's serial --port; those there are: {there}")
        port = None if port_name is None else SerialPort(port_name, baud)
        return command(port=port, **arguments)

    for option in (
        baud_option,
        click.option(
            "--port",
            "port_name",
            metavar="PORT",
            help="Serial port of the board, for --engine hardware, e.g. /dev/ttyACM0.",
        ),
    ):
        wrapper = option(wrapper)
    return wrapper
