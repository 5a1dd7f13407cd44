"""doctor tells what is there, and how to get what is not."""

from __future__ import annotations

import importlib.metadata
import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from rnnpool_mcu.cli import main

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
    assert done.exit_code == 6
    assert "pip install 'rnnpool-mcu[torch]'" in done.stdout
    assert done.stderr.startswith("error: not installed: ") and "torch" in done.stderr
    value = json.loads((tmp_path / "doctor.json").read_text(encoding="utf-8"))
    assert value["ok"] is False
    assert {finding["name"]: finding["version"] for finding in value["findings"]}["torch"] is None


def test_a_tool_that_is_not_on_the_path(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = CliRunner().invoke(main, ["doctor"])
    assert done.exit_code == 6
    assert "missing: apt-get install qemu-system-arm" in done.stdout
    assert "missing (optional): apt-get install clang" in done.stdout
