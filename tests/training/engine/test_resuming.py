"""What a resumed training goes on with, refuses, and makes up for."""

from __future__ import annotations

import copy
import csv
import shutil
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from rnnpool_mcu.errors import UsageError  # noqa: E402
from rnnpool_mcu.quantize.post_training import quantize_model  # noqa: E402
from rnnpool_mcu.training import train  # noqa: E402
from rnnpool_mcu.training.detection import trainer as loop  # noqa: E402
from rnnpool_mcu.training.detection.recipe import Phase  # noqa: E402
from rnnpool_mcu.zoo.checkpoint import RGB_PREPROCESSING, load_checkpoint, save_checkpoint  # noqa: E402
from rnnpool_mcu.zoo.random_weights import random_checkpoint, random_model  # noqa: E402
from tests.detection_training import tiny_train  # noqa: E402

SIZE = {"height": 96, "width": 128, "hidden": 4}


def change_state(path: Path, **changes: Any) -> None:
    """Give a last.pt other values; None takes one out."""
    state = torch.load(path, weights_only=True) | changes
    torch.save({name: value for name, value in state.items() if value is not None}, path)


def qat_train(data: Path, out: Path, initial: Path, **changes: Any) -> dict[str, Any]:
    settings = {"steps": 1, "qat": True, "config": SIZE, "initial": str(initial), "evaluations": 1,
                "phases": (Phase(1.0, 96, 128, 2, 0.8, 1.2, 0.3),), "quiet": True, **changes}  # fmt: skip
    return train("face-quant", out, data, **settings)


def quantized(path: Path, model: torch.nn.Module, ranges: dict[str, tuple[float, int]]) -> Path:
    save_checkpoint(path, model, "face-quant", SIZE, RGB_PREPROCESSING, ["face"], {}, ranges)
    return path


class FloatInPlace(torch.nn.Module):
    """Stands in for the detector on int8 grids, whose export takes long."""

    def __init__(self, detector: Any, _calibration: object) -> None:
        super().__init__()
        self.detector = copy.deepcopy(detector)

    def forward(self, x: torch.Tensor) -> Any:
        return self.detector(x)

    def float_state(self) -> dict[str, torch.Tensor]:
        return self.detector.state_dict()


def test_a_resumed_qat_keeps_its_ranges(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.Trainer, "evaluate", lambda _self: 0.0)
    monkeypatch.setattr(loop, "AwareDetector", FloatInPlace)
    model, out = random_model("face-quant", **SIZE), tmp_path / "run"
    first = quantized(tmp_path / "first.pt", model, {"x": (0.5, 1)})
    other = quantized(tmp_path / "other.pt", model, {"x": (0.5, 2)})
    qat_train(tiny_data, out, first)
    with pytest.raises(UsageError, match=r"not trained with the activation ranges \(--init\) given now"):
        qat_train(tiny_data, out, other, steps=2, resume=True)
    with pytest.raises(UsageError, match="trained with qat True, not False"):
        qat_train(tiny_data, out, first, steps=2, resume=True, qat=False)
    assert qat_train(tiny_data, out, first, steps=2, resume=True)["steps"] == 2


@pytest.mark.slow
def test_a_quantization_aware_training_goes_on(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop.Trainer, "evaluate", lambda _self: 0.0)
    model, out = random_model("face-quant", **SIZE), tmp_path / "run"
    ranges = quantize_model(model, (96, 128, 3), [torch.rand(1, 3, 96, 128)]).calibration
    first = quantized(tmp_path / "first.pt", model, ranges)
    qat_train(tiny_data, out, first)
    before = torch.load(out / "last.pt", weights_only=True)
    assert qat_train(tiny_data, out, first, steps=2, resume=True)["steps"] == 2
    after = torch.load(out / "last.pt", weights_only=True)
    assert after["model"].keys() == before["model"].keys() and after["calibration"] == ranges


def test_qat_trains_on_the_cpu_only(tiny_data: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"--qat: .* on the CPU; leave --device cuda out"):
        qat_train(tiny_data, tmp_path, tmp_path / "first.pt", device="cuda")


def test_the_teacher_stays_the_same(tiny_data: Path, tmp_path: Path) -> None:
    teacher = random_checkpoint("face-m4", tmp_path / "teacher.pt", hidden=8)
    moved = shutil.copy(teacher, tmp_path / "moved.pt")
    other = random_checkpoint("face-m4", tmp_path / "other.pt", seed=1, hidden=8)
    out = tmp_path / "run"
    tiny_train(tiny_data, out, teacher=str(teacher), steps=1, evaluations=1)
    for wrong in (str(other), None):
        with pytest.raises(UsageError, match=r"not trained with the teacher \(--teacher\) given now"):
            tiny_train(tiny_data, out, teacher=wrong, steps=2, resume=True)
    tiny_train(tiny_data, out, teacher=str(moved), steps=2, evaluations=1, resume=True)
    change_state(out / "last.pt", teacher=None)
    with pytest.raises(UsageError, match="not trained with the teacher"):
        tiny_train(tiny_data, out, steps=3, resume=True)


def test_what_earlier_releases_saved_is_resumed(tiny_data: Path, tmp_path: Path) -> None:
    tiny_train(tiny_data, tmp_path, steps=1, evaluations=1)
    recipe = torch.load(tmp_path / "last.pt", weights_only=True)["recipe"]
    del recipe["qat"]
    change_state(tmp_path / "last.pt", recipe=recipe, calibration=None, teacher=None, validated=None)
    assert tiny_train(tiny_data, tmp_path, steps=2, evaluations=1, resume=True)["steps"] == 2


def test_a_training_resumed_at_its_end_is_validated(tiny_data: Path, tmp_path: Path) -> None:
    """The run is killed in its only validation, and resumed when nothing is left to train."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop, "evaluate_detector", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            tiny_train(tiny_data, tmp_path, saves=6, evaluations=1)
    assert not (tmp_path / "best.pt").exists()
    result = tiny_train(tiny_data, tmp_path, steps=5, evaluations=1, resume=True)
    assert result["steps"] == 5 and result["ap50"] >= 0
    assert load_checkpoint(tmp_path / "best.pt").metrics["step"] == 5
    assert tiny_train(tiny_data, tmp_path, steps=5, evaluations=1, resume=True)["ap50"] == result["ap50"]
    with (tmp_path / "log.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["5"]  # not once more
