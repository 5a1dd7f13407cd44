"""`quantize` stores ranges in a checkpoint; `evaluate --engine int8` reads them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

pytest.importorskip("torch")
pytest.importorskip("torchao")

from rnnpool_mcu.cli import main
from rnnpool_mcu.zoo.checkpoint import GRAY_PREPROCESSING, load_checkpoint, save_checkpoint
from tests.torch_models import face_m4


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "face.pt"
    save_checkpoint(path, face_m4(4), "face-m4", {"hidden": 4}, GRAY_PREPROCESSING, ["face"], {"ap50": 0.5})
    return path


def test_ranges_are_stored_and_all_else_is_kept(model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "quantized.pt"
    result = CliRunner().invoke(
        main, ["quantize", str(model), "--calibration", str(photos), "-o", str(out), "--json", "-"]
    )
    assert result.exit_code == 0, result.output
    assert json.loads(result.stdout)["images"] == 2
    before, after = load_checkpoint(model), load_checkpoint(out)
    assert before.calibration is None
    assert after.calibration is not None and len(after.calibration) == json.loads(result.stdout)["values"]
    assert after.metrics == {"ap50": 0.5} and after.labels == ["face"]
    weights = after.model.state_dict()
    assert all((value == weights[name]).all() for name, value in before.model.state_dict().items())


@pytest.mark.parametrize("source", [[], ["--calibration", ".", "--split", "part_b_train"]])
def test_exactly_one_source_of_images(model: Path, tmp_path: Path, source: list[str]) -> None:
    out = tmp_path / "out.pt"
    result = CliRunner().invoke(main, ["quantize", str(model), "-o", str(out), *source])
    assert result.exit_code == 2 and "either --calibration" in result.output
    assert not out.exists()


def test_the_report_names_each_layer_and_the_first_bad_one(model: Path, photos: Path, tmp_path: Path) -> None:
    out = tmp_path / "quantized.pt"
    command = ["quantize", str(model), "--calibration", str(photos), "-o", str(out), "--report"]
    result = CliRunner().invoke(main, [*command, "--json", "-"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    rows = {row["name"]: row for row in found["layers"]}
    assert rows["pool"]["operator"] == "RnnPool" and rows["stem"]["lost_db"] == 0.0
    bad = [row["name"] for row in found["layers"] if row["sqnr_db"] is not None and row["sqnr_db"] < 10]
    assert found["first_bad"] == (bad[0] if bad else None)
    assert max(row["max_steps"] for row in rows.values()) <= 2
    shown = CliRunner().invoke(main, command).output
    assert "pool" in shown and "10 dB" in shown
