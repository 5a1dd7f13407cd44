"""`compile` runs one image on every engine before it says done."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

import rnnpool_mcu
from rnnpool_mcu.cli import main
from rnnpool_mcu.errors import ToolMissingError, ValidationError
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.validate import check, engines
from tests.cli.test_engines import needs_board
from tests.tflite_writer import Writer


@pytest.fixture
def model(tmp_path: Path) -> Path:
    w = Writer()
    path = tmp_path / "net.tflite"
    path.write_bytes(w.finish(w.conv(w.input(6, 6, 1), 3)))
    return path


def compile_it(model: Path, *options: str) -> Result:
    out = model.parent / "out"
    return CliRunner().invoke(main, ["compile", str(model), "--ram", "32k", "-o", str(out), *options])


def validation_of(folder: Path) -> dict[str, object]:
    found: dict[str, object] = json.loads((folder / "report.json").read_text())["validation"]
    return found


def wrong_reference(monkeypatch: pytest.MonkeyPatch) -> None:
    """As if the kernels were wrong: every byte of the definition is another."""
    own = engines.run_reference

    def other(*arguments: object, **options: object) -> RunResult:
        result = own(*arguments, **options)  # type: ignore[arg-type]
        outputs = tuple(bytes(255 - byte for byte in output) for output in result.outputs)
        return RunResult(result.engine, outputs, result.statuses, canaries_ok=True, traces=result.traces)

    monkeypatch.setattr(check, "run_reference", other)


@needs_board
def test_the_report_says_what_agreed_and_no_build_is_left(model: Path) -> None:
    assert compile_it(model).exit_code == 0
    expected = {"engine": "c+qemu", "images": 1, "bit_exact": True, "first_difference": None}
    assert validation_of(model.parent / "out") == expected
    assert not (model.parent / "out" / "build").exists()


@needs_board
def test_other_bytes_end_with_5_and_write_nothing(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_reference(monkeypatch)
    result = compile_it(model)
    assert result.exit_code == 5 and not (model.parent / "out").exists()
    assert "c gives other bytes than int8: image 0" in result.output and "--no-check" in result.output


@needs_board
def test_without_the_check_the_folder_is_written(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wrong_reference(monkeypatch)
    assert compile_it(model, "--no-check").exit_code == 0
    assert validation_of(model.parent / "out")["bit_exact"] is None


@needs_board
def test_without_an_emulator_the_host_is_checked(model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    own = engines.run_engine

    def no_emulator(folder: Path, engine: str, *rest: object, **options: object) -> RunResult:
        if engine == "qemu":
            raise ToolMissingError("qemu-system-arm is not on PATH; install it")
        return own(folder, engine, *rest, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(engines, "run_engine", no_emulator)
    result = compile_it(model)
    assert result.exit_code == 0 and "not checked on qemu: qemu-system-arm is not on PATH" in result.output
    assert validation_of(model.parent / "out")["engine"] == "c"


@needs_board
def test_the_module_call_checks_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    module, images = torch.nn.Conv2d(1, 2, 3), torch.rand(2, 1, 8, 8)
    compiled = rnnpool_mcu.compile(module.eval(), images[:1], images, ram="32k", out=tmp_path / "out")
    assert compiled.report["validation"]["engine"] == "c+qemu"
    wrong_reference(monkeypatch)
    with pytest.raises(ValidationError, match="gives other bytes than int8"):
        rnnpool_mcu.compile(module.eval(), images[:1], images, ram="32k", out=tmp_path / "other")
    assert not (tmp_path / "other").exists()
    rnnpool_mcu.compile(module.eval(), images[:1], images, ram="32k", out=tmp_path / "other", check=False)
