"""Builds the report (a JSON object, see report.schema.json) and fills in what runs have measured."""

from __future__ import annotations

import copy
from dataclasses import asdict
from typing import Any

from rnnpool_mcu import __version__
from rnnpool_mcu.ir.firmware import ram_needed
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.report.model import FigureKind, LayerRow, ReportInput, ValidationResult

SCHEMA_VERSION = 1

Report = dict[str, Any]

ARITHMETIC = (
    "int8, weights per output channel; requantization rounds once, half up, on the 64-bit product, "
    "so results may differ by one step from a runtime that rounds twice"
)


def build_report(source: ReportInput) -> Report:
    """The report of a compiled model, before anything was run on a board."""
    report: Report = {
        "schema_version": SCHEMA_VERSION,
        "generator": f"rnnpool-mcu {__version__}",
        "model": source.model,
        "source": source.source,
        "board": source.board,
        "input_shape": list(source.input_shape),
        "arithmetic": ARITHMETIC,
        "calibration": source.calibration,
        "input": None if source.input is None else dict(source.input),
        "outputs": [dict(output) for output in source.outputs],
        "agreement": None if source.agreement is None else dict(source.agreement),
        "ram": _ram(source),
        "stack_path": list(source.stack.path) if source.stack is not None else [],
        "flash": _flash(source),
        "macs": sum(layer.macs for layer in source.layers),
        "instructions": None,
        "estimated_cycles": None,
        "plan": _plan(source),
        "layers": [_layer(layer) for layer in source.layers],
        "validation": {"engine": None, "images": 0, "bit_exact": None, "first_difference": None},
    }
    if source.inputs:
        report["inputs"] = [{"name": one.name, "shape": list(one.shape)} for one in source.inputs]
    if source.regions:
        report["regions"] = [asdict(region) | {"holds": list(region.holds)} for region in source.regions]
    report["figures"] = figure_kinds(report)
    return report


def _plan(source: ReportInput) -> dict[str, Any]:
    planning, peak = source.planning, source.peak
    plan: dict[str, Any] = {
        "image": source.image,
        "objective": planning.objective,
        "optimal": source.arena_optimal,
        "bound_bytes": source.arena_lower_bound_bytes,
        "method": source.arena_method,
        "no_recompute_bound_bytes": planning.no_recompute_bound_bytes,
        "recomputed_macs": planning.recomputed_macs,
        "notes": list(planning.notes),
        "peak": None,
    }
    if peak is not None:
        buffers = [{"name": name, "bytes": size} for name, size in peak.buffers]
        where = {"operator": peak.operator, "row": peak.row, "step": peak.step, "steps": peak.steps}
        plan["peak"] = {**where, "bytes": peak.bytes, "buffers": buffers}
    return plan


def with_run(report: Report, run: RunResult) -> Report:
    """A copy of `report` with what a run measured: the worst image's instructions or cycles, the stack.

    Over a serial line the stack is deeper by its frames, and is left as it was.
    """
    result = copy.deepcopy(report)
    result["measured_on"] = {"engine": run.engine, "images": len(run.outputs)}
    if run.instructions:
        result["instructions"] = max(run.instructions)
    if run.cycles:
        result["measured_cycles"] = max(run.cycles)
    if run.stack_high_water_bytes is not None and run.transfer is None:
        ram = result["ram"]
        ram["stack_measured_bytes"] = run.stack_high_water_bytes
        ram |= _totals(ram, run.stack_high_water_bytes, "measured_")
    result["figures"] = figure_kinds(result)
    return result


def with_validation(report: Report, outcome: ValidationResult) -> Report:
    """A copy of `report` that tells how the last comparison with the numpy definition ended."""
    result = copy.deepcopy(report)
    result["validation"] = {
        "engine": outcome.engine,
        "images": outcome.images,
        "bit_exact": outcome.bit_exact,
        "first_difference": outcome.first_difference,
    }
    return result


def _layer(layer: LayerRow) -> dict[str, Any]:
    return {
        "name": layer.name,
        "operator": layer.operator,
        "input_shape": list(layer.input_shape),
        "output_shape": list(layer.output_shape),
        "macs": layer.macs,
        "ram_rows": layer.ram_rows,
        "ram_bytes": layer.ram_bytes,
        "flash_bytes": layer.flash_bytes,
        "instructions": layer.instructions,
    }


