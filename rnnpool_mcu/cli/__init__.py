"""The command line: click commands and their arguments, nothing else."""

from __future__ import annotations

import click

from rnnpool_mcu import __version__
from rnnpool_mcu.cli.analyze_command import analyze_command
from rnnpool_mcu.cli.boards_command import boards_command
from rnnpool_mcu.cli.compile_command import compile_command
from rnnpool_mcu.cli.data_command import data_group
from rnnpool_mcu.cli.doctor_command import doctor_command
from rnnpool_mcu.cli.evaluate_command import evaluate_command
from rnnpool_mcu.cli.export_command import export_command
from rnnpool_mcu.cli.flash_command import flash_command
from rnnpool_mcu.cli.guard import GuardedGroup
from rnnpool_mcu.cli.plan_command import plan_command
from rnnpool_mcu.cli.profile_command import profile_command
from rnnpool_mcu.cli.quantize_command import quantize_command
from rnnpool_mcu.cli.report_command import report_command
from rnnpool_mcu.cli.run_command import run_command
from rnnpool_mcu.cli.supported_ops_command import supported_ops_command
from rnnpool_mcu.cli.train_command import train_command
from rnnpool_mcu.cli.validate_command import validate_command


@click.group(cls=GuardedGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="rnnpool-mcu")
def main() -> None:
    """Train RNNPool vision models and compile them to C firmware with a proven RAM budget."""


for _command in (
    train_command,
    evaluate_command,
    data_group,
    quantize_command,
    export_command,
    analyze_command,
    plan_command,
    compile_command,
    validate_command,
    run_command,
    profile_command,
    report_command,
    supported_ops_command,
    flash_command,
    boards_command,
    doctor_command,
):
    main.add_command(_command)

__all__ = ["main"]
