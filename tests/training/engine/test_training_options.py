"""Sparsity, a teacher, bfloat16, compilation, several processes: the options of a training."""

from __future__ import annotations

import csv
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from rnnpool_mcu.cli import main  # noqa: E402
from rnnpool_mcu.errors import ModelError, UsageError  # noqa: E402
from rnnpool_mcu.nn import L2Norm, RNNPool  # noqa: E402
from rnnpool_mcu.training.detection.recipe import Phase  # noqa: E402
from rnnpool_mcu.training.detection.task import DetectionTask  # noqa: E402
from rnnpool_mcu.training.engine import launch, student  # noqa: E402
from rnnpool_mcu.training.engine.batches import Batch, batch_stream  # noqa: E402
from rnnpool_mcu.training.engine.optimization import compile_around_rnnpool  # noqa: E402
from rnnpool_mcu.training.engine.sparsity import RAMP, Sparsity, kept_share  # noqa: E402
from rnnpool_mcu.zoo import create  # noqa: E402
from rnnpool_mcu.zoo.checkpoint import load_checkpoint, save_checkpoint  # noqa: E402
from rnnpool_mcu.zoo.random_weights import random_checkpoint  # noqa: E402
from tests.training.detection_training import tiny_train  # noqa: E402
from tests.training.tiny_tasks import TinyTask  # noqa: E402


def zeros(model: Any, name: str) -> int:
    return int((model.state_dict()[name] == 0).sum())


def test_rnn_weights_become_sparse_and_stay_so(task: TinyTask, tmp_path: Path) -> None:
    result = task.train(tmp_path, steps=10, evaluations=5, rnn_density=(0.5, 0.3))
    model = load_checkpoint(result["best"]).model
    assert zeros(model, "pool.rnn1.W") == model.pool.rnn1.W.numel() // 2
    assert zeros(model, "pool.rnn1.U") == zeros(model, "pool.rnn2.U") == 11  # of 4 x 4
    assert load_checkpoint(result["best"]).metrics["step"] >= RAMP[1] * 10
    state = torch.load(tmp_path / "last.pt", weights_only=True)
    assert state["model"].keys() == state["ema"].keys() == model.state_dict().keys()
    before = state["model"]["pool.rnn1.U"] == 0
    task.train(tmp_path, steps=14, evaluations=1, rnn_density=(0.5, 0.3), resume=True)
    after = torch.load(tmp_path / "last.pt", weights_only=True)["model"]["pool.rnn1.U"] == 0
    assert torch.equal(before, after)


def test_the_share_of_weights_falls_along_a_ramp_and_the_largest_stay() -> None:
    assert kept_share(0.0, 0.3) == kept_share(RAMP[0], 0.3) == 1.0
    assert kept_share(RAMP[1], 0.3) == kept_share(1.0, 0.3) == pytest.approx(0.3)
    shares = [kept_share(progress / 100, 0.3) for progress in range(101)]
    assert shares == sorted(shares, reverse=True)
    pool = RNNPool(4, 4, 4, patch=4, stride=4)
    whole = pool.rnn1.W.detach().clone()
    sparsity = Sparsity(pool, (0.5, 1.0))
    sparsity.apply(pool, pool, 0.0)
    assert torch.equal(pool.rnn1.W, whole) and not sparsity.settled
    sparsity.apply(pool, pool, 1.0)
    kept = pool.rnn1.W != 0
    assert int(kept.sum()) == 8 and whole[kept].abs().min() > whole[~kept].abs().max() and sparsity.settled
    assert int((pool.rnn1.U != 0).sum()) == 16
    with torch.no_grad():
        pool.rnn1.W.fill_(9.0)  # larger than those that stayed
    sparsity.apply(pool, pool, 1.0)
    assert torch.equal(pool.rnn1.W != 0, kept)
    with pytest.raises(UsageError, match=r"shares 0,0\.3 of RNNPool's weights"):
        Sparsity(pool, (0.0, 0.3))
    with pytest.raises(UsageError, match="no RNNPool"):
        Sparsity(torch.nn.Linear(2, 2), (0.5, 0.3))


