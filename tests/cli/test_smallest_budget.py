"""analyze, plan and compile agree on the smallest budget: what is told works, and nothing above it fails."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

pytest.importorskip("tflite")

from rnnpool_mcu.cli import main
from tests.tflite_models import keyword_spotting

pytestmark = pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="no cross compiler")


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def test_the_smallest_budget_told_is_the_smallest_that_compile_takes(tmp_path: Path) -> None:
    path = tmp_path / "net.tflite"
    path.write_bytes(keyword_spotting())
    told = _run("analyze", path, "--board", "mps2-an386", "--json", "-")
    smallest = json.loads(told.stdout)["plans"]["smallest"]
    assert smallest["measured"]
    budget = smallest["ram_bytes"]
    assert _run("compile", path, "--ram", budget, "-o", tmp_path / "out").exit_code == 0
    for command in ("analyze", "plan"):
        assert _run(command, path, "--ram", budget).exit_code == 0, command
        refused = _run(command, path, "--ram", budget - 1)
        assert refused.exit_code == 4 and str(budget) in refused.stderr, command
        assert "about" not in refused.stderr.split("bytes")[0]
    refused = _run("compile", path, "--ram", budget - 1, "-o", tmp_path / "less")
    assert refused.exit_code == 4
    advised = re.search(r"allow --ram (\d+)", refused.stderr)
    assert advised is not None and int(advised[1]) == budget
