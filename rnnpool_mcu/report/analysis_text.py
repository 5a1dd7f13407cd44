"""An analysis of a model, made without building it, as text."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich import box
from rich.console import Group
from rich.table import Table
from rich.text import Text


def analysis_renderable(value: Mapping[str, Any]) -> Group:
    """The verdict, the fastest and the smallest plan, and the layers, for a rich console."""
    height, width, channels = value["input_shape"]
    lines = [
        f"{value['model']}: {width}x{height}x{channels}, image {value['image']}, {value['macs']:,} "
        "multiply-accumulates",
        f"Flash, about: {value['flash_bytes']:,} bytes, {value['weights_bytes']:,} of them weights.",
        f"Without recomputation no schedule peaks below {value['no_recompute_bound_bytes']:,} bytes of rows.",
        *(f"{note}." for note in value["notes"]),
    ]
    end = "RAM is an estimate but for the arena; compile measures the whole and proves it."
    if all(plan["measured"] for plan in value["plans"].values()):
        end = "RAM was measured on firmware built for each plan; compile --ram takes it from that size on."
    tables = (_board_table(value), _plan_table(value), _layer_table(value))
    parts = [part for table in tables for part in (Text(), table)]
    return Group(Text("\n".join(lines)), *parts, Text(), Text(end))


def _table(*titles: str) -> Table:
    """Titles that begin with a blank are columns of numbers."""
    table = Table(box=box.SIMPLE, padding=0, pad_edge=False, show_edge=False)
    for title in titles:
        table.add_column(title.strip(), overflow="fold", justify="right" if title[0] == " " else "left")
    return table


def _board_table(value: Mapping[str, Any]) -> Table:
    table = _table("board", " RAM", " flash", "fits?")
    for found in value["boards"]:
        if found["fits"]:
            verdict = f"yes, by its {found['plan']} plan"
        else:
            missing = [
                *(["RAM"] if found["plan"] is None else []),
                *([] if found["fits_flash"] else ["flash"]),
            ]
            verdict = f"no: too little {' and '.join(missing)}"
        table.add_row(found["board"], f"{found['ram_bytes']:,}", f"{found['flash_bytes']:,}", f" {verdict}")
    return table


def _plan_table(value: Mapping[str, Any]) -> Table:
    measured = all(plan["measured"] for plan in value["plans"].values())
    table = _table(
        "plan",
        " RAM" if measured else " RAM, about",
        " arena",
        " instructions",
        " cycles",
        " extra",
        "most live in",
    )
    for title, plan in value["plans"].items():
        table.add_row(
            title,
            *(
                f"{plan[key]:,}"
                for key in ("ram_bytes", "arena_bytes", "predicted_instructions", "predicted_cycles")
            ),
            f"{plan['extra_cycles_percent']:+.1f} %",
            f" {plan['peak']['operator']}",
        )
    return table


def _layer_table(value: Mapping[str, Any]) -> Table:
    table = _table("layer", "operator", "output", " MACs", " flash", " time")
    total = max(1, sum(layer["predicted_cycles"] for layer in value["layers"]))
    for layer in value["layers"]:
        table.add_row(
            *(layer["name"], layer["operator"].removesuffix("_s8"), layer["output"]),
            *(f"{layer[key]:,}" for key in ("macs", "flash_bytes")),
            f"{100 * layer['predicted_cycles'] / total:.1f} %",
        )
    return table
