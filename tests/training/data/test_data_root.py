"""Where data sets are looked for when no folder is given: where the environment says, and nowhere else."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")

from rnnpool_mcu.cli import main
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training import default_data_root
from rnnpool_mcu.zoo.random_weights import random_checkpoint


def test_the_environment_names_the_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RNNPOOL_MCU_DATA", str(tmp_path))
    assert default_data_root() == tmp_path
    monkeypatch.setenv("RNNPOOL_MCU_DATA", str(tmp_path / "gone"))
    with pytest.raises(UsageError, match=r"no data folder .*gone, which RNNPOOL_MCU_DATA names"):
        default_data_root()
    monkeypatch.delenv("RNNPOOL_MCU_DATA")
    with pytest.raises(UsageError, match="no data folder: give --data DIR, or set RNNPOOL_MCU_DATA"):
        default_data_root()


def test_commands_say_what_to_give(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RNNPOOL_MCU_DATA", raising=False)
    model = random_checkpoint("face-m4", tmp_path / "face.pt", hidden=4)
    for arguments in (
        ["train", "face-m4", "--steps", "1", "-o", str(tmp_path / "run")],
        ["evaluate", str(model), "--engine", "torch"],
        ["quantize", str(model), "--split", "part_b_train", "-o", str(tmp_path / "q.pt")],
    ):
        done = CliRunner().invoke(main, arguments)
        assert done.exit_code == 2 and "no data folder: give --data DIR" in done.stderr
    assert not (tmp_path / "run").exists() and not (tmp_path / "q.pt").exists()
