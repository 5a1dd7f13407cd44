"""How commands speak, and the options that every command takes for it: --json, -q, -v."""

from __future__ import annotations

import functools
import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from rnnpool_mcu.system.output_folder import whole_file

Command = Callable[..., Any]


@dataclass(frozen=True)
class Speaker:
    """Where a command's words go: results to stdout, progress to stderr, a JSON object to a file."""

    json_path: Path | None
    verbosity: int  # -1 quiet, 0 normal, 1 and above: each stage on a line of its own

    def result(self, value: dict[str, Any], shown: Any) -> None:
        """Prints `shown` (text or a rich object) unless quiet, and writes `value` where --json says."""
        to_stdout = self.json_path is not None and str(self.json_path) == "-"
        if self.json_path is not None:
            text = json.dumps(value, indent=2) + "\n"
            if to_stdout:
                click.echo(text, nl=False)
            else:
                with whole_file(self.json_path) as file:
                    file.write_text(text, encoding="utf-8")
        if self.verbosity >= 0 and not to_stdout:
            self.console().print(shown)

    @staticmethod
    def console() -> Console:
        """A console on stdout; as wide as a report when it is not a terminal."""
        return Console(
            file=sys.stdout, highlight=False, markup=False, width=None if sys.stdout.isatty() else 110
        )

    def note(self, message: str) -> None:
        """A word on stderr, unless quiet."""
        if self.verbosity >= 0:
            click.echo(message, err=True)

    @contextmanager
    def progress(self, first: str) -> Iterator[Callable[[str], None]]:
        """Shows what is being done: a spinner on a terminal, lines with -v, nothing when quiet."""
        if self.verbosity > 0:
            yield lambda message: click.echo(message, err=True)
        elif self.verbosity < 0 or not sys.stderr.isatty():
            yield lambda _message: None
        else:
            with Console(stderr=True).status(escape(first)) as status:
                yield lambda message: status.update(escape(message))


def common_options(command: Command) -> Command:
    """Adds --json, -q and -v, and hands the command a `Speaker` as `say`."""

    @functools.wraps(command)
    def wrapper(json_path: Path | None, quiet: bool, verbose: int, **arguments: Any) -> Any:
        return command(say=Speaker(json_path, -1 if quiet else verbose), **arguments)

    for option in (
        click.option("-v", "--verbose", count=True, help="Say more; each stage on a line of its own."),
        click.option("-q", "--quiet", is_flag=True, help="Print nothing but errors."),
        click.option(
            "--json",
            "json_path",
            type=click.Path(path_type=Path, allow_dash=True, dir_okay=False),
            metavar="FILE",
            help="Write the result as JSON to FILE ('-': stdout).",
        ),
    ):
        wrapper = option(wrapper)
    return wrapper
