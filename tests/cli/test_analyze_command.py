"""`rnnpool-mcu analyze`: verdict per board, both ends of the front, layers; nothing is built."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from rnnpool_mcu import importing
from rnnpool_mcu.cli import main
from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.toolchain.board import available_boards
from tests.graphs import INPUT, GraphBuilder


@pytest.fixture(scope="module")
def graph() -> Graph:
    """A strided stem, two wide residuals and a classifier."""
    builder = GraphBuilder(TensorType(24, 32, 3, Quantization(1 / 255, -128)))
    value = builder.residual(builder.conv(INPUT, 8, 3, 2), expansion=6)
    return builder.graph(builder.classifier(builder.residual(value, expansion=6), 4))


def _analyze(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, ["analyze", *map(str, arguments)], catch_exceptions=False)


def test_both_ends_of_the_front_boards_and_layers(model: Path, graph: Graph) -> None:
    result = _analyze(model, "--image", "streamed", "--json", "-")
    assert result.exit_code == 0, result.output
    value: dict[str, Any] = json.loads(result.stdout)
    fastest, smallest = value["plans"]["fastest"], value["plans"]["smallest"]
    assert smallest["ram_bytes"] < fastest["ram_bytes"]
    assert smallest["predicted_instructions"] > fastest["predicted_instructions"]
    assert value["no_recompute_bound_bytes"] <= fastest["arena_bytes"]
    assert [layer["name"] for layer in value["layers"]] == [node.name for node in graph.nodes]
    assert sum(layer["macs"] for layer in value["layers"]) == value["macs"] > 0
    assert (
        sum(layer["flash_bytes"] for layer in value["layers"])
        == value["weights_bytes"]
        < value["flash_bytes"]
    )
    assert {found["board"]: found["plan"] for found in value["boards"]} == dict.fromkeys(
        available_boards(), "fastest"
    )


def test_the_text_answers(model: Path) -> None:
    text = _analyze(model).stdout
    assert "yes, by its fastest plan" in text
    for word in ("fastest", "smallest", "n0_conv2d", "Flash, about"):
        assert word in text


def test_between_both_plans_the_smaller_one_fits_and_below_nothing_does(model: Path) -> None:
    arguments = (model, "--image", "streamed", "--board", "nucleo-f439zi")
    plans = json.loads(_analyze(*arguments, "--json", "-").stdout)["plans"]
    between = (plans["smallest"]["ram_bytes"] + plans["fastest"]["ram_bytes"]) // 2
    fits = _analyze(*arguments, "--ram", str(between))
    assert fits.exit_code == 0
    assert "yes, by its smallest plan" in fits.stdout
    refused = _analyze(*arguments, "--ram", str(plans["smallest"]["ram_bytes"] - 1))
    assert refused.exit_code == 4
    assert "no: too little RAM" in refused.stdout
    assert f"needs about {plans['smallest']['ram_bytes']} bytes of RAM" in refused.stderr
    assert f"most RAM is live in '{plans['smallest']['peak']['operator']}'" in refused.stderr
    assert "stream the image" not in refused.stderr


def test_an_unsupported_operator_is_named(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object, **_options: object) -> None:
        raise ModelError("net.pt: aten.cumsum in forward: not supported")

    monkeypatch.setattr(importing, "load_graph", refuse)
    result = _analyze(model)
    assert result.exit_code == 3
    assert "aten.cumsum" in result.stderr


def test_an_unknown_board_is_refused(model: Path) -> None:
    assert _analyze(model, "--board", "nosuch").exit_code == 2
