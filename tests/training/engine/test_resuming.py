"""What a resumed training of any task goes on with, refuses, and makes up for."""

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
from rnnpool_mcu.training import task_of, train  # noqa: E402
from rnnpool_mcu.training.detection.recipe import Phase  # noqa: E402
from rnnpool_mcu.training.engine import student  # noqa: E402
from rnnpool_mcu.training.engine.task import Score  # noqa: E402
from rnnpool_mcu.zoo import create  # noqa: E402
from rnnpool_mcu.zoo.checkpoint import RGB_PREPROCESSING, load_checkpoint, save_checkpoint  # noqa: E402
from rnnpool_mcu.zoo.random_weights import random_model  # noqa: E402
from tests.training.tiny_tasks import TinyTask  # noqa: E402

SIZE = {"height": 96, "width": 128, "hidden": 4}


def interrupt_evaluation(patch: pytest.MonkeyPatch, task: TinyTask, first: int) -> None:
    """Let the run be killed in its validation number `first` (from 0)."""
    kind, seen = task_of(create(task.arch, **task.config)), [0]
    evaluate = kind.evaluate

    def stop(self: Any, model: Any) -> Score:
        seen[0] += 1
        if seen[0] > first:
            raise KeyboardInterrupt
        return evaluate(self, model)

    patch.setattr(kind, "evaluate", stop)


def change_state(path: Path, **changes: Any) -> None:
    """Give a last.pt other values; None takes one out."""
    state = torch.load(path, weights_only=True) | changes
    torch.save({name: value for name, value in state.items() if value is not None}, path)


