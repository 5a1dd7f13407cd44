"""`rnnpool_mcu.compile` compares the module with its integers over the calibration inputs."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

from torch import nn  # noqa: E402

import rnnpool_mcu  # noqa: E402
from rnnpool_mcu.errors import ModelError  # noqa: E402
from tests.torch_models import Lambda  # noqa: E402

EXAMPLE = torch.zeros(1, 3, 12, 10)


def _inputs() -> torch.Tensor:
    return torch.rand(6, 3, 12, 10, generator=torch.Generator().manual_seed(1))


def _loud(factor: float) -> nn.Module:
    """A channel beside one `factor` times as loud in one tensor, of which the quiet one is the output."""
    both, quiet = nn.Conv2d(3, 2, 1, bias=False), nn.Conv2d(2, 1, 1, bias=False)
    both.weight.data = torch.tensor([[1.0, 0, 0], [0, factor, 0]]).reshape(2, 3, 1, 1)
    quiet.weight.data = torch.tensor([[1.0, 0]]).reshape(1, 2, 1, 1)
    return nn.Sequential(both, quiet).eval()


def test_the_report_has_the_figures_in_the_modules_order(tmp_path: Path) -> None:
    torch.manual_seed(0)
    convs = {"a": nn.Conv2d(3, 4, 3), "b": nn.Conv2d(3, 2, 1)}
    module = Lambda(lambda m, x: (m.b(x).permute(0, 2, 3, 1), m.a(x).flatten(1)), **convs).eval()
    warnings: list[str] = []
    compiled = rnnpool_mcu.compile(module, EXAMPLE, _inputs(), out=tmp_path / "out", warn=warnings.append)
    found = compiled.report["agreement"]
    assert found["runtime"].startswith("torch") and found["inputs"] == 6
    assert [output["cosine"] > 0.999 for output in found["outputs"]] == [True, True]
    assert not any(text.startswith("warning") for text in warnings)


def test_another_model_in_integers_is_an_error_unless_accepted(tmp_path: Path) -> None:
    arguments = (_loud(10_000.0), EXAMPLE, _inputs())
    with pytest.raises(ModelError, match=r"cosine similarity of 0\.0.*--accept-loss"):
        rnnpool_mcu.compile(*arguments, out=tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ModelError, match="cosine similarity"):
        rnnpool_mcu.quantize_module(*arguments)
    warnings: list[str] = []
    made = rnnpool_mcu.compile(*arguments, out=tmp_path / "out", accept_loss=True, warn=warnings.append)
    assert made.report["agreement"]["first_bad_layer"] is not None
    assert any(text.startswith("warning: model: output") for text in warnings)
