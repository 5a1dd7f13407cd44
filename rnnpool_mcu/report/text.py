"""Renders a report as a text table."""

from __future__ import annotations

import io
from typing import Any

from rich import box
from rich.console import Console, Group
from rich.table import Table
from rich.text import Text

from rnnpool_mcu.report.agreement_lines import agreement_lines
from rnnpool_mcu.report.build import Report
from rnnpool_mcu.report.plan_lines import plan_lines
from rnnpool_mcu.report.regions import region_lines

TEXT_WIDTH = 80  # columns of report.txt
COUNTED_WIDTH = 96  # with instructions in it
STATE = "ram.state_bytes"  # not shown of models that keep none
MEASURED = "measured_cycles"  # nor this before there is a board

_TOTALS = (
    ("arena", "ram.arena_bytes"),
    ("arena, lower bound of this schedule", "ram.lower_bound_bytes"),
    ("stack, worst case", "ram.stack_bytes"),
    ("stack, high-water mark", "ram.stack_measured_bytes"),
    (".data", "ram.data_bytes"),
    (".bss", "ram.bss_bytes"),
    ("output", "ram.output_bytes"),
    ("state, kept between runs", STATE),
    ("canaries, alignment, units of protection", "ram.guard_bytes"),
    ("one image", "ram.image_bytes"),
    ("one row of it", "ram.row_bytes"),
    ("RAM, image streamed, stack worst case", "ram.without_image_bytes"),
    ("RAM, image streamed, stack as measured", "ram.measured_without_image_bytes"),
    ("RAM, image resident, stack worst case", "ram.with_image_bytes"),
    ("RAM, image resident, stack as measured", "ram.measured_with_image_bytes"),
    ("flash: code", "flash.code_bytes"),
    ("flash: constants", "flash.constants_bytes"),
    ("flash: weights", "flash.weights_bytes"),
    ("flash: compiler's library", "flash.library_bytes"),
    ("flash: start-up and harness", "flash.harness_bytes"),
    ("RAM, the least budget", "ram.needed_bytes"),
    ("flash", "flash.total_bytes"),
    ("multiply-accumulates", "macs"),
    ("instructions, one inference", "instructions"),
    ("cycles, estimated", "estimated_cycles"),
    ("cycles, on the board", MEASURED),
)


def render_text(report: Report) -> str:
    """The report as plain text without trailing blanks, `TEXT_WIDTH` columns wide until it was profiled."""
    stream, width = io.StringIO(), COUNTED_WIDTH if _is_counted(report) else TEXT_WIDTH
    console = Console(file=stream, width=width, color_system=None, highlight=False, markup=False)
    console.print(renderable(report))
    return "\n".join(line.rstrip() for line in stream.getvalue().splitlines()) + "\n"


def renderable(report: Report) -> Group:
    """The report for a rich console."""
    height, width, channels = report["input_shape"]
    shapes = [given["shape"] for given in report.get("inputs", ())] or [(height, width, channels)]
    size = " + ".join(f"{w}x{h}x{c}" for h, w, c in shapes)
    head = Text(f"{report['model']}: {report['source']}, {size}, board {report['board']}")
    lines = [f"Arithmetic: {report['arithmetic']}.", _validation_line(report["validation"])]
    if report["calibration"] is not None:
        lines.insert(0, f"Activation ranges: {report['calibration']}.")
    if (given := report.get("input")) is not None:
        lines.append(f"Input: byte x stands for {given['scale']:.6g} * (x - {given['zero_point']}).")
    for output in report.get("outputs", []):
        if output["scale"] is not None:
            scale, zero_point = output["scale"], output["zero_point"]
            lines.append(f"Output {output['name']}: int8 q stands for {scale:.6g} * (q - {zero_point}).")
    if (agreement := report.get("agreement")) is not None:
        lines += agreement_lines(agreement)
    lines += region_lines(report.get("regions", []))
    if (timing := report.get("timing")) is not None:
        clock = f"{timing['clock_hz'] / 1e6:g} MHz, {timing['wait_states']} flash wait states"
        time = f"{timing['seconds'] * 1e3:,.1f} ms"
        lines.append(f"Estimate for {timing['board']}, {clock}: {time}; {timing['expected_error']}.")
    return Group(
        head, Text(), _layer_table(report), _totals(report), plan_lines(report), Text("\n".join(lines))
    )


def _number(value: int | None) -> str:
    return "-" if value is None else f"{value:,}"


def _shape(shape: list[int]) -> str:
    return "x".join(str(extent) for extent in shape)


def _is_counted(report: Report) -> bool:
    return any(layer["instructions"] is not None for layer in report["layers"])


def _layer_table(report: Report) -> Table:
    layers, counted = report["layers"], _is_counted(report)
    # columns one space apart: usual names fit a terminal of 80 columns
    table = Table(box=box.SIMPLE, padding=0, pad_edge=False, show_edge=False)
    for title in ("layer", "operator", "output"):
        table.add_column(title, overflow="fold")
    for title in ("MACs", "rows", "RAM", "flash", *(["instructions"] if counted else [])):
        table.add_column(title, justify="right", no_wrap=True)
    for layer in layers:
        cells = [layer["name"], layer["operator"].removesuffix("_s8"), _shape(layer["output_shape"])]
        keys = ["macs", "ram_rows", "ram_bytes", "flash_bytes", *(["instructions"] if counted else [])]
        table.add_row(*cells, *(_number(layer[key]) for key in keys))
    return table


def _totals(report: Report) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column("total")
    table.add_column("value", justify="right")
    table.add_column("how it is known")
    for title, key in _TOTALS:
        section, _, name = key.rpartition(".")
        value = (report[section] if section else report).get(name)  # older reports have fewer
        if key in (STATE, MEASURED) and not value:
            continue
        table.add_row(title, _number(value), report["figures"].get(key, "not known yet"))
    table.add_row(*_budget_row(report["ram"], report["plan"]["image"]))
    return table


def _budget_row(ram: dict[str, Any], image: str) -> tuple[str, str, str]:
    budget, total = ram["budget_bytes"], ram.get("needed_bytes") or ram["total_bytes"]
    title = f"RAM budget, image {image}"
    if budget is None:
        return (title, "-", "none given")
    if total is None:
        return (title, _number(budget), "total not known")
    margin = budget - total
    verdict = f"met, {margin:,} to spare" if margin >= 0 else f"exceeded by {-margin:,}"
    return (title, _number(budget), verdict)


def _validation_line(validation: dict[str, Any]) -> str:
    if validation["bit_exact"] is None:
        return "Validation: not done yet; see rnnpool-mcu validate."
    if validation["bit_exact"]:
        return (
            f"Validation: {validation['engine']} equals the int8 definition byte for byte "
            f"on {validation['images']} images."
        )
    return f"Validation: {validation['engine']} DIFFERS: {validation['first_difference']}."
