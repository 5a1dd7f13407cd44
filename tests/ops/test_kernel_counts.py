"""The recorded kernel benchmarks: within what each layer is allowed, as published, and still true."""

from __future__ import annotations

import pytest

from scripts.bench_kernels import PAGE, measure, recorded, shapes, with_table

QUICK = (
    *("1×1, 6×6, 128→128", "1×1, 7×7, 160→32", "depthwise 3×3 s1, 7×7×96", "fully connected 640→128"),
    *("RNNPool 8×8 s4, 160×20×3, hidden 4", "L2 norm, 40×30×32 (per element)"),
)
GROWTH = 1.02  # more than this is a change to record on purpose: make bench-kernels


def test_every_shape_is_recorded_within_its_allowance() -> None:
    kernels = recorded()
    assert list(kernels) == [shape.name for shape in shapes()]
    for shape in shapes():
        assert kernels[shape.name]["target"] == shape.target
        if shape.target is not None:
            assert kernels[shape.name]["instructions_per_mac"] <= shape.target, shape.name


def test_the_page_shows_the_record() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == with_table(page, recorded()), "make bench-kernels"


def test_a_page_without_markers_is_refused() -> None:
    with pytest.raises(ValueError, match="no lines"):
        with_table("# Benchmarks\n", recorded())


def test_counts_did_not_grow() -> None:
    before = recorded()
    chosen = tuple(shape for shape in shapes() if shape.name in QUICK)
    assert len(chosen) == len(QUICK)
    for name, now in measure(chosen).items():
        allowed = GROWTH * before[name]["instructions"]
        assert now["instructions"] <= allowed, (
            f"{name}: {now['instructions']}, recorded {allowed / GROWTH:.0f}"
        )
