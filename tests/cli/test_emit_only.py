"""`compile --emit-only`: everything but what must be measured, without a cross compiler; proven later."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from rnnpool_mcu.cli import main
from rnnpool_mcu.errors import BudgetError, ToolMissingError
from rnnpool_mcu.pipeline import Target, compile_graph
from tests.codegen.test_compilers import network

TARGET = Target("net", 2**16, "resident", "mps2-an386", "test", "none", emit_only=True)


def _compiled(folder: Path, target: Target) -> dict[str, object]:
    folder.mkdir()
    return compile_graph(network(), target, folder)


def test_the_folder_is_that_of_a_whole_compile_and_proves_itself_later(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = Target("net", 2**16, "resident", "mps2-an386", "test", "none")
    _compiled(tmp_path / "whole", whole)
    with monkeypatch.context() as patch:
        patch.setenv("PATH", str(tmp_path))
        with pytest.raises(ToolMissingError, match="arm-none-eabi-gcc"):
            _compiled(tmp_path / "without", whole)
        report = _compiled(tmp_path / "out", TARGET)
    for path in sorted((tmp_path / "whole" / "src").rglob("*.[ch]")):
        assert path.read_bytes() == (tmp_path / "out" / path.relative_to(tmp_path / "whole")).read_bytes()
    ram, flash, figures = report["ram"], report["flash"], report["figures"]
    assert isinstance(ram, dict) and isinstance(flash, dict) and isinstance(figures, dict)
    assert ram["stack_bytes"] is None and ram["total_bytes"] is None and flash["total_bytes"] is None
    assert figures["ram.arena_bytes"] == "computed" and figures["flash.weights_bytes"] == "computed"
    assert "measured" not in figures.values()
    assert "nothing was built" in " ".join((tmp_path / "out" / "report.txt").read_text().split())
    shutil.rmtree(tmp_path / "whole")
    checked = CliRunner().invoke(main, ["validate", str(tmp_path / "out"), "--count", "1"])
    assert checked.exit_code == 0, checked.output
    assert json.loads((tmp_path / "out" / "report.json").read_text())["validation"]["bit_exact"] is True


def test_what_cannot_fit_is_refused_without_a_compiler_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BudgetError, match="needs at least"):
        _compiled(tmp_path / "out", replace(TARGET, ram_bytes=3072))
