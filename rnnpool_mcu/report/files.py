"""Writes and reads report.json (checked against its schema) and report.txt beside it."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.report.build import Report
from rnnpool_mcu.report.plan_lines import MEMORY_NAME
from rnnpool_mcu.report.plan_svg import memory_svg
from rnnpool_mcu.report.text import render_text
from rnnpool_mcu.system.output_folder import JSON_NAME
from rnnpool_mcu.system.plain_files import FileFault, read_json

TEXT_NAME = "report.txt"
_REFUSED = "{path}: not a report of this version ({reason}); compile the model again"
_INTEGERS = jsonschema.Draft202012Validator.TYPE_CHECKER.redefine(
    "integer", lambda _, value: type(value) is int
)
_Validator = jsonschema.validators.extend(jsonschema.Draft202012Validator, type_checker=_INTEGERS)
"""For which 1.0 is no integer: figures are formatted and added as such."""


def report_schema() -> Report:
    """The JSON Schema shipped with the package."""
    text = Path(__file__).with_name("report.schema.json").read_text(encoding="utf-8")
    schema: Report = json.loads(text)
    return schema


def check_report(report: Report) -> None:
    """Raises `jsonschema.ValidationError` where `report` is not what the schema says."""
    _Validator(report_schema()).validate(report)


def write_report(report: Report, folder: Path) -> None:
    """Writes report.json and report.txt into `folder`, each replaced whole or not at all."""
    check_report(report)
    _replace(folder / JSON_NAME, json.dumps(report, indent=2) + "\n")
    _replace(folder / TEXT_NAME, render_text(report))


def write_memory_picture(plan: Plan, title: str, folder: Path) -> None:
    """Writes the picture of memory over time that the text names."""
    _replace(folder / MEMORY_NAME, memory_svg(plan, f"Memory over time: {title}"))


def read_report(folder: Path) -> Report:
    """The report of a folder that `compile` wrote; UsageError without one, ModelError for a damaged one."""
    path = folder / JSON_NAME
    if not path.is_file():
        raise UsageError(f"{folder}: no {JSON_NAME} there; give a folder that 'rnnpool-mcu compile' wrote")
    try:
        report: Report = read_json(path)
        check_report(report)
    except FileFault as error:
        raise ModelError(_REFUSED.format(path=path, reason=error)) from error
    except jsonschema.ValidationError as error:
        reason = f"{error.json_path}: {error.message.splitlines()[0]:.200}"
        raise ModelError(_REFUSED.format(path=path, reason=reason)) from error
    return report


def _replace(path: Path, text: str) -> None:
    temporary = path.with_name(path.name + ".new")
    try:
        temporary.write_text(text, encoding="utf-8")
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
