"""A detector learns from a larger one's scores and boxes."""

from __future__ import annotations

from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from rnnpool_mcu.errors import UsageError  # noqa: E402
from rnnpool_mcu.training.detection.distillation import distillation_loss  # noqa: E402
from rnnpool_mcu.zoo.random_weights import random_checkpoint  # noqa: E402
from tests.training.detection_training import tiny_train  # noqa: E402

VARIANCES = (0.1, 0.2)


def test_distillation_is_zero_for_equal_answers_and_draws_the_student_to_the_teacher() -> None:
    generator = torch.Generator().manual_seed(1)
    taught = [torch.randn(2, channels, 3, 3, generator=generator) for channels in (4, 2)]
    student = [torch.randn(2, channels, 3, 3, generator=generator).requires_grad_() for channels in (4, 2)]
    positive = torch.zeros(2, 9, dtype=torch.bool)
    positive[0, :4] = True
    assert float(distillation_loss(taught, taught, positive, VARIANCES)) == pytest.approx(0, abs=1e-5)
    optimizer = torch.optim.Adam(student, lr=0.05)
    losses = []
    for _ in range(400):
        optimizer.zero_grad()
        loss = distillation_loss(student, taught, positive, VARIANCES)
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[0] > 1 and losses[-1] < 0.1 * losses[0]
    margin = (student[1][:, 1] - student[1][:, 0]) - (taught[1][:, 1] - taught[1][:, 0])
    assert float(margin.detach().abs().max()) < 0.3


def test_a_teacher_must_answer_for_the_same_priors(tiny_data: Path, tmp_path: Path) -> None:
    other = random_checkpoint("face-quant", tmp_path / "other.pt", height=96, width=128, hidden=4)
    with pytest.raises(UsageError, match=r"face-quant has the priors .* they must be the same"):
        tiny_train(tiny_data, tmp_path / "run", teacher=str(other))
