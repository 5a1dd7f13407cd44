"""A classifier learns from a larger one's probabilities."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from rnnpool_mcu.errors import UsageError  # noqa: E402
from rnnpool_mcu.training.classification.distillation import distillation_loss  # noqa: E402
from rnnpool_mcu.zoo.checkpoint import RGB_PREPROCESSING, save_checkpoint  # noqa: E402
from rnnpool_mcu.zoo.random_weights import random_model  # noqa: E402
from tests.training.classification_training import CONFIG, tiny_train, write_data  # noqa: E402


def test_the_loss_by_hand() -> None:
    """Two classes at temperature 2: probabilities are sigmoids of half the margin."""
    taught, logits = torch.tensor([[2.0, 0.0]]), torch.tensor([[0.0, 0.0]])
    p = torch.sigmoid(torch.tensor(1.0))
    divergence = p * (p / 0.5).log() + (1 - p) * ((1 - p) / 0.5).log()
    assert float(distillation_loss(logits, taught, 2.0)) == pytest.approx(4 * float(divergence), rel=1e-5)


def test_it_is_zero_for_equal_answers_and_draws_the_student_to_the_teacher() -> None:
    generator = torch.Generator().manual_seed(1)
    taught = torch.randn(6, 5, generator=generator)
    student = torch.randn(6, 5, generator=generator).requires_grad_()
    assert float(distillation_loss(taught + 3.0, taught)) == pytest.approx(0, abs=1e-5)
    optimizer = torch.optim.Adam([student], lr=0.05)
    for _ in range(400):
        optimizer.zero_grad()
        distillation_loss(student, taught).backward()
        optimizer.step()
    torch.testing.assert_close(student.detach().softmax(1), taught.softmax(1), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("changes", "labels", "complaint"),
    [
        ({"num_classes": 3}, ["up", "down", "left"], r"has 3 classes \('up', 'down', 'left'\), the data 2"),
        ({"num_classes": 3}, [], r"has 3 classes, the data 2 \('up', 'down'\)"),
        ({}, ["down", "up"], r"has 2 classes \('down', 'up'\), .* in the same order"),
        ({"resolution": 16}, ["up", "down"], "takes images of 16x16x3, the trained model of 8x8x3"),
    ],
)
def test_a_teacher_must_answer_for_the_same_classes(
    changes: dict[str, Any], labels: list[str], complaint: str, tmp_path: Path
) -> None:
    config = {**CONFIG, "hidden": 8, **changes}
    model = random_model("one-shot-pooling", **config)
    save_checkpoint(tmp_path / "t.pt", model, "one-shot-pooling", config, RGB_PREPROCESSING, labels)
    with pytest.raises(UsageError, match=complaint):
        tiny_train(write_data(tmp_path / "data"), tmp_path / "run", teacher=str(tmp_path / "t.pt"))


def test_a_teacher_without_names_is_taken_by_its_number_of_classes(tmp_path: Path) -> None:
    config = {**CONFIG, "hidden": 8}
    model = random_model("one-shot-pooling", **config)
    save_checkpoint(tmp_path / "t.pt", model, "one-shot-pooling", config, RGB_PREPROCESSING, [])
    data = write_data(tmp_path / "data")
    assert tiny_train(data, tmp_path / "run", teacher=str(tmp_path / "t.pt"))["steps"] == 8
