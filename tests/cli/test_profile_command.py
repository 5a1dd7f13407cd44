"""`rnnpool-mcu profile` on a small compiled model."""

from __future__ import annotations

import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rnnpool_mcu.cli import main
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.pipeline import Target, compile_graph
from tests.graphs import GraphBuilder

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("qemu-system-arm", "arm-none-eabi-gcc", "gcc")),
    reason="qemu-system-arm, arm-none-eabi-gcc or gcc is not installed",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A large convolution, a small one with the same kernel, a classifier; compiled."""
    builder = GraphBuilder(TensorType(12, 16, 3, Quantization(1 / 255, -128)), seed=3)
    large = builder.conv("input", 16, 3)
    small = builder.conv(large, 2)
    graph = builder.graph(builder.classifier(small, 3))
    out = tmp_path_factory.mktemp("profiled")
    compile_graph(graph, Target("tiny", 64 * 1024, "streamed", "mps2-an386", "tiny", "tiny.pt"), out)
    return out


def _profile(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["profile", *map(str, arguments)], catch_exceptions=False)


def test_profile_fills_in_the_report_and_draws(folder: Path, tmp_path: Path) -> None:
    result = _profile(folder, "--json", tmp_path / "profile.json")
    assert result.exit_code == 0, result.output
    assert "nucleo-f439zi, 168 MHz, 5 flash wait states: about" in result.stdout
    assert "cycles are an estimate" in result.stdout
    profile = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))
    report = json.loads((folder / "report.json").read_text(encoding="utf-8"))
    assert abs(profile["timer_instructions"] - report["instructions"]) <= 40
    assert report["estimated_cycles"] == profile["estimated_cycles"]
    assert report["figures"]["instructions"] == "measured"
    assert report["figures"]["estimated_cycles"] == "computed"
    timing, layers = report["timing"], report["layers"]
    for key in ("instructions", "estimated_cycles"):
        assert report[key] == sum(layer[key] for layer in layers) + timing["schedule"][key]
    waits = timing["fetch_stall_cycles"] + timing["data_stall_cycles"]
    assert timing["zero_wait_cycles"] + waits == report["estimated_cycles"]
    assert timing["seconds"] == pytest.approx(report["estimated_cycles"] / 168e6)
    assert timing["unaligned_multiples"] == 0
    text = (folder / "report.txt").read_text(encoding="utf-8")
    assert "Estimate for nucleo-f439zi, 168 MHz, 5 flash wait states" in text
    picture = ElementTree.parse(folder / "profile.svg").getroot()
    texts = [element.text for element in picture.iter("{http://www.w3.org/2000/svg}text")]
    assert {layer["name"] for layer in layers} <= set(texts)


def _of_convolution(shares: list[dict[str, Any]]) -> int:
    """Instructions in the convolution kernel, the functions it is made of included."""
    parts = ("conv2d_s8", "packed_", "plain_", "widen_")
    return sum(share["instructions"] for share in shares if share["name"].startswith(parts))


def test_layers_that_share_a_kernel_are_told_apart(folder: Path, tmp_path: Path) -> None:
    result = _profile(folder, "--board", "mps2-an386", "-q", "--json", tmp_path / "profile.json")
    assert result.exit_code == 0, result.output
    profile = json.loads((tmp_path / "profile.json").read_text(encoding="utf-8"))
    of_kernel = {layer: _of_convolution(shares) for layer, shares in profile["layer_functions"].items()}
    large, small = (next(name for name in of_kernel if name.startswith(f"n{i}_")) for i in (0, 1))
    macs = {layer["name"]: layer["macs"] for layer in profile["layers"]}
    assert 0.5 < of_kernel[large] / macs[large] < 8
    assert 0.5 < of_kernel[small] / macs[small] < 8
    assert sum(of_kernel.values()) == _of_convolution(profile["functions"])
    assert profile["estimated_cycles"] == profile["zero_wait_cycles"]  # no wait states there


def test_an_unknown_board_is_refused(folder: Path) -> None:
    result = _profile(folder, "--board", "nucleo-f439")
    assert result.exit_code == 2
    assert "did you mean 'nucleo-f439zi'" in result.stderr
