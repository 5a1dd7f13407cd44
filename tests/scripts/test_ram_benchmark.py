"""The RAM benchmark's record: consistent in itself, shown by the page, and what the documents promise."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("torch")
pytest.importorskip("torchao")

from scripts import bench_ram
from scripts.bench_ram import (
    LIMITS,
    PAGE,
    PLANS,
    ROUNDING,
    SMALLEST,
    UNREPEATED,
    chosen,
    recorded,
    with_table,
)

LARGEST_ERROR = 0.1  # of the cost model over whole networks, in instructions and in cycles
PROMISED = [  # model, plan, RAM of the whole program in KiB at most
    *(("face-m4", SMALLEST, 64), ("face-m4, image resident", SMALLEST, 120), ("face-quant", SMALLEST, 96)),
    *(("face-a", SMALLEST, 256), ("face-b", SMALLEST, 256), ("face-c", "<= 30 %", 256)),
    *(("mobilenetv2 224", UNREPEATED, 128), ("mobilenetv2 224", "<= 10 %", 80)),
    *(("mobilenetv2-rnnpool", SMALLEST, 100), ("mobilenetv2-0.35 144", SMALLEST, 32)),
]
ROWS = recorded()
MODELS = {model: list(rows) for model, rows in itertools.groupby(ROWS, key=lambda row: row["model"])}


def test_the_page_shows_what_was_recorded() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert with_table(page, ROWS) == page


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="no lines"):
        with_table("# Benchmarks\n", ROWS)


@pytest.mark.parametrize("model", MODELS)
def test_rows_agree_with_each_other(model: str) -> None:
    rows = {row["plan"]: row for row in MODELS[model]}
    assert tuple(rows) == PLANS
    measured = [row for row in rows.values() if row["instructions"] is not None]
    fewest = min(row["instructions"] for row in measured)
    for row in measured:
        assert row["bit_exact"]
        assert (
            row["bound_bytes"] <= row["arena_bytes"] < row["measured_ram_bytes"] <= row["planned_ram_bytes"]
        )
        assert row["extra_cycles_percent"] == pytest.approx(
            100 * (row["instructions"] / fewest - 1), abs=0.01
        )
    for limit in LIMITS:
        row = rows[f"<= {limit} %"]
        assert row["extra_cycles_percent"] < limit + ROUNDING
        assert row["planned_ram_bytes"] >= rows[SMALLEST]["planned_ram_bytes"]


def test_every_model_was_measured() -> None:
    assert list(MODELS) == [model.name for model in bench_ram.MODELS]


@pytest.mark.parametrize(("model", "plan", "kibibytes"), PROMISED)
def test_the_ram_that_was_promised(model: str, plan: str, kibibytes: int) -> None:
    (row,) = (row for row in MODELS[model] if row["plan"] == plan)
    assert row["planned_ram_bytes"] <= kibibytes * 1024


@pytest.mark.parametrize("model", MODELS)
def test_the_cost_model_predicts_whole_networks(model: str) -> None:
    for row in MODELS[model]:
        assert row["predicted_instructions"] == pytest.approx(row["instructions"], rel=LARGEST_ERROR)
        if "cycles" in row:
            assert row["predicted_cycles"] == pytest.approx(row["cycles"], rel=LARGEST_ERROR)


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(SystemExit, match="'face-z' is not known; known: face-m4"):
        chosen("face-m4,face-z")
    assert [model.arch for model in chosen("face-m4,mobilenetv2")] == ["face-m4", "mobilenetv2"]
