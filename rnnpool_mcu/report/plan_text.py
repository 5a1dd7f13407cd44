"""Plans as values for JSON, and those values as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text

from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.chunked_residual import ChunkedResidual
from rnnpool_mcu.ops.inverted_residual import InvertedResidual
from rnnpool_mcu.ops.l2_norm_convs import L2NormConvs
from rnnpool_mcu.report.plan_lines import bound_lines, placement_line

KEEPS, RECOMPUTES, TILES = "keeps rows", "recomputes rows", "in tiles"
CYCLES_OF = "a NUCLEO-F439ZI"
"""The board whose flash waits `schedule/pricing/costs.json` counts."""
NORMALISES = "normalises rows as they are read"
STATE = "state_bytes"  # not shown of models that keep none
_PARTS = (
    ("arena", "arena_bytes"),
    ("image, beside the arena", "image_bytes"),
    ("output", "output_bytes"),
    ("state, kept between runs", STATE),
    ("stack and static data, estimate", "stack_and_static_bytes"),
    ("whole RAM, estimate", "total_bytes"),
)


def plan_summary(plan: Plan, instructions: float, cycles: float, fewest_cycles: float) -> dict[str, Any]:
    """A plan as a JSON object, with its predicted instructions and cycles, and the fastest plan's cycles."""
    step = plan.peak_step()
    return {
        "arena_bytes": plan.arena_bytes,
        "peak_bytes": plan.placement.bound_bytes,
        "bound_bytes": plan.placement.bound_bytes,
        "optimal": plan.placement.optimal,
        "method": plan.placement.method,
        "peak": {"operator": step.value, "row": step.row},
        "predicted_instructions": round(instructions),
        "predicted_cycles": round(cycles),
        "extra_cycles_percent": round(100 * (cycles / fewest_cycles - 1), 2),
        "cascades": [{"first": c[0], "last": c[-1], "values": len(c)} for c in plan.cascades],
        "blocks": [
            {"name": node.name, **_fused(node.op, plan.graph.input_types(node))}
            for node in plan.graph.nodes
            if isinstance(node.op, InvertedResidual | ChunkedResidual | L2NormConvs)
        ],
    }


def _fused(
    op: InvertedResidual | ChunkedResidual | L2NormConvs, inputs: Sequence[TensorType]
) -> dict[str, Any]:
    """What a fused block or head does about the rows inside it, and its tile in columns."""
    if isinstance(op, L2NormConvs):
        return {"rows": NORMALISES, "tile": min(op.tile, op.branch_types(inputs)[0].width)}
    if isinstance(op, ChunkedResidual):
        return {"rows": f"{RECOMPUTES}, {op.chunk} channels at a time", "tile": op.block.tile}
    if op.expand is None:
        return {"rows": TILES, "tile": op.tile}
    return {"rows": KEEPS if op.keep_rows else RECOMPUTES, "tile": op.tile}


def plan_renderable(value: Mapping[str, Any]) -> Group:
    """The chosen plan for a rich console."""
    plan = value["plan"]
    lines = [
        _head(value),
        placement_line(plan, plan["arena_bytes"]),
        f"Most is live in '{plan['peak']['operator']}', row {plan['peak']['row']}: "
        f"{plan['peak_bytes']:,} bytes.",
        *bound_lines(value["no_recompute_bound_bytes"], value["recomputed_macs"], value["macs"]),
        f"Predicted: {plan['predicted_instructions']:,} instructions, {plan['predicted_cycles']:,} cycles "
        f"on {CYCLES_OF}, {plan['extra_cycles_percent']:+.1f} % against the fastest plan.",
    ]
    if value["constants_in_ram"]:
        lines.append(f"Constants copied to RAM for speed: {', '.join(value['constants_in_ram'])}.")
    parts = [_ram_table(value), _cascade_table(plan)]
    if plan["blocks"]:
        parts.append(_block_table(plan))
    verdict = "Stack and static data are an estimate, which compile replaces by a proof."
    return Group(Text("\n".join(lines)), *parts, Text(verdict))


def front_renderable(value: Mapping[str, Any]) -> Group:
    """The whole front for a rich console; RAM is that of the whole program, by estimate."""
    beside = value["ram_estimate"]["total_bytes"] - value["ram_estimate"]["arena_bytes"]
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("most live in", overflow="fold")
    titles = ("arena", "RAM, about", "instructions", "cycles", "extra", "cascades", "keep", "again")
    for title in titles:
        table.add_column(title, justify="right", no_wrap=True)
    for plan in value["front"]:
        table.add_row(
            plan["peak"]["operator"],
            f"{plan['arena_bytes']:,}",
            f"{plan['arena_bytes'] + beside:,}",
            *(f"{plan[key]:,}" for key in ("predicted_instructions", "predicted_cycles")),
            f"{plan['extra_cycles_percent']:.1f} %",
            str(len(plan["cascades"])),
            *(str(_count(plan, how)) for how in (KEEPS, RECOMPUTES)),
        )
    note = (
        f"RAM, about: the arena and {beside:,} bytes: image, output, an estimate of stack and static data.\n"
        f"Instructions and cycles are predicted, cycles on {CYCLES_OF}; extra: of the cycles.\n"
        "Keep, again: blocks run as one operator that keep the rows of their expansion, or make them again."
    )
    return Group(Text(_head(value)), table, Text(note))


def _count(plan: Mapping[str, Any], rows: str) -> int:
    return sum(block["rows"].startswith(rows) for block in plan["blocks"])


def _head(value: Mapping[str, Any]) -> str:
    height, width, channels = value["input_shape"]
    budget = value["budget_bytes"]
    limit = "no limit" if budget is None else f"at most {budget:,} bytes"
    return f"{value['model']}: {width}x{height}x{channels}, image {value['image']}, {limit}"


def _ram_table(value: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("RAM")
    table.add_column("bytes", justify="right")
    for title, key in _PARTS:
        if key == STATE and not value["ram_estimate"][key]:
            continue
        name = "one row of the image" if title == "image" and value["image"] == "streamed" else title
        table.add_row(name, f"{value['ram_estimate'][key]:,}")
    return table


def _cascade_table(plan: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("cascade", justify="right")
    for title in ("from", "to"):
        table.add_column(title, overflow="fold")
    table.add_column("values", justify="right")
    for number, cascade in enumerate(plan["cascades"], start=1):
        table.add_row(str(number), cascade["first"], cascade["last"], str(cascade["values"]))
    return table


def _block_table(plan: Mapping[str, Any]) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("block run as one operator", overflow="fold")
    table.add_column("expansion")
    table.add_column("tile", justify="right")
    for block in plan["blocks"]:
        table.add_row(block["name"], block["rows"], str(block["tile"]))
    return table