def test_a_teacher_changes_what_is_learnt(task: TinyTask, tmp_path: Path) -> None:
    teacher = task.checkpoint(tmp_path / "teacher.pt", hidden=8)
    states = []
    for name, path in (("alone", None), ("taught", str(teacher))):
        task.train(tmp_path / name, teacher=path, steps=2, evaluations=1)
        states.append(torch.load(tmp_path / name / "last.pt", weights_only=True)["model"]["pool.rnn1.W"])
    assert not torch.equal(*states)


def test_a_teacher_of_another_task_is_refused(task: TinyTask, tmp_path: Path) -> None:
    other = {"detection": ("one-shot-pooling", {"resolution": 8}), "classification": ("face-m4", {})}
    arch, config = other[task.name]
    path = random_checkpoint(arch, tmp_path / "other.pt", hidden=4, **config)
    with pytest.raises(UsageError, match=f"{arch} is no {'det' if task.name == 'detection' else 'class'}"):
        task.train(tmp_path / "run", teacher=str(path))


def test_weights_of_init_are_where_the_training_begins(task: TinyTask, tmp_path: Path) -> None:
    initial, out = task.checkpoint(tmp_path / "first.pt", seed=3), tmp_path / "run"
    task.train(out, initial=str(initial), steps=1, evaluations=1, learning_rate=1e-9)
    before, after = (load_checkpoint(path) for path in (initial, out / "best.pt"))
    names = "pool.rnn1.W", "pool.rnn2.U"
    first, trained = ([loaded.model.state_dict()[name] for name in names] for loaded in (before, after))
    torch.testing.assert_close(trained, first)
    assert after.metrics["recipe"]["initial"] == "first.pt"  # its name; folders are nobody else's business


def test_weights_of_another_model_are_refused(task: TinyTask, tmp_path: Path) -> None:
    wider = task.checkpoint(tmp_path / "wider.pt", hidden=8)
    with pytest.raises(UsageError, match=rf"holds {task.arch} with \{{.*'hidden': 8.*not {task.arch} with"):
        task.train(tmp_path / "run", initial=str(wider))


@pytest.mark.parametrize("option", ["initial", "teacher"])
def test_weights_for_pixels_of_another_scale_are_refused(task: TinyTask, option: str, tmp_path: Path) -> None:
    loaded = load_checkpoint(task.checkpoint(tmp_path / "first.pt"))
    other = loaded.preprocessing | {"scale": 1, "mean": [127.0]}
    save_checkpoint(tmp_path / "c.pt", loaded.model, task.arch, loaded.config, other, loaded.labels)
    with pytest.raises(ModelError, match=r"preprocessing scale 1, mean \[127.0\]"):
        task.train(tmp_path / "run", **{option: str(tmp_path / "c.pt")})


def test_bfloat16_trains_and_leaves_float_weights(task: TinyTask, tmp_path: Path) -> None:
    result = task.train(tmp_path, amp=True)
    state = load_checkpoint(result["best"]).model.state_dict()
    assert all(value.dtype == torch.float32 for value in state.values() if value.is_floating_point())
    with (tmp_path / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    losses = [name for name in rows[0] if name.endswith("loss")]
    assert losses and all(float(row[name]) > 0 for row in rows for name in (*losses, "images_per_second"))


def test_rnnpool_stays_in_float32_under_autocast() -> None:
    pool, x = RNNPool(4, 8, 8, patch=8, stride=4), torch.rand(2, 4, 16, 16)
    with torch.autocast("cpu", torch.bfloat16):
        found = pool(x.bfloat16())
    assert found.dtype == torch.float32
    assert torch.equal(found, pool(x.bfloat16().float()))


def test_l2_norm_keeps_the_type_of_its_input_and_computes_in_that_of_its_weight() -> None:
    norm, x = L2Norm(4, 10.0), torch.rand(2, 4, 3, 3) + 0.5
    coarse = x.bfloat16().requires_grad_()
    found = norm(coarse)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, norm(x.bfloat16().float()).bfloat16())
    found.float().square().sum().backward()
    assert coarse.grad.dtype == torch.bfloat16 and norm.weight.grad.dtype == torch.float32
    assert norm(x.double()).dtype == torch.float64


