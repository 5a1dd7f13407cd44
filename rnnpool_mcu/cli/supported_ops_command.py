"""`rnnpool-mcu supported-ops`: what each model format may hold; docs/operators.md is written by it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click
from rich.console import Group
from rich.table import Table

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing.supported import FORMATS, Supported, integer_operators

_PREFACE = """# Operators

Written by `make operators` from the registries that the readers use. A model that holds anything else is
refused with the operator's name, place and tensors, and what to do. All tensors are int8, height × width ×
channels, batch 1.
"""
_INTEGER = "Integer operators"
_INTEGER_NOTE = (
    "What every format is converted to: the definition in integers that the generated C equals byte for byte."
)


@click.command("supported-ops")
@click.option(
    "--format",
    "formats",
    type=click.Choice(list(FORMATS)),
    multiple=True,
    help="Only this format; may be given twice.",
)
@click.option("--markdown", is_flag=True, help="As docs/operators.md has it.")
@common_options
def supported_ops_command(say: Speaker, formats: tuple[str, ...], markdown: bool) -> None:
    """List the operators of each model format, with their limits."""
    if markdown and say.json_path is not None:
        raise UsageError("--markdown and --json: each is a form of the same list; give one of them")
    chosen = formats or tuple(FORMATS)
    found = {name: FORMATS[name].operators() for name in chosen}
    own = [] if formats else integer_operators()
    if markdown:
        click.echo(operators_page(found, own), nl=False)
        return
    value: dict[str, Any] = {name: {s.name: s.limits for s in operators} for name, operators in found.items()}
    if own:
        value["integer"] = {s.name: s.limits for s in own}
    tables = [
        _table(f"{FORMATS[name].title}: {FORMATS[name].note}", operators) for name, operators in found.items()
    ]
    if own:
        tables.append(_table(f"{_INTEGER}: {_INTEGER_NOTE}", own))
    say.result(value, Group(*tables))


def operators_page(found: dict[str, list[Supported]], own: Sequence[Supported]) -> str:
    """The text of docs/operators.md."""
    parts = [_PREFACE]
    for name, operators in found.items():
        parts.append(_section(f"`{FORMATS[name].title}`", FORMATS[name].note, operators))
    if own:
        parts.append(_section(_INTEGER, _INTEGER_NOTE, own))
    return "\n".join(parts)


def _section(title: str, note: str, operators: Sequence[Supported]) -> str:
    rows = [f"| {s.name} | {s.limits.replace('|', chr(92) + '|')} |" for s in operators]
    return "\n".join([f"## {title}", note, "", "| operator | supported |", "|---|---|", *rows, ""])


def _table(title: str, operators: Sequence[Supported]) -> Table:
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    table.add_column("operator", no_wrap=True)
    table.add_column("supported")
    for supported in operators:
        table.add_row(supported.name, supported.limits)
    return table
