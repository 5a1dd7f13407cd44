"""The RAM benchmark's record: consistent in itself, shown by the page, and what the documents promise."""

from __future__ import annotations

import itertools

import pytest

pytest.importorskip("torch")
pytest.importorskip("torchao")

from scripts.bench_ram import LIMITS, PAGE, PLANS, ROUNDING, SMALLEST, chosen, recorded, with_table

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


def test_an_unknown_model_is_refused() -> None:
    with pytest.raises(SystemExit, match="'face-z' is not known; known: face-m4"):
        chosen("face-m4,face-z")
    assert [model.arch for model in chosen("face-m4,mobilenetv2")] == ["face-m4", "mobilenetv2"]
