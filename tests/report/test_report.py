"""The report: totals with and without a resident image, what is measured, its schema, its text."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import jsonschema
import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.firmware import FlashAndStatic, StackBound
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.report import (
    LayerRow,
    Planning,
    PlanPeak,
    ReportInput,
    ValidationResult,
    build_report,
    check_report,
    read_report,
    render_text,
    with_run,
    with_validation,
    write_report,
)
from rnnpool_mcu.report.from_plan import peak_of_plan
from rnnpool_mcu.schedule.planner import plan_graph
from tests.graphs import GraphBuilder

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
    arena_bytes=50_000,
    arena_lower_bound_bytes=48_000,
    arena_optimal=False,
    arena_method="first fit",
    output_bytes=164,
    weights_bytes=160_000,
    ram_budget_bytes=262_144,
    sizes=FlashAndStatic(
        model_code_bytes=12_000,
        model_constants_bytes=500,
        weights_bytes=160_016,
        library_bytes=200,
        harness_flash_bytes=3_000,
        data_bytes=4,
        bss_bytes=8,
        buffers_bytes=76_964,
        arena_bytes=50_016,
        stack_reserve_bytes=2_048,
        ram_without_stack_bytes=126_992,
    ),
    stack=StackBound(900, ("Reset_Handler", "main", "face_run"), 700),
)


WITHOUT_IMAGE = 50_000 + 900 + 12 + 164 + 320
WITH_IMAGE = 50_000 + 900 + 12 + 164 + 76_800
NEEDED = 127_744 + 256  # 126,992 and the stack of 904, in units of 256


def test_totals_are_the_sums_of_their_parts() -> None:
    report = build_report(SOURCE)
    assert report["ram"]["static_bytes"] == 12
    assert report["ram"]["without_image_bytes"] == WITHOUT_IMAGE
    assert report["ram"]["with_image_bytes"] == WITH_IMAGE
    assert report["ram"]["needed_bytes"] == NEEDED
    assert report["ram"]["guard_bytes"] == NEEDED - WITH_IMAGE
    assert report["flash"]["total_bytes"] == 12_000 + 500 + 160_016 + 200 + 3_000 + 4
    assert report["macs"] == 5_691_200


@pytest.mark.parametrize(
    ("image", "key"), [("resident", "with_image_bytes"), ("streamed", "without_image_bytes")]
)
def test_total_counts_the_image_only_when_resident(image: str, key: str) -> None:
    ram = build_report(dataclasses.replace(SOURCE, image=image))["ram"]  # type: ignore[arg-type]
    assert ram["total_bytes"] == ram[key]


def test_an_image_in_the_arena_counts_once_and_streaming_saves_what_was_planned() -> None:
    source = dataclasses.replace(
        SOURCE, arena_bytes=110_000, arena_image_bytes=76_800, streaming_saves_bytes=60_000
    )
    ram = build_report(source)["ram"]
    assert ram["with_image_bytes"] == ram["total_bytes"] == 110_000 + 900 + 12 + 164
    assert ram["without_image_bytes"] == ram["with_image_bytes"] - 60_000


def test_an_unbuilt_model_has_no_totals_rather_than_wrong_ones() -> None:
    report = build_report(dataclasses.replace(SOURCE, sizes=None, stack=None))
    check_report(report)
    assert report["ram"]["total_bytes"] is None
    assert report["flash"]["total_bytes"] is None
    assert report["flash"]["weights_bytes"] == 160_000
    assert "ram.total_bytes" not in report["figures"]


def test_a_run_fills_in_and_is_labelled() -> None:
    before = build_report(SOURCE)
    run = RunResult("qemu", (b"", b""), (0, 0), True, instructions=(200, 210), stack_high_water_bytes=700)
    after = with_run(before, run)
    check_report(after)
    assert before["instructions"] is None  # the given report is left alone
    assert after["instructions"] == 210
    assert after["ram"]["measured_without_image_bytes"] == WITHOUT_IMAGE - 200
    assert after["ram"]["measured_with_image_bytes"] == WITH_IMAGE - 200
    assert after["ram"]["total_bytes"] == before["ram"]["total_bytes"]
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
def test_a_foreign_report_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "report.json").write_text(text, encoding="utf-8")
    with pytest.raises(ModelError, match=r"not a report of this version.*compile the model again"):
        read_report(tmp_path)


def test_text_shows_layers_totals_and_verdict() -> None:
    text = render_text(build_report(SOURCE))
    assert "face_m4.pt, 320x240x1" in text
    pool = next(line for line in text.splitlines() if line.split()[:1] == ["pool"])
    assert pool.split() == ["pool", "rnnpool", "29x39x64", "5,000,000", "3", "9,000", "1,200"]
    assert f"met, {262_144 - NEEDED:,} to spare" in text
    assert "not known yet" in text
    assert all(line == line.rstrip() and len(line) <= 110 for line in text.splitlines())


PLANNED = dataclasses.replace(
    SOURCE,
    peak=PlanPeak("pool", 7, 99, 1_234, tuple((f"b{i}.rows", 1_000 - i) for i in range(10))),
    planning=Planning("ram", 32_000, 569_120, ("'x' stands whole: 'y' reads it again",)),
)


def test_text_says_where_the_peak_is_and_how_good_the_plan() -> None:
    report = build_report(PLANNED)
    check_report(report)
    text = render_text(report)
    flat = " ".join(text.split())
    assert "50,000 bytes, 2,000 (4.2 %) above the bytes live at the peak" in flat
    assert "Peak: 9,955 bytes live while 'pool' makes row 7, step 100 of 1,234:" in flat
    assert "1,000 b0.rows" in flat
    assert "1,983 in 2 more" in flat
    assert "no schedule peaks below 32,000 bytes of rows; this one computes 10.0 %" in flat
    assert "'x' stands whole" in flat
    assert "memory.svg" in flat
    assert all(len(line) <= 80 for line in text.splitlines())
    proven = render_text(build_report(dataclasses.replace(PLANNED, arena_optimal=True, planning=Planning())))
    assert "50,000 bytes, optimal for this schedule" in " ".join(proven.split())


def test_text_names_an_exceeded_budget_and_a_difference() -> None:
    report = build_report(dataclasses.replace(SOURCE, ram_budget_bytes=100_000))
    report = with_validation(report, ValidationResult("c", 3, False, "layer 'pool' row 4"))
    text = render_text(report)
    assert f"exceeded by {NEEDED - 100_000:,}" in text
    assert "c DIFFERS: layer 'pool' row 4" in text


@pytest.mark.parametrize("resident", [False, True])
def test_the_peak_is_the_step_with_the_most_live_bytes(resident: bool) -> None:
    builder = GraphBuilder(TensorType(16, 12, 3, Quantization(1 / 255, -128)))
    value = builder.residual(builder.conv("input", 6, 3, 2), expansion=4)
    graph = dataclasses.replace(builder.graph(builder.classifier(value, 3)), image_resident=resident)
    plan = plan_graph(graph, place_effort=0)
    peak = peak_of_plan(plan)
    assert peak.bytes == max(plan.live_bytes(step) for step in range(len(plan.steps)))
    assert (peak.operator, peak.row) == (plan.peak_step().value, plan.peak_step().row)
    assert peak.steps == len(plan.steps)
    sizes = [size for _, size in peak.buffers]
    assert sizes == sorted(sizes, reverse=True)
    assert any(name == "input.pixels" for name, _ in peak.buffers) == resident
