"""report.json, the one record of what a compiled model takes, and what is rendered from it."""

from __future__ import annotations

from rnnpool_mcu.report.build import Report, build_report, with_measurement, with_validation
from rnnpool_mcu.report.files import (
    JSON_NAME,
    TEXT_NAME,
    check_report,
    read_report,
    report_schema,
    write_report,
)
from rnnpool_mcu.report.model import ImageSource, LayerRow, Measurement, ReportInput, ValidationResult
from rnnpool_mcu.report.text import render_text, renderable

__all__ = [
    "JSON_NAME",
    "TEXT_NAME",
    "ImageSource",
    "LayerRow",
    "Measurement",
    "Report",
    "ReportInput",
    "ValidationResult",
    "build_report",
    "check_report",
    "read_report",
    "render_text",
    "renderable",
    "report_schema",
    "with_measurement",
    "with_validation",
    "write_report",
]