def test_views_drawn_in_advance_are_the_same(task: TinyTask, tmp_path: Path) -> None:
    here, there = (task.train(tmp_path / str(n), steps=3, workers=n, evaluations=1) for n in (0, 2))
    assert here[task.metric] == there[task.metric]
    a, b = (torch.load(tmp_path / n / "last.pt", weights_only=True)["model"] for n in "02")
    assert all(torch.equal(a[name], b[name]) for name in a)


def test_a_stream_begins_where_the_training_stands() -> None:
    stream = batch_stream(lambda step, progress: (step, progress), 5, lambda step: step / 10, 0, pinned=False)  # type: ignore[arg-type,return-value]
    assert [next(stream) for _ in range(2)] == [(5, 0.5), (6, 0.6)]


def test_one_image_of_a_batch() -> None:
    batch = Batch(torch.rand(3, 1, 4, 4), {"label": torch.tensor([5, 6, 7])}, ("a", "b", "c"))
    one = batch.alone(1)
    assert one.images == ("b",) and torch.equal(one.x, batch.x[1:2])
    assert one.targets["label"].tolist() == [6]


def test_devices(tiny_data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert launch.choose_device("auto") == launch.choose_device("cpu") == "cpu"
    with pytest.raises(UsageError, match="no CUDA device here"):
        tiny_train(tiny_data, tmp_path, device="cuda")
    with pytest.raises(UsageError, match="device 'tpu' is not known"):
        launch.choose_device("tpu")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert launch.choose_device("auto") == "cuda"


def test_the_place_that_torchrun_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    assert launch.torchrun_place("cpu") is None and launch.process_count(3) == 3 and launch.is_first_process()
    for name, value in (("RANK", "3"), ("WORLD_SIZE", "4"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, value)
    place = launch.torchrun_place("cpu")
    assert place == launch.Place(torch.device("cpu"), 3, 1, 4) and not place.first
    assert launch.process_count(1) == launch.process_count(4) == 4 and not launch.is_first_process()
    with pytest.raises(UsageError, match="--processes 2 under torchrun with 4"):
        launch.process_count(2)


@pytest.mark.parametrize("clashing", [{"amp": True}, {"compile": True}, {"rnn_density": (0.5, 0.3)}])
def test_options_that_cannot_be_combined(task: TinyTask, clashing: dict[str, Any], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"--qat: cannot be combined with {next(iter(clashing))}"):
        task.train(tmp_path, qat=True, initial="first.pt", **clashing)


def test_shares_are_two_numbers(tiny_data: Path, tmp_path: Path) -> None:
    base = ["train", "face-m4", "--data", str(tiny_data), "-o", str(tmp_path / "run"), "--steps", "1"]
    done = CliRunner().invoke(main, [*base, "--rnn-density", "half"])
    assert done.exit_code == 2 and "'half': give two shares, e.g. 0.5,0.3" in done.output


def test_every_option_is_for_every_task(
    task: TinyTask, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All of the command's options reach the recipe, which any task's checkpoint then names."""
    monkeypatch.setattr(student, "compile_around_rnnpool", lambda _: None)  # takes long
    if task.name == "detection":  # as do large views
        few = {"phases": (Phase(1.0, 48, 64, 4, 0.8, 1.2, 0.3),), "validation_images": 2}
        monkeypatch.setattr(DetectionTask, "defaults", lambda *_: few)
    initial, teacher = task.checkpoint(tmp_path / "first.pt"), task.checkpoint(tmp_path / "t.pt", hidden=8)
    config = [f"{name}={value}" for name, value in task.config.items()]
    arguments = [
        "train", task.arch, "--data", task.data, "-o", tmp_path / "run", "--steps", 2, "--processes", 1,
        "--init", initial, "--teacher", teacher, "--rnn-density", "0.5,0.3", "--workers", 1, "--amp",
        "--compile", "--device", "cpu", "--seed", 7, *(part for one in config for part in ("--set", one)),
    ]  # fmt: skip
    done = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert done.exit_code == 0, done.output
    recipe = load_checkpoint(tmp_path / "run" / "best.pt").metrics["recipe"]
    wanted = {
        "initial": "first.pt", "teacher": "t.pt", "rnn_density": (0.5, 0.3), "workers": 1, "amp": True,
        "compile": True, "seed": 7, "steps": 2, "processes": 1, "config": task.config,
    }  # fmt: skip
    assert {name: recipe[name] for name in wanted} == wanted


@pytest.mark.slow
def test_several_processes_train_alike_and_hand_their_errors_over(task: TinyTask, tmp_path: Path) -> None:
    result = task.train(tmp_path / "run", processes=2, steps=2, evaluations=1)
    assert result["steps"] == 2 and load_checkpoint(result["best"]).metrics["recipe"]["processes"] == 2
    with pytest.raises(UsageError, match="is not what a training saved"):
        task.checkpoint(tmp_path / "run" / "last.pt")
        task.train(tmp_path / "run", processes=2, resume=True)


TORCHRUN_SCRIPT = """
import json, sys, torch
from pathlib import Path
from tests.training.detection_training import tiny_train
from rnnpool_mcu.training.engine import trainer as loop
kept = []
run = loop.Trainer.run
def recorded(self, resume):
    result = run(self, resume)
    kept.append({name: float(p.double().sum()) for name, p in self.student.model.named_parameters()})
    return result
loop.Trainer.run = recorded
data, out, how = sys.argv[1:]
result = tiny_train(Path(data), Path(out), steps=3, evaluations=1, resume=how == "resume")
print(json.dumps([result, kept[0]]))
"""


@pytest.mark.slow
def test_processes_of_torchrun_end_with_the_same_weights(tiny_data: Path, tmp_path: Path) -> None:
    from rnnpool_mcu.training.engine.launch import _free_port

    out = tmp_path / "run"
    for resume in ("new", "resume"):
        world = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(_free_port())}
        started = [
            subprocess.Popen(
                [sys.executable, "-c", TORCHRUN_SCRIPT, str(tiny_data), str(out), resume],
                env={**os.environ, **world, "RANK": str(rank), "LOCAL_RANK": str(rank)},
                cwd=Path(__file__).parents[3],
                stdout=subprocess.PIPE,
            )
            for rank in range(2)
        ]
        said = [process.communicate(timeout=600)[0] for process in started]
        assert [process.returncode for process in started] == [0, 0]
        first, second = (json.loads(text.splitlines()[-1]) for text in said)
        assert first == second and first[0]["steps"] == 3
    assert load_checkpoint(out / "best.pt").metrics["recipe"]["processes"] == 2


@pytest.mark.slow
def test_a_compiled_model_gives_the_same_outputs_and_gradients(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))  # a killed run leaves half-written files
    plain, compiled = (create("face-m4", hidden=4).train() for _ in range(2))
    compiled.load_state_dict(plain.state_dict())
    compile_around_rnnpool(compiled)
    assert plain.state_dict().keys() == compiled.state_dict().keys()
    x = torch.rand(2, 1, 64, 64)
    for model in (plain, compiled):
        sum(level.square().mean() for level in model(x)).backward()
    for (name, a), b in zip(plain.named_parameters(), compiled.parameters(), strict=True):
        torch.testing.assert_close(b.grad, a.grad, rtol=1e-3, atol=1e-5, msg=name)
    assert isinstance(compiled, torch.nn.Module)