def _sum(*parts: int | None) -> int | None:
    """The sum, or None when a part is not known."""
    known = [part for part in parts if part is not None]
    return sum(known) if len(known) == len(parts) else None


def _ram(source: ReportInput) -> dict[str, Any]:
    sizes, stack = source.sizes, source.stack
    ram: dict[str, Any] = {
        "total_bytes": None,
        "arena_bytes": source.arena_bytes,
        "stack_bytes": None if stack is None else stack.bytes,
        "stack_model_bytes": None if stack is None else stack.model_bytes,
        "static_bytes": None if sizes is None else sizes.static_bytes,
        "data_bytes": None if sizes is None else sizes.data_bytes,
        "bss_bytes": None if sizes is None else sizes.bss_bytes,
        "output_bytes": source.output_bytes,
        "state_bytes": source.state_bytes,
        "image_bytes": source.image_bytes,
        "arena_image_bytes": source.arena_image_bytes,
        "row_bytes": source.row_bytes,
        "streaming_saves_bytes": source.streaming_saves_bytes,
        "lower_bound_bytes": source.arena_lower_bound_bytes,
        "budget_bytes": source.ram_budget_bytes,
        "guard_bytes": None,
        "needed_bytes": None,
        "stack_measured_bytes": None,
        "measured_without_image_bytes": None,
        "measured_with_image_bytes": None,
    }
    ram |= _totals(ram, ram["stack_bytes"], "")
    ram["total_bytes"] = ram["with_image_bytes" if source.image == "resident" else "without_image_bytes"]
    if sizes is not None and stack is not None:
        ram["needed_bytes"] = ram_needed(sizes, stack)
        ram["guard_bytes"] = ram["needed_bytes"] - ram["total_bytes"]
    return ram


def _totals(ram: dict[str, Any], stack_bytes: int | None, prefix: str) -> dict[str, int | None]:
    """All RAM with the image streamed (one row beside the arena) and with it resident.

    Where the arena holds the image, the figure for streaming is that of the same schedule without it.
    """
    beside_arena = ram["image_bytes"] - ram["arena_image_bytes"]
    kept = ram.get("state_bytes", 0)  # reports of earlier versions have none
    common = _sum(ram["arena_bytes"], stack_bytes, ram["static_bytes"], ram["output_bytes"], kept)
    with_image, streamed = _sum(common, beside_arena), _sum(common, ram["row_bytes"])
    if ram["arena_image_bytes"]:
        streamed = _sum(with_image, -ram["streaming_saves_bytes"])
    return {f"{prefix}without_image_bytes": streamed, f"{prefix}with_image_bytes": with_image}


def _flash(source: ReportInput) -> dict[str, int | None]:
    sizes = source.sizes
    if sizes is None:
        keys = ("total_bytes", "code_bytes", "constants_bytes", "library_bytes", "harness_bytes")
        return dict.fromkeys(keys) | {"weights_bytes": source.weights_bytes}
    return {
        "total_bytes": sizes.flash_bytes,
        "code_bytes": sizes.model_code_bytes,
        "constants_bytes": sizes.model_constants_bytes,
        "weights_bytes": sizes.weights_bytes,
        "library_bytes": sizes.library_bytes,
        "harness_bytes": sizes.harness_flash_bytes,
    }


# read from the linked ELF file, or from a run
_MEASURED = {
    *(f"ram.{key}_bytes" for key in ("static", "data", "bss", "stack_measured")),
    *(f"ram.measured_{key}_bytes" for key in ("without_image", "with_image")),
    *(f"flash.{key}_bytes" for key in ("total", "code", "constants", "library", "harness")),
    "instructions",
    "measured_cycles",
}


def figure_kinds(report: Report) -> dict[str, FigureKind]:
    """Which of the figures that are there were measured and which were computed, by dotted key."""
    figures = {f"ram.{key}": value for key, value in report["ram"].items() if key != "budget_bytes"}
    figures |= {f"flash.{key}": value for key, value in report["flash"].items()}
    figures |= {key: report[key] for key in ("macs", "instructions", "estimated_cycles")}
    figures["measured_cycles"] = report.get("measured_cycles")
    kinds: dict[str, FigureKind] = {}
    for key, value in figures.items():
        if value is not None:
            kinds[key] = "measured" if key in _MEASURED else "computed"
    if "flash.code_bytes" in kinds:  # then the weights too were read from the linked file
        kinds["flash.weights_bytes"] = "measured"
    return kinds
