"""What `make` failed for: the sources, or a folder that cannot be written to."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.system import tools

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def broken(tmp_path: Path) -> Path:
    (tmp_path / "Makefile").write_text("done:\nelf:\n\t@echo no such row; false\n", encoding="utf-8")
    return tmp_path


def test_a_failure_shows_the_log(broken: Path) -> None:
    with pytest.raises(tools.BuildError, match="no such row"):
        tools.make(broken, "elf", {}, compiler="make")


def test_a_folder_that_cannot_be_written_to_is_named(broken: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode, **_: path != broken or mode != os.W_OK)
    with pytest.raises(UsageError, match="cannot be written to"):
        tools.make(broken, "elf", {}, compiler="make")
    tools.make(broken, "done", {}, compiler="make")  # built before: nothing has to be written
