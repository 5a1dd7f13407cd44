"""The report: totals with and without a resident image, what is measured, its schema, its text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.report import (
    LayerRow,
    Measurement,
    ReportInput,
    ValidationResult,
    build_report,
    check_report,
    read_report,
    render_text,
    with_measurement,
    with_validation,
    write_report,
)

SOURCE = ReportInput(
    model="face",
    source="face_m4.pt",
    board="mps2-an386",
    input_shape=(240, 320, 1),
    layers=(
        LayerRow("conv1", "conv2d", (240, 320, 1), (120, 160, 4), 691_200, 9, 5_800, 52),
        LayerRow("pool", "rnnpool", (120, 160, 4), (29, 39, 64), 5_000_000, 3, 9_000, 1_200),
    ),
    image="resident",
    image_bytes=76_800,
    arena_bytes=50_000,
    arena_lower_bound_bytes=48_000,
    arena_optimal=False,
    ram_budget_bytes=262_144,
    weights_bytes=160_000,
    stack_bound_bytes=900,
    data_bytes=4,
    bss_bytes=8,
    code_bytes=12_000,
)


def test_totals_are_the_sums_of_their_parts() -> None:
    report = build_report(SOURCE)
    assert report["ram"]["static_bytes"] == 12
    assert report["ram"]["without_image_bytes"] == 50_000 + 900 + 12
    assert report["ram"]["with_image_bytes"] == 50_000 + 900 + 12 + 76_800
    assert report["flash"]["total_bytes"] == 12_000 + 160_000 + 4
    assert report["macs"] == 5_691_200


@pytest.mark.parametrize(
    ("image", "key"), [("resident", "with_image_bytes"), ("streamed", "without_image_bytes")]
)
def test_total_counts_the_image_only_when_resident(image: str, key: str) -> None:
    ram = build_report(dataclasses.replace(SOURCE, image=image))["ram"]  # type: ignore[arg-type]
    assert ram["total_bytes"] == ram[key]


def test_an_unbuilt_model_has_no_totals_rather_than_wrong_ones() -> None:
    bare = dataclasses.replace(
        SOURCE, stack_bound_bytes=None, data_bytes=None, bss_bytes=None, code_bytes=None
    )
    report = build_report(bare)
    check_report(report)
    assert report["ram"]["total_bytes"] is None
    assert report["flash"]["total_bytes"] is None
    assert "ram.total_bytes" not in report["figures"]


def test_measurement_fills_in_and_is_labelled() -> None:
    before = build_report(SOURCE)
    after = with_measurement(
        before, Measurement("qemu", "mps2-an386", stack_bytes=700, instructions=200_000_000)
    )
    check_report(after)
    assert before["instructions"] is None  # the given report is left alone
    assert after["instructions"] == 200_000_000
    assert after["ram"]["measured_without_image_bytes"] == 50_000 + 700 + 12
    assert after["figures"]["instructions"] == "measured"
    assert after["figures"]["ram.stack_bytes"] == "computed"
    assert after["figures"]["ram.stack_measured_bytes"] == "measured"


def test_written_report_reads_back(tmp_path: Path) -> None:
    report = with_validation(build_report(SOURCE), ValidationResult("qemu", 50, True))
    write_report(report, tmp_path)
    assert read_report(tmp_path) == report
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.txt"]


@pytest.mark.parametrize(
    ("key", "value"), [("schema_version", 2), ("layers", [{"name": "x"}]), ("surprise", 1), ("macs", -1)]
)
def test_a_report_against_the_schema_is_refused(tmp_path: Path, key: str, value: object) -> None:
    report = build_report(SOURCE) | {key: value}
    with pytest.raises(jsonschema.ValidationError):
        write_report(report, tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{}", "[1", json.dumps({"schema_version": 99})])
def test_a_foreign_report_is_a_usage_error(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text, encoding="utf-8")
    with pytest.raises(UsageError, match=r"not a report of this version.*compile the model again"):
        read_report(tmp_path)


def test_text_shows_layers_totals_and_verdict() -> None:
    text = render_text(build_report(SOURCE))
    assert "face_m4.pt, 320x240x1" in text
    pool = next(line for line in text.splitlines() if line.split()[:1] == ["pool"])
    assert pool.split() == ["pool", "rnnpool", "29x39x64", "5,000,000", "3", "9,000", "1,200"]
    assert "met, 134,432 to spare" in text
    assert "not known yet" in text
    assert all(line == line.rstrip() and len(line) <= 110 for line in text.splitlines())


def test_text_names_an_exceeded_budget_and_a_difference() -> None:
    report = build_report(dataclasses.replace(SOURCE, ram_budget_bytes=100_000))
    report = with_validation(report, ValidationResult("host", 3, False, "layer 'pool' row 4"))
    text = render_text(report)
    assert "exceeded by 27,712" in text
    assert "host DIFFERS: layer 'pool' row 4" in text
