"""What a report says of its plan: how good the arena is, where its peak is, the bound, what stands whole."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

MEMORY_NAME = "memory.svg"
SHOWN_BUFFERS = 8


def plan_lines(report: dict[str, Any]) -> Group:
    """The plan's part of a report for a rich console."""
    plan, arena_bytes = report["plan"], report["ram"]["arena_bytes"]
    parts: list[Text | Table] = [Text(placement_line(plan, arena_bytes))]
    if (peak := plan["peak"]) is not None:
        parts += [Text(_peak_line(peak)), _buffers(peak)]
    rest = [
        *bound_lines(plan["no_recompute_bound_bytes"], plan["recomputed_macs"], report["macs"]),
        *(f"{note}." for note in plan["notes"]),
    ]
    if peak is not None:
        rest.append(f"Memory over time: {MEMORY_NAME}.")
    return Group(*parts, Text("\n".join(rest)))


def placement_line(plan: dict[str, Any], arena_bytes: int) -> str:
    """Whether the arena's offsets are proven best, or how far they are from the bound."""
    if plan["optimal"]:
        return f"Arena: {arena_bytes:,} bytes, optimal for this schedule ({plan['method']})."
    gap = arena_bytes - plan["bound_bytes"]
    return (
        f"Arena: {arena_bytes:,} bytes, {gap:,} ({100 * gap / max(1, plan['bound_bytes']):.1f} %) above the "
        f"bytes live at the peak, below which no placement lies ({plan['method']})."
    )


def _peak_line(peak: dict[str, Any]) -> str:
    return (
        f"Peak: {peak['bytes']:,} bytes live while '{peak['operator']}' makes row {peak['row']}, "
        f"step {peak['step'] + 1:,} of {peak['steps']:,}:"
    )


def _buffers(peak: dict[str, Any]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False, show_header=False)
    table.add_column(justify="right", no_wrap=True)
    table.add_column(overflow="fold")
    buffers = peak["buffers"]
    for buffer in buffers[:SHOWN_BUFFERS]:
        table.add_row(f"{buffer['bytes']:,}", buffer["name"])
    if len(buffers) > SHOWN_BUFFERS:
        rest = sum(buffer["bytes"] for buffer in buffers[SHOWN_BUFFERS:])
        table.add_row(f"{rest:,}", f"in {len(buffers) - SHOWN_BUFFERS} more")
    return table


def bound_lines(bound_bytes: int | None, recomputed_macs: int, macs: int) -> Iterator[str]:
    """The bound without recomputation, where it is known, and whether the plan may lie below it."""
    if bound_bytes is None:
        return
    share = f"computes {100 * recomputed_macs / max(1, macs):.1f} % of the multiply-accumulates again"
    yield (
        f"Without recomputation no schedule peaks below {bound_bytes:,} bytes of rows; this one "
        f"{share if recomputed_macs else 'recomputes nothing'}."
    )
