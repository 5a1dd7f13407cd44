"""`rnnpool-mcu report`: shows the report of a compiled folder."""

from __future__ import annotations

from pathlib import Path

import click

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import compiled_folder
from rnnpool_mcu.report import read_report, renderable


@click.command("report")
@compiled_folder
@common_options
def report_command(say: Speaker, folder: Path) -> None:
    """Show the report of DIR, which `compile` wrote."""
    report = read_report(folder)
    say.result(report, renderable(report))
