"""report.json, the one record of what a compiled model takes, and what is rendered from it."""

from __future__ import annotations

from rnnpool_mcu.report.build import Report, build_report, with_run, with_validation
from rnnpool_mcu.report.files import (
    TEXT_NAME,
    check_report,
    read_report,
    report_schema,
    write_memory_picture,
    write_report,
)
from rnnpool_mcu.report.from_plan import layers_of_plan, report_of_plan
from rnnpool_mcu.report.model import ImageSource, LayerRow, Planning, PlanPeak, ReportInput, ValidationResult
from rnnpool_mcu.report.profile import profile_renderable, with_profile
from rnnpool_mcu.report.profile_svg import render_svg
from rnnpool_mcu.report.text import render_text, renderable
from rnnpool_mcu.system.output_folder import JSON_NAME

__all__ = [
    "JSON_NAME",
    "TEXT_NAME",
    "ImageSource",
    "LayerRow",
    "PlanPeak",
    "Planning",
    "Report",
    "ReportInput",
    "ValidationResult",
    "build_report",
    "check_report",
    "layers_of_plan",
    "profile_renderable",
    "read_report",
    "render_svg",
    "render_text",
    "renderable",
    "report_of_plan",
    "report_schema",
    "with_profile",
    "with_run",
    "with_validation",
    "write_memory_picture",
    "write_report",
]
