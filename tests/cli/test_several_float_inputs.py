"""`validate --source` on float files of several inputs: real values in the file's shapes, or random bytes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from torch import Tensor, nn  # noqa: E402

from rnnpool_mcu.cli import main  # noqa: E402
from tests.onnx_models import Builder  # noqa: E402

SHAPES = ((3, 6, 5), (4, 3, 5))
"""Of the inputs, channels first; no two sides say which is which."""


class _Both(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.first, self.second = nn.Conv2d(3, 4, 3, stride=(2, 1), padding=1), nn.Conv2d(4, 4, 1)

    def forward(self, picture: Tensor, other: Tensor) -> Tensor:
        return torch.relu(self.first(picture)) + self.second(other)


def _pt2(path: Path) -> list[str]:
    example = tuple(torch.zeros(1, *shape) for shape in SHAPES)
    torch.export.save(torch.export.export(_Both().eval(), example), path)
    return ["picture", "other"]


def _onnx(path: Path) -> list[str]:
    b = Builder(2)
    first = b.relu(b.conv(b.input(1, *SHAPES[0]), 3, 4, strides=[2, 1]))
    second = b.conv(b.input(1, *SHAPES[1]), 4, 4, 1)
    path.write_bytes(b.finish(b.node("Add", first, second)).SerializeToString())
    return ["image", "image_1"]


FILES = {"net.pt2": _pt2, "net.onnx": _onnx}


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def _values(names: list[str]) -> dict[str, NDArray[np.float32]]:
    rng = np.random.default_rng(5)
    return {
        name: rng.normal(0, 1, (12, *shape)).astype(np.float32)
        for name, shape in zip(names, SHAPES, strict=True)
    }


@pytest.fixture(scope="module", params=FILES)
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Any]:
    folder = tmp_path_factory.mktemp("several")
    path = folder / request.param
    names = FILES[request.param](path)
    np.savez(folder / "typical.npz", **_values(names))  # type: ignore[arg-type]
    done = _run(
        "compile", path, "--calibration", folder / "typical.npz", "--ram", "64k", "-o", folder / "out"
    )
    assert done.exit_code == 0, done.output
    return path, names


def _cosine(*options: object, path: Path) -> float:
    result = path.parent / "v.json"
    out = path.parent / "out"
    done = _run("validate", out, "--source", path, "--engine", "c", "--count", 6, "--json", result, *options)
    assert done.exit_code == 0, done.output
    return float(json.loads(result.read_text())["float"]["outputs"][0]["cosine"])


def test_quantization_is_compared_with_the_float_file(compiled: tuple[Path, Any]) -> None:
    report = json.loads((compiled[0].parent / "out" / "report.json").read_text())
    assert report["agreement"]["outputs"][0]["cosine"] > 0.99


def test_validate_compares_over_values_that_are_given(compiled: tuple[Path, Any]) -> None:
    path, _ = compiled
    assert _cosine("--images", path.parent / "typical.npz", path=path) > 0.99
    assert _cosine(path=path) > 0.99  # random bytes


def test_another_model_does_not_agree(compiled: tuple[Path, Any], tmp_path: Path) -> None:
    path, _ = compiled
    other = tmp_path / path.name
    torch.manual_seed(0)
    if path.suffix == ".pt2":
        module = _Both().eval()
        module.first.weight.data.neg_()
        torch.export.save(
            torch.export.export(module, tuple(torch.zeros(1, *shape) for shape in SHAPES)), other
        )
    else:
        b = Builder(9)
        first = b.relu(b.conv(b.input(1, *SHAPES[0]), 3, 4, strides=[2, 1]))
        total = b.node("Add", first, b.conv(b.input(1, *SHAPES[1]), 4, 4, 1))
        other.write_bytes(b.finish(total).SerializeToString())
    done = _run("validate", path.parent / "out", "--source", other, "--engine", "c", "--count", 6)
    assert done.exit_code == 5 and "cosine similarity" in done.stderr, done.output


def test_values_in_another_order_of_axes_are_refused(compiled: tuple[Path, Any], tmp_path: Path) -> None:
    path, names = compiled
    turned = {name: values.transpose(0, 2, 3, 1) for name, values in _values(names).items()}
    np.savez(tmp_path / "turned.npz", **turned)  # type: ignore[arg-type]
    done = _run("validate", path.parent / "out", "--images", tmp_path / "turned.npz", "--engine", "c")
    words = " ".join(done.output.split())
    assert done.exit_code == 2 and "allowed: [N, 6, 5, 3] of uint8, or [N, 3, 6, 5] of real values" in words


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda values: np.where(np.arange(5) == 3, np.nan, values), "input 0 holds NaN or infinity"),
        (lambda values: values[:, :, :-1], "allowed: floats of"),
        (lambda values: values[:-1], "as many rows of each"),
        (lambda values: values.astype(np.int64), "allowed: floats of"),
    ],
)
def test_calibration_that_does_not_fit_is_named(change: Any, words: str, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    values = _values(_onnx(path))
    values["image_1"] = change(values["image_1"])
    np.savez(tmp_path / "typical.npz", **values)  # type: ignore[arg-type]
    arguments = ("--calibration", tmp_path / "typical.npz", "--ram", "64k", "-o", tmp_path / "out")
    done = _run("compile", path, *arguments)
    assert done.exit_code == 2 and words in " ".join(done.stderr.split()), done.output