def same(a: Any, b: Any) -> bool:
    """Whether two saved values are equal to the last bit."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(value, b[key]) for key, value in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    return bool(a == b)


@pytest.mark.parametrize("option", ["plain", "rnn_density", "teacher", "workers"])
def test_a_killed_run_ends_with_the_bytes_of_one_that_was_not(
    task: TinyTask, option: str, tmp_path: Path
) -> None:
    wider = task.checkpoint(tmp_path / "teacher.pt", hidden=8) if option == "teacher" else None
    settings = {
        "plain": {}, "rnn_density": {"rnn_density": (0.5, 0.3)}, "teacher": {"teacher": str(wider)},
        "workers": {"workers": 2},
    }[option]  # fmt: skip
    task.train(tmp_path / "a", **settings)
    with pytest.MonkeyPatch.context() as patch:
        interrupt_evaluation(patch, task, first=1)
        with pytest.raises(KeyboardInterrupt):
            task.train(tmp_path / "b", **settings)
    assert torch.load(tmp_path / "b" / "last.pt", weights_only=True)["step"] == 5
    task.train(tmp_path / "b", resume=True, **settings)
    whole, resumed = (torch.load(tmp_path / run / "last.pt", weights_only=True) for run in "ab")
    for key in ("model", "ema", "optimizer", "step", "best"):
        assert same(whole[key], resumed[key]), f"{key} differs after resuming"
    whole, resumed = (load_checkpoint(tmp_path / run / "best.pt") for run in "ab")
    assert same(whole.model.state_dict(), resumed.model.state_dict())


class FloatInPlace(torch.nn.Module):
    """Stands in for the model on int8 grids, whose export takes long."""

    def __init__(self, model: Any, _size: object, _calibration: object) -> None:
        super().__init__()
        self.model = copy.deepcopy(model)

    def forward(self, x: torch.Tensor) -> Any:
        return self.model(x)

    def float_state(self) -> dict[str, torch.Tensor]:
        return self.model.state_dict()


def test_a_resumed_qat_keeps_its_ranges(
    task: TinyTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(student, "QatModule", FloatInPlace)
    out = tmp_path / "run"
    first = task.checkpoint(tmp_path / "first.pt", {"x": (0.5, 1)})
    other = task.checkpoint(tmp_path / "other.pt", {"x": (0.5, 2)})
    task.train(out, qat=True, initial=str(first), steps=1, evaluations=1)
    assert load_checkpoint(out / "best.pt").calibration == {"x": (0.5, 1)}
    with pytest.raises(UsageError, match=r"not trained with the activation ranges \(--init\) given now"):
        task.train(out, qat=True, initial=str(other), steps=2, resume=True)
    with pytest.raises(UsageError, match="trained with qat True, not False"):
        task.train(out, initial=str(first), steps=2, resume=True)
    assert task.train(out, qat=True, initial=str(first), steps=2, resume=True)["steps"] == 2


def quantized(path: Path, arch: str, labels: list[str], **config: Any) -> Path:
    """Random weights with their own activation ranges."""
    model = random_model(arch, **config)
    height, width, channels = model.input_size
    ranges = quantize_model(model, model.input_size, [torch.rand(1, channels, height, width)]).calibration
    save_checkpoint(path, model, arch, config, RGB_PREPROCESSING, labels, {}, ranges)
    return path


def check_goes_on(out: Path, first: Path, *arguments: Any, **settings: Any) -> None:
    """One quantization-aware step, and one more after resuming."""
    settings |= {"initial": str(first), "qat": True, "evaluations": 1, "quiet": True}
    train(*arguments, steps=1, **settings)
    before = torch.load(out / "last.pt", weights_only=True)
    assert train(*arguments, steps=2, resume=True, **settings)["steps"] == 2
    after = torch.load(out / "last.pt", weights_only=True)
    assert after["model"].keys() == before["model"].keys()
    assert after["calibration"] == load_checkpoint(first).calibration
    assert any(not torch.equal(after["ema"][name], value) for name, value in before["ema"].items())


@pytest.mark.slow
def test_a_quantization_aware_detector_goes_on(
    tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = task_of(create("face-quant", **SIZE))
    monkeypatch.setattr(kind, "evaluate", lambda *_: Score(0.0, 1))
    first, out = quantized(tmp_path / "first.pt", "face-quant", ["face"], **SIZE), tmp_path / "run"
    phases = (Phase(1.0, 96, 128, 2, 0.8, 1.2, 0.3),)
    check_goes_on(out, first, "face-quant", out, tiny_data, config=SIZE, phases=phases)


@pytest.mark.slow
def test_a_quantization_aware_classifier_goes_on(tiny_classes: Path, tmp_path: Path) -> None:
    config = {"num_classes": 2, "resolution": 8, "hidden": 4}
    first, out = quantized(tmp_path / "first.pt", "one-shot-pooling", [], **config), tmp_path / "run"
    check_goes_on(out, first, "one-shot-pooling", out, tiny_classes, config=config, batch=8)
    assert load_checkpoint(out / "best.pt").calibration == load_checkpoint(first).calibration


def test_qat_needs_ranges_and_the_cpu(task: TinyTask, tmp_path: Path) -> None:
    first = task.checkpoint(tmp_path / "first.pt")
    with pytest.raises(UsageError, match=r"--qat: .* on the CPU; leave --device cuda out"):
        task.train(tmp_path / "run", qat=True, initial=str(first), device="cuda")
    with pytest.raises(UsageError, match=r"--qat: .*first\.pt holds no activation ranges"):
        task.train(tmp_path / "run", qat=True, initial=str(first))
    with pytest.raises(UsageError, match="goes on from a trained checkpoint; name it with --init"):
        task.train(tmp_path / "run", qat=True)


def test_the_teacher_stays_the_same(task: TinyTask, tmp_path: Path) -> None:
    teacher = task.checkpoint(tmp_path / "teacher.pt", hidden=8)
    moved = shutil.copy(teacher, tmp_path / "moved.pt")
    other = task.checkpoint(tmp_path / "other.pt", seed=1, hidden=8)
    out = tmp_path / "run"
    task.train(out, teacher=str(teacher), steps=1, evaluations=1)
    for wrong in (str(other), None):
        with pytest.raises(UsageError, match=r"not trained with the teacher \(--teacher\) given now"):
            task.train(out, teacher=wrong, steps=2, resume=True)
    task.train(out, teacher=str(moved), steps=2, evaluations=1, resume=True)
    change_state(out / "last.pt", teacher=None)
    with pytest.raises(UsageError, match="not trained with the teacher"):
        task.train(out, steps=3, resume=True)


SETTINGS_SINCE = {
    "detection": {"qat", "least_rate"},
    "classification": {
        "least_rate", "processes", "initial", "qat", "teacher", "teacher_weight", "rnn_density", "workers",
    },
}  # fmt: skip
"""What recipes of earlier releases had not."""


def test_what_earlier_releases_saved_is_resumed(task: TinyTask, tmp_path: Path) -> None:
    task.train(tmp_path, steps=1, evaluations=1)
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    recipe = {name: v for name, v in state["recipe"].items() if name not in SETTINGS_SINCE[task.name]}
    best = {"best_ap50": 0.75, "best": None} if task.name == "detection" else {"best": 0.75}
    change_state(tmp_path / "last.pt", recipe=recipe, calibration=None, teacher=None, validated=None, **best)
    with pytest.raises(UsageError, match=r"trained with rnn_density None, not \(0\.5, 0\.3\)"):
        task.train(tmp_path, steps=2, resume=True, rnn_density=(0.5, 0.3))
    result = task.train(tmp_path, steps=2, evaluations=1, resume=True)
    assert result["steps"] == 2 and result[task.metric] >= 0.75


def test_a_training_resumed_at_its_end_is_validated(task: TinyTask, tmp_path: Path) -> None:
    """The run is killed in its only validation, and resumed when nothing is left to train."""
    with pytest.MonkeyPatch.context() as patch:
        interrupt_evaluation(patch, task, first=0)
        with pytest.raises(KeyboardInterrupt):
            task.train(tmp_path, saves=6, evaluations=1)
    assert not (tmp_path / "best.pt").exists()
    result = task.train(tmp_path, steps=5, evaluations=1, resume=True)
    assert result["steps"] == 5 and result[task.metric] >= 0
    metrics = load_checkpoint(tmp_path / "best.pt").metrics
    assert metrics["step"] == 5 and metrics[f"val_{task.metric}"] == result[task.metric]
    again = task.train(tmp_path, steps=5, evaluations=1, resume=True)
    assert again[task.metric] == result[task.metric]
    with (tmp_path / "log.csv").open() as file:
        assert [row["step"] for row in csv.DictReader(file)] == ["5"]  # not once more
