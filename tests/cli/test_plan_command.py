"""`rnnpool-mcu plan` on a small network of every kind of block: choice, front, pictures, refusals."""

from __future__ import annotations

import dataclasses
import itertools
import json
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("torch")
pytest.importorskip("torchao")

from rnnpool_mcu.cli import main
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.report import plan_svg
from rnnpool_mcu.schedule.choose import smallest_plan
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.schedule.search import pareto_front
from tests.graphs import INPUT, GraphBuilder

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def graph() -> Graph:
    """A strided stem, residuals, a block without one, a head and a classifier; the image resident."""
    builder = GraphBuilder(TensorType(41, 37, 3, Quantization(1 / 255, -128)))
    value = builder.residual(builder.conv(INPUT, 8, 3, 2), expansion=4)
    head = builder.conv(value, 3, 3)
    value = builder.conv(builder.depthwise(builder.conv(value, 32), 3, 2), 12)
    value = builder.residual(builder.residual(value, expansion=6), expansion=6)
    return dataclasses.replace(builder.graph(head, builder.classifier(value, 4)), image_resident=True)


def _plan(*arguments: str | Path | int) -> Result:
    return CliRunner().invoke(main, ["plan", *map(str, arguments)], catch_exceptions=False)


def _value(model: Path, *arguments: str | Path | int) -> dict[str, Any]:
    result = _plan(model, "-q", "--json", "-", *arguments)
    assert result.exit_code == 0, result.output
    value: dict[str, Any] = json.loads(result.stdout)
    return value


def test_without_a_budget_the_fastest_plan_is_shown(model: Path, graph: Graph) -> None:
    value, expected = _value(model), plan_graph(graph, stage=False)
    plan, ram = value["plan"], value["ram_estimate"]
    assert (plan["arena_bytes"], plan["peak_bytes"]) == (
        expected.arena_bytes,
        expected.placement.bound_bytes,
    )
    assert plan["extra_cycles_percent"] == 0
    assert plan["blocks"] == []
    assert ram["image_bytes"] == 0  # it is part of the arena
    assert plan["arena_bytes"] >= 41 * 37 * 3
    assert ram["total_bytes"] == sum(size for name, size in ram.items() if name != "total_bytes")
    text = _plan(model).stdout
    assert f"Most is live in '{expected.peak_step().value}'" in text
    assert f"{expected.arena_bytes:,}" in text
    assert "estimate" in text


def test_a_streamed_image_counts_one_row(model: Path) -> None:
    assert _value(model, "--image", "streamed")["ram_estimate"]["image_bytes"] == 37 * 3


def test_the_front_is_listed_and_drawn(model: Path, graph: Graph, tmp_path: Path) -> None:
    expected = pareto_front(graph)
    assert len(expected) > 1
    picture = tmp_path / "front.svg"
    front = _value(model, "--front", "--plot", picture)["front"]
    for plan, candidate in zip(front, expected, strict=True):
        assert plan["peak_bytes"] <= candidate.peak_bytes
    for faster, smaller in itertools.pairwise(front):
        assert faster["predicted_cycles"] <= smaller["predicted_cycles"]
    for plan in front:
        assert plan["arena_bytes"] >= plan["peak_bytes"]
    points = list(ElementTree.parse(picture).getroot().iter(f"{SVG}circle"))
    assert len(points) == len(expected)
    heights = [float(point.attrib["cy"]) for point in points]
    assert heights == sorted(heights)
    assert f"{front[-1]['arena_bytes']:,}" in _plan(model, "--front").stdout


def test_the_fastest_plan_within_the_budget_is_chosen(model: Path, tmp_path: Path) -> None:
    front = _value(model, "--front", "--image", "streamed")["front"]
    ram = _value(model, "--image", "streamed")["ram_estimate"]
    beside = ram["total_bytes"] - ram["arena_bytes"]
    budget = beside + front[len(front) // 2]["arena_bytes"]
    picture = tmp_path / "front.svg"
    value = _value(model, "--image", "streamed", "--ram", budget, "--plot", picture)
    assert value["ram_estimate"]["total_bytes"] <= budget
    fitting = [plan["predicted_cycles"] for plan in front if beside + plan["arena_bytes"] <= budget]
    assert value["plan"]["predicted_cycles"] == min(fitting)
    colours = [point.attrib["fill"] for point in ElementTree.parse(picture).getroot().iter(f"{SVG}circle")]
    assert colours.count("#c00000") == 1


def test_the_smallest_plan_is_chosen_by_objective(model: Path, tmp_path: Path) -> None:
    front = _value(model, "--front")["front"]
    picture = tmp_path / "front.svg"
    value = _value(model, "--objective", "ram", "--plot", picture)
    assert value["plan"]["arena_bytes"] <= min(plan["arena_bytes"] for plan in front)
    assert value["plan"]["arena_bytes"] >= min(plan["bound_bytes"] for plan in front)
    assert value["plan"]["predicted_cycles"] > _value(model)["plan"]["predicted_cycles"]
    colours = [point.attrib["fill"] for point in ElementTree.parse(picture).getroot().iter(f"{SVG}circle")]
    assert colours[-1] == "#c00000"
    assert _plan(model, "--objective", "ram", "--ram", "1k").exit_code == 4


def test_memory_over_time_shows_every_block_up_to_the_peak(model: Path, graph: Graph, tmp_path: Path) -> None:
    picture = tmp_path / "memory.svg"
    assert _plan(model, "-q", "--memory", picture).exit_code == 0
    plan, root = plan_graph(graph, stage=False), ElementTree.parse(picture).getroot()
    areas = {p[0].text.split(":")[0]: p.attrib["d"] for p in root.iter(f"{SVG}path") if len(p) and p[0].text}
    assert set(areas) == set(plan.blocks)
    highest = min(float(y) for path in areas.values() for y in re.findall(r"V([\d.]+)", path))
    zero = plan_svg.HEIGHT - plan_svg.BOTTOM
    drawn_bytes = (zero - highest) / (zero - plan_svg.TOP) * plan.arena_bytes
    assert drawn_bytes == pytest.approx(plan.placement.bound_bytes, rel=1e-3)


@pytest.mark.parametrize("option", ["--plot", "--memory"])
def test_a_picture_that_is_no_svg_is_refused(model: Path, tmp_path: Path, option: str) -> None:
    picture = tmp_path / "picture.png"
    result = _plan(model, option, picture)
    assert result.exit_code == 2
    assert f"{option} {picture}: pictures are written as SVG" in result.stderr
    assert not picture.exists()


def test_a_budget_below_the_smallest_plan_is_refused(model: Path, graph: Graph) -> None:
    _, smallest = smallest_plan(pareto_front(dataclasses.replace(graph, image_resident=False)))
    result = _plan(model, "--ram", "1k", "--image", "streamed")
    assert result.exit_code == 4
    assert f"most is live in '{smallest.peak_step().value}'" in result.stderr
    needed = int(re.search(r"allow --ram (\d+)", result.stderr)[1])  # type: ignore[index]
    assert _value(model, "--ram", needed, "--image", "streamed")["ram_estimate"]["total_bytes"] <= needed
    assert "--image streamed needs about" in _plan(model, "--ram", "1k").stderr


def test_ticks_are_round_and_few() -> None:
    assert plan_svg._ticks(25.9) == [0, 5, 10, 15, 20, 25]
    assert plan_svg._ticks(1_500_000)[-1] == 1_400_000
    assert all(len(plan_svg._ticks(top)) <= 11 for top in (0.01, 0.3, 7, 99.9, 100, 65536))
