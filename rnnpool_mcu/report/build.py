"""Builds the report (a JSON object, see report.schema.json) and fills in what runs have measured."""

from __future__ import annotations

import copy
from typing import Any

from rnnpool_mcu import __version__
from rnnpool_mcu.report.model import FigureKind, LayerRow, Measurement, ReportInput, ValidationResult

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
        "ram": _ram(source),
        "flash": _flash(source),
        "macs": sum(layer.macs for layer in source.layers),
        "instructions": None,
        "estimated_cycles": None,
        "plan": {
            "image": source.image,
            "optimal": source.arena_optimal,
            "bound_bytes": source.arena_lower_bound_bytes,
        },
        "layers": [_layer(layer) for layer in source.layers],
        "validation": {"engine": None, "images": 0, "bit_exact": None, "first_difference": None},
    }
    report["figures"] = _kinds(report)
    return report


def with_measurement(report: Report, measured: Measurement) -> Report:
    """A copy of `report` with what a run on a board showed; figures it does not have stay as they were."""
    result = copy.deepcopy(report)
    result["measured_on"] = {"engine": measured.engine, "board": measured.board}
    for key, value in (
        ("stack_measured_bytes", measured.stack_bytes),
        ("arena_measured_bytes", measured.arena_bytes),
    ):
        if value is not None:
            result["ram"][key] = value
    if measured.instructions is not None:
        result["instructions"] = measured.instructions
    if measured.estimated_cycles is not None:
        result["estimated_cycles"] = measured.estimated_cycles
    result["ram"].update(_measured_totals(result["ram"]))
    result["figures"] = _kinds(result)
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
    static = _sum(source.data_bytes, source.bss_bytes)
    streamed = _sum(source.arena_bytes, source.stack_bound_bytes, static)
    resident = _sum(streamed, source.image_bytes)
    return {
        "total_bytes": resident if source.image == "resident" else streamed,
        "arena_bytes": source.arena_bytes,
        "stack_bytes": source.stack_bound_bytes,
        "static_bytes": static,
        "data_bytes": source.data_bytes,
        "bss_bytes": source.bss_bytes,
        "image_bytes": source.image_bytes,
        "without_image_bytes": streamed,
        "with_image_bytes": resident,
        "lower_bound_bytes": source.arena_lower_bound_bytes,
        "budget_bytes": source.ram_budget_bytes,
        "stack_measured_bytes": None,
        "arena_measured_bytes": None,
        "measured_without_image_bytes": None,
        "measured_with_image_bytes": None,
    }


def _measured_totals(ram: dict[str, Any]) -> dict[str, int | None]:
    """Totals with the measured stack in place of its bound."""
    streamed = _sum(ram["arena_bytes"], ram["stack_measured_bytes"], ram["static_bytes"])
    return {
        "measured_without_image_bytes": streamed,
        "measured_with_image_bytes": _sum(streamed, ram["image_bytes"]),
    }


def _flash(source: ReportInput) -> dict[str, int | None]:
    return {
        "total_bytes": _sum(source.code_bytes, source.weights_bytes, source.data_bytes),
        "code_bytes": source.code_bytes,
        "weights_bytes": source.weights_bytes,
    }


_MEASURED = {
    # read from the linked ELF file
    "ram.static_bytes",
    "ram.data_bytes",
    "ram.bss_bytes",
    "flash.total_bytes",
    "flash.code_bytes",
    # read from a run
    "ram.stack_measured_bytes",
    "ram.arena_measured_bytes",
    "ram.measured_without_image_bytes",
    "ram.measured_with_image_bytes",
    "instructions",
}


def _kinds(report: Report) -> dict[str, FigureKind]:
    """Which of the figures that are there were measured and which were computed, by dotted key."""
    figures = {f"ram.{key}": value for key, value in report["ram"].items() if key != "budget_bytes"}
    figures |= {f"flash.{key}": value for key, value in report["flash"].items()}
    figures |= {key: report[key] for key in ("macs", "instructions", "estimated_cycles")}
    return {
        key: "measured" if key in _MEASURED else "computed"
        for key, value in figures.items()
        if value is not None
    }
