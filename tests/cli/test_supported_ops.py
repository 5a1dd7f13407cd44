"""supported-ops and the page that is made of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from rnnpool_mcu.cli import main

PAGE = Path(__file__).parents[2] / "docs" / "operators.md"


def _run(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["supported-ops", *arguments], catch_exceptions=False)


def test_a_format_is_listed_with_its_limits() -> None:
    pytest.importorskip("tflite")
    found = json.loads(_run("--format", "tflite", "--json", "-").stdout)
    assert list(found) == ["tflite"]
    assert "depth multiplier" in found["tflite"]["DEPTHWISE_CONV_2D"]
    assert all(found["tflite"].values())
    assert "DEPTHWISE_CONV_2D" in _run("--format", "tflite").stdout


def test_every_integer_operator_has_a_definition() -> None:
    pytest.importorskip("tflite")
    pytest.importorskip("torch")
    found = json.loads(_run("--json", "-").stdout)
    assert {"Conv2d", "RnnPool", "Softmax"} <= set(found["integer"])
    assert all(found["integer"].values())


def test_the_page_is_up_to_date() -> None:
    pytest.importorskip("tflite")
    pytest.importorskip("torch")
    assert PAGE.read_text(encoding="utf-8") == _run("--markdown").stdout, "run `make operators`"


def test_one_form_at_a_time(tmp_path: Path) -> None:
    done = _run("--markdown", "--json", str(tmp_path / "ops.json"))
    assert done.exit_code == 2 and "--markdown and --json" in done.stderr
