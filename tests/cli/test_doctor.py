"""doctor tells what is there, and how to get what is not."""

from __future__ import annotations

import importlib.metadata
import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner

from rnnpool_mcu.cli import main
from rnnpool_mcu.cli.doctor_command import _newlib

installed_version = importlib.metadata.version


@pytest.fixture
def no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    """torch is not installed, everything else is what it is."""

    def version(name: str) -> str:
        if name == "torch":
            raise importlib.metadata.PackageNotFoundError(name)
        return installed_version(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


@pytest.mark.usefixtures("no_torch")
def test_a_missing_package_comes_with_its_extra(tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["doctor", "--json", str(tmp_path / "doctor.json")])
    assert "missing (optional): pip install 'rnnpool-mcu[torch]'" in " ".join(done.stdout.split())
    assert "torch" not in done.stderr  # other formats do without
    value = json.loads((tmp_path / "doctor.json").read_text(encoding="utf-8"))
    found = {finding["name"]: finding for finding in value["findings"]}
    assert found["torch"]["version"] is None and not found["torch"]["needed"]
    assert {"onnx", "onnxruntime", "ai-edge-litert"} <= {n for n, f in found.items() if not f["needed"]}
    assert {"make", "arm-none-eabi-objdump", "newlib"} <= {n for n, f in found.items() if f["needed"]}


@pytest.mark.skipif(shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed")
def test_a_compiler_without_its_c_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = _newlib()
    assert found.version is not None and found.version[0].isdigit()
    compiler = tmp_path / "arm-none-eabi-gcc"
    compiler.write_text(f'#!/bin/sh\nexec {shutil.which(compiler.name)} -nostdinc "$@"\n', encoding="utf-8")
    compiler.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert _newlib().version is None


def test_without_make_nothing_can_be_built(monkeypatch: pytest.MonkeyPatch) -> None:
    which = shutil.which
    monkeypatch.setattr(shutil, "which", lambda name: None if name == "make" else which(name))
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 6 and "make" in done.stderr.split(";")[0]


def test_a_tool_that_is_not_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 6
    assert "missing: apt-get install qemu-system-arm" in done.stdout
    assert "missing (optional): apt-get install clang" in done.stdout
