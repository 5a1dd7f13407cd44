"""The classifiers' training loop: log, resume, bad pictures, and the pooling variants it compares."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

torch = pytest.importorskip("torch")

from rnnpool_mcu.cli import main  # noqa: E402
from rnnpool_mcu.errors import ModelError, UsageError  # noqa: E402
from rnnpool_mcu.importing.checkpoint import calibrate_checkpoint, import_checkpoint  # noqa: E402
from rnnpool_mcu.training import train  # noqa: E402
from rnnpool_mcu.training.classification import task as classification  # noqa: E402
from rnnpool_mcu.training.classification.augmentation import augment  # noqa: E402
from rnnpool_mcu.training.data.labelled_images import ImageBank, Labelled, load_labelled  # noqa: E402
from rnnpool_mcu.training.engine.optimization import NotFiniteError  # noqa: E402
from rnnpool_mcu.training.metrics.accuracy import evaluate_classifier  # noqa: E402
from rnnpool_mcu.validate.engines import run_reference  # noqa: E402
from rnnpool_mcu.zoo import create  # noqa: E402
from rnnpool_mcu.zoo.checkpoint import load_checkpoint  # noqa: E402
from tests.training.classification_training import CONFIG, COUNT, tiny_train, write_data  # noqa: E402


def test_training_learns_and_says_so(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    result = tiny_train(data, tmp_path / "run", steps=80, learning_rate=2e-2, least_crop=0.95)
    assert result["top1"] == 1.0 and result["steps"] == 80
    loaded = load_checkpoint(tmp_path / "run" / "best.pt")
    assert loaded.labels == ["up", "down"] and loaded.config == CONFIG
    with (tmp_path / "run" / "log.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["step"]) for row in rows] == [40, 80]
    assert float(rows[1]["loss"]) < float(rows[0]["loss"])


def test_a_resumed_run_keeps_its_batch_and_model(tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "run"
    tiny_train(data, out)
    with pytest.raises(UsageError, match="trained with batch 16, not 8"):
        tiny_train(data, out, resume=True, batch=8)
    with pytest.raises(UsageError, match="trained with config"):
        tiny_train(data, out, resume=True, config={**CONFIG, "hidden": 2})


@pytest.mark.parametrize("workers", [0, 2])
def test_broken_pictures_are_skipped_counted_and_named_once(workers: int, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", broken=(5, 30))
    with pytest.warns(UserWarning, match="cannot be read, skipped") as warned:
        result = tiny_train(data, tmp_path / "run", steps=20, evaluations=4, workers=workers)
    skipped = result["skipped"]
    told = "".join(str(warning.message) for warning in warned)
    assert all(told.count(name) == 1 for name in ("train.npz[5]: ", "train.npz[30]: "))
    assert len(skipped) == 2 and skipped[0].startswith("train.npz[5]: ")


@pytest.mark.parametrize("workers", [0, 2])
def test_too_many_broken_pictures_stop_the_training(workers: int, tmp_path: Path) -> None:
    data = write_data(tmp_path / "data", broken=tuple(range(0, COUNT, 4)))
    with pytest.raises(
        UsageError, match=r"of 76 pictures cannot be read, allowed 4; the first:\n  train.npz\["
    ):
        tiny_train(data, tmp_path / "run", workers=workers)


def test_a_held_out_part_that_cannot_be_read_is_no_measure(tmp_path: Path) -> None:
    clean = load_labelled(write_data(tmp_path / "clean"), "held_out")
    held_out = tuple(int(name.partition("[")[2][:-1]) for name in clean.names)
    data = write_data(tmp_path / "data", broken=held_out)
    with pytest.raises(UsageError, match="4 of 4 held-out pictures cannot be read, allowed 3"):
        tiny_train(data, tmp_path / "run")
    assert not (tmp_path / "run" / "best.pt").exists()


def test_a_loss_that_is_not_finite_names_the_images(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            classification, "augment", lambda pixels, *_: torch.full((len(pixels), 3, 8, 8), torch.nan)
        )
        with pytest.raises(NotFiniteError, match=r"at step 0, images train.npz\["):
            tiny_train(data, tmp_path / "run")


def test_training_refuses_what_cannot_work(tmp_path: Path) -> None:
    data = write_data(tmp_path / "data")
    with pytest.raises(UsageError, match=r"has 10 classes, the data 2; give --set num_classes=2"):
        tiny_train(data, tmp_path / "run", config={"resolution": 8})
    with pytest.raises(UsageError, match="1 training pictures for 2 classes"):
        tiny_train(write_data(tmp_path / "few", count=2), tmp_path / "run")
    with pytest.raises(UsageError, match="nothing to resume"):
        tiny_train(data, tmp_path / "new", resume=True)
    with pytest.raises(UsageError, match="either a number of minutes or a number of steps"):
        train("one-shot-pooling", tmp_path / "run", data)


def test_train_command_finds_the_kind_of_model(tmp_path: Path) -> None:
    data, out = write_data(tmp_path / "data"), tmp_path / "run"
    arguments = [
        "train",
        "one-shot-pooling",
        "--set",
        "num_classes=2",
        "--set",
        "resolution=8",
        "--steps",
        "3",
    ]
    done = CliRunner().invoke(main, [*arguments, "--data", str(data), "-o", str(out)])
    assert done.exit_code == 0, done.output
    assert "held-out accuracy" in done.output and (out / "best.pt").is_file()
    assert CliRunner().invoke(main, [*arguments, "-o", str(out)]).exit_code == 2  # no --data


def test_augmentation_keeps_range_and_is_drawn_by_the_generator() -> None:
    pixels = torch.randint(0, 256, (4, 8, 8, 3), dtype=torch.uint8)
    a, b, c = (augment(pixels, 0.5, 0.3, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2))
    assert a.shape == (4, 3, 8, 8) and float(a.min()) >= 0 and float(a.max()) <= 1
    assert torch.equal(a, b) and not torch.equal(a, c)


def test_evaluation_counts_by_hand() -> None:
    shades = [np.full((8, 8, 3), shade, np.uint8) for shade in (0, 1, 2, 0)]
    bank = ImageBank(Labelled(shades, list("abcd"), np.array([0, 1, 1, 0]), ("x", "y", "z")), (8, 8, 3))
    result = evaluate_classifier(lambda images: np.eye(3)[images[:, 0, 0, 0]], bank)
    assert result == {"top1": 0.75, "right": 3, "images": 4, "skipped": 0}
    assert evaluate_classifier(lambda images: np.zeros((len(images), 3)), bank, count=2)["right"] == 1


@pytest.mark.parametrize("pooling", ["rnnpool", "average", "max", "strided"])
def test_poolings_give_the_same_shapes(pooling: str) -> None:
    model = create("mobilenetv2-rnnpool-0.35", num_classes=10, resolution=112, pooling=pooling).eval()
    shapes = []
    model.pool.register_forward_hook(lambda _module, _args, output: shapes.append(tuple(output.shape)))
    assert model(torch.zeros(1, 3, 112, 112)).shape == (1, 10)
    assert shapes == [(1, 32, 13, 13)]
    shot = create("one-shot-pooling", pooling=pooling).eval()
    assert shot.pool(torch.zeros(2, 3, 32, 32)).shape == (2, 128, 1, 1)
    with pytest.raises(ModelError, match="pooling 'median' is not known"):
        create("one-shot-pooling", pooling="median")


def test_a_quantization_aware_training_judges_what_the_integers_compute(tmp_path: Path) -> None:
    """The held-out accuracy is that of the int8 model which the checkpoint becomes."""
    data = write_data(tmp_path / "data", count=200)
    tiny_train(data, tmp_path / "float", steps=10, evaluations=1, learning_rate=1e-2)
    first = tmp_path / "first.pt"
    fit = ImageBank(load_labelled(data, "fit"), (8, 8, 3)).batch(range(16))[0]
    calibrate_checkpoint(tmp_path / "float" / "best.pt", first, fit)
    settings = {"steps": 2, "evaluations": 1, "learning_rate": 1e-3, "qat": True, "initial": str(first)}
    result = tiny_train(data, tmp_path / "aware", **settings)
    found = load_checkpoint(tmp_path / "aware" / "best.pt")
    assert found.calibration == load_checkpoint(first).calibration
    graph = import_checkpoint(tmp_path / "aware" / "best.pt").graph
    images, labels = ImageBank(load_labelled(data, "held_out"), (8, 8, 3)).batch(range(10))
    outputs = run_reference(graph, images, lambda _: None).outputs
    classes = [np.frombuffer(output, np.int8).argmax() for output in outputs]
    assert result["top1"] == (np.array(classes) == labels).mean() == found.metrics["val_top1"]
