"""`.pt2` files on the command line: quantized with pictures, analysed, refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

from torch import nn  # noqa: E402

from rnnpool_mcu.cli import main  # noqa: E402
from rnnpool_mcu.errors import ModelError, UsageError  # noqa: E402


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A float program."""
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 4, 3, 2), nn.ReLU(), nn.Flatten(), nn.Linear(4 * 7 * 7, 2)).eval()
    path = tmp_path / "net.pt2"
    torch.export.save(torch.export.export(module, (torch.zeros(1, 3, 16, 16),)), path)
    return path


def test_a_float_file_is_quantized_once_and_analysed_without_pictures(
    model: Path, photos: Path, tmp_path: Path
) -> None:
    int8 = tmp_path / "int8.pt2"
    given = ["--calibration", str(photos), "--mean", "0.4,0.5,0.6", "--std", "0.25"]
    result = CliRunner().invoke(main, ["quantize", str(model), *given, "-o", str(int8), "--json", "-"])
    assert result.exit_code == 0, result.output
    found = json.loads(result.stdout)
    assert found["model"] == str(int8) and found["images"] == 2
    assert [output["cosine"] > 0.98 for output in found["agreement"]["outputs"]] == [True]
    result = CliRunner().invoke(main, ["analyze", str(int8), "--ram", "32k", "--json", "-"])
    assert result.exit_code == 0, result.output
    layers = json.loads(result.stdout)["layers"]
    assert layers[0]["operator"] == "depthwise_conv2d_s8"  # the normalisation
    assert [layer["name"] for layer in layers[1:]] == ["layer_0", "layer_3"]
    again = CliRunner().invoke(main, ["quantize", str(int8), *given[:2], "-o", str(tmp_path / "twice.pt2")])
    assert again.exit_code == UsageError.exit_code and "quantized already" in again.output


def test_a_float_file_without_pictures_is_refused(model: Path) -> None:
    result = CliRunner().invoke(main, ["analyze", str(model)])
    assert result.exit_code == UsageError.exit_code and "--calibration" in result.output


def test_another_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    torch.save({"weights": torch.zeros(3)}, path)
    result = CliRunner().invoke(main, ["analyze", str(path)])
    assert result.exit_code == ModelError.exit_code and "torch.export.save" in result.output


def test_open_sides_are_given_on_the_command_line(photos: Path, tmp_path: Path) -> None:
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()).eval()
    sides = {at: torch.export.Dim(name, min=8, max=64) for at, name in ((2, "height"), (3, "width"))}
    program = torch.export.export(module, (torch.rand(1, 3, 16, 12),), dynamic_shapes=(sides,))
    path = tmp_path / "net.pt2"
    torch.export.save(program, path)
    given = ["plan", str(path), "--calibration", str(photos)]
    refused = CliRunner().invoke(main, given)
    assert refused.exit_code == ModelError.exit_code and "give --input-shape" in refused.output
    planned = CliRunner().invoke(main, [*given, "--input-shape", "1,3,20,24"])
    assert planned.exit_code == 0 and "24x20x3" in planned.output, planned.output
