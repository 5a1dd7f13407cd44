"""A profile in the report, and as tables for people."""

from __future__ import annotations

import copy
from collections.abc import Mapping

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from rnnpool_mcu.ir.profile import Profile, Share
from rnnpool_mcu.report.build import Report, figure_kinds

SHOWN_FUNCTIONS = 12
SHOWN_LINES = 8
EXPECTED_ERROR = (
    "instructions are exact; cycles are an estimate, silicon is expected to take 5 % less to 20 % more: "
    "the timing rules came within 4 % for small loops and about 10 % too low for long straight code, "
    "flash is modelled from the manual (see docs/profiling.md)"
)


def with_profile(report: Report, profile: Profile) -> Report:
    """A copy of `report` with a profile's instructions (measured) and cycles (estimated), per layer too."""
    result = copy.deepcopy(report)
    total, shares = profile.total, {share.name: share for share in profile.layers}
    result["instructions"], result["estimated_cycles"] = total.instructions, total.cycles
    for layer in result["layers"]:
        if (share := shares.get(layer["name"])) is not None:
            layer["instructions"], layer["estimated_cycles"] = share.instructions, share.cycles
    schedule = profile.layers[-1]
    result["timing"] = {
        "board": profile.board,
        "clock_hz": profile.clock_hz,
        "wait_states": profile.flash.wait_states,
        "zero_wait_cycles": total.core_cycles,
        "fetch_stall_cycles": total.fetch_stalls,
        "data_stall_cycles": total.data_stalls,
        "seconds": profile.seconds,
        "expected_error": EXPECTED_ERROR,
        "schedule": {"instructions": schedule.instructions, "estimated_cycles": schedule.cycles},
        "unaligned_multiples": sum(found.accesses for found in profile.unaligned_multiples),
        "unaligned_accesses": profile.unaligned_accesses,
    }
    result["figures"] = figure_kinds(result)
    return result


def profile_renderable(profile: Profile, macs: Mapping[str, int]) -> Group:
    """The profile for a rich console; `macs` are those of the layers that have any."""
    return Group(
        _layer_table(profile, macs),
        _share_table("function", profile.functions[:SHOWN_FUNCTIONS], profile.total),
        _share_table("source line", profile.lines[:SHOWN_LINES], profile.total),
        Text("\n".join((*_time_lines(profile), *_alignment_lines(profile)))),
    )


def _layer_table(profile: Profile, macs: Mapping[str, int]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("layer", overflow="fold")
    for title in (
        "instructions",
        "per MAC",
        "flash waits",
        "cycles",
        "per MAC",
        "ms",
        "share",
    ):
        table.add_column(title, justify="right", no_wrap=True)
    all_macs, total = sum(macs.values()), profile.total
    for share in profile.layers:
        table.add_row(*_layer_cells(share, macs.get(share.name, 0), profile))
    table.add_section()
    table.add_row(*_layer_cells(total, all_macs, profile))
    return table


def _layer_cells(share: Share, macs: int, profile: Profile) -> list[str]:
    return [
        share.name,
        f"{share.instructions:,}",
        _per(share.instructions, macs),
        f"{share.fetch_stalls + share.data_stalls:,}",
        f"{share.cycles:,}",
        _per(share.cycles, macs),
        f"{share.cycles / profile.clock_hz * 1e3:.2f}",
        _percent(share, profile.total),
    ]


def _share_table(title: str, shares: tuple[Share, ...], total: Share) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column(title, overflow="fold")
    for heading in ("instructions", "0-wait cycles", "code waits", "data waits", "cycles", "share"):
        table.add_column(heading, justify="right", no_wrap=True)
    for share in shares:
        numbers = (
            share.instructions,
            share.core_cycles,
            share.fetch_stalls,
            share.data_stalls,
            share.cycles,
        )
        table.add_row(share.name, *(f"{number:,}" for number in numbers), _percent(share, total))
    return table


def _per(value: int, macs: int) -> str:
    return f"{value / macs:.2f}" if macs else "-"


def _percent(share: Share, total: Share) -> str:
    return f"{100 * share.cycles / total.cycles:.1f} %" if total.cycles else "-"


def _time_lines(profile: Profile) -> list[str]:
    total, flash = profile.total, profile.flash
    waits = f"{flash.wait_states} flash wait states" if flash.wait_states else "no flash wait states"
    return [
        f"{profile.board}, {profile.clock_hz / 1e6:g} MHz, {waits}: about {profile.seconds * 1e3:,.1f} ms; "
        f"{total.core_cycles / profile.clock_hz * 1e3:,.1f} ms if memory never waited.",
        f"Error: {EXPECTED_ERROR}.",
        f"The board's timer counted {profile.timer_instructions:,} instructions in steps of "
        f"{profile.timer_resolution}; the blocks sum up to {total.instructions:,}.",
    ]


def _alignment_lines(profile: Profile) -> list[str]:
    if not profile.unaligned_multiples:
        return [
            "Alignment: every LDRD, STRD, LDM and STM met a whole word; "
            f"{profile.unaligned_accesses:,} single accesses did not (allowed, a cycle or two more each)."
        ]
    return [
        f"ALIGNMENT: '{found.instruction}' in {found.function} ({found.source}): {found.accesses} accesses "
        "off a word; hardware faults here"
        for found in profile.unaligned_multiples
    ]
