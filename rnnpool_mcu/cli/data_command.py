"""`rnnpool-mcu data`: commands about data sets."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from rich.console import Group
from rich.table import Table

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.errors import UsageError

if TYPE_CHECKING:
    from rnnpool_mcu.training.data.check import Checked

SHOWN = 20


class BrokenDataError(UsageError):
    """A data set holds something that must be mended."""


@click.group("data")
def data_group() -> None:
    """Look after data sets."""


@data_group.command("check")
@click.argument("path", type=click.Path(exists=True, path_type=Path))
@click.option("--all", "show_all", is_flag=True, help=f"List every finding, not only {SHOWN} of each kind.")
@common_options
def check_command(say: Speaker, path: Path, show_all: bool) -> None:
    """Find broken pictures, boxes and labels in PATH: a COCO JSON, or a folder of data sets.

    Ends with exit code 2 when something must be mended; what is merely odd is listed too.
    """
    from rnnpool_mcu.training.data.check import check_data

    with say.progress(f"checking {path}") as progress:
        checked = check_data(path, progress)
    value = {
        "path": str(path),
        "sets": {name: {"images": images, "boxes": boxes} for name, (images, boxes) in checked.sets.items()},
        "errors": checked.errors,
        "counts": checked.counts(),
        "findings": [vars(finding) for finding in checked.findings],
    }
    say.result(value, _shown(checked, None if show_all else SHOWN))
    if checked.errors:
        raise BrokenDataError(f"{path}: {checked.errors} findings must be mended (listed above)")


def _shown(checked: Checked, most: int | None) -> Group:
    """Three tables: data sets, counts by kind, findings; at most `most` findings of a kind."""
    from rnnpool_mcu.training.data.check import ERRORS, NOTES

    sets = Table(title="data sets")
    for title in ("set", "pictures", "boxes"):
        sets.add_column(title, justify="left" if title == "set" else "right")
    for name, (images, boxes) in checked.sets.items():
        sets.add_row(name, f"{images:,}", f"{boxes:,}")
    if not checked.findings:
        return Group(sets, "nothing to mend")
    counts = Table(title="found")
    for title in ("kind", "", "meaning", "count"):
        counts.add_column(title, justify="right" if title == "count" else "left")
    for kind, count in checked.counts().items():
        serious = "error" if kind in ERRORS else "note"
        counts.add_row(kind, serious, ERRORS.get(kind, NOTES.get(kind, "")), f"{count:,}")
    findings = Table(title="where")
    for title in ("kind", "where", "what"):
        findings.add_column(title, overflow="fold")
    for kind, count in checked.counts().items():
        of_kind = [finding for finding in checked.findings if finding.kind == kind]
        for finding in of_kind[:most]:
            findings.add_row(kind, finding.where, finding.detail)
        if most is not None and count > most:
            findings.add_row(kind, f"{count - most:,} more", "see --all, or --json")
    return Group(sets, counts, findings)
