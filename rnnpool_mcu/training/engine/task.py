"""What a task is to the trainer: model inputs from a data set, a loss, a validation score, its defaults.

The trainer knows no task by name. A new one is a folder beside `engine/` with a subclass of `Task`, and a
line in `rnnpool_mcu.training.tasks`; CONTRIBUTING.md says how.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from torch import Tensor, nn

from rnnpool_mcu.training.engine.batches import Batch
from rnnpool_mcu.training.engine.launch import Place
from rnnpool_mcu.training.engine.recipe import Recipe
from rnnpool_mcu.zoo.checkpoint import LoadedModel


@dataclass(frozen=True)
class Names:
    """What a task's things are called, in messages and files."""

    model: str
    """Such as "detector"."""
    example: str
    """A model of the zoo."""
    metric: str
    """Key of the score: "ap50" in the result, "val_ap50" in the log and the checkpoint."""
    score: str
    """The score in words: "validation AP"."""
    losses: tuple[str, ...]
    """The parts of the loss, columns of the log."""
    images: str = "images"


@dataclass(frozen=True)
class Score:
    """A validation's result, higher is better, and the images it was measured on."""

    value: float
    images: int


Outputs = tuple[Tensor, ...]
"""A model's outputs, float32, each [N, ..]."""


class Task(ABC):
    """One model's training on one data set, as far as it depends on what is learnt.

    The class answers before a training begins; an instance lives in each of its processes.
    """

    names: ClassVar[Names]
    recipe_type: ClassVar[type[Recipe]]
    preprocessing: dict[str, Any]
    """How pictures come to the model, and the names of its classes: both go into the checkpoint."""
    labels: list[str]
    described: str = ""
    """The data as they were recognised, said at the beginning; nothing for data sets that are known."""

    @classmethod
    @abstractmethod
    def fits(cls, model: nn.Module) -> bool:
        """Whether a model of the zoo is one of this task's."""

    @classmethod
    @abstractmethod
    def find_data(cls, arch: str, data: Path | None) -> Path:
        """The data's folder; UsageError when none is given or found. What is missing fails here, early."""

    @classmethod
    def defaults(cls, model: nn.Module, given: Mapping[str, Any]) -> dict[str, Any]:
        """Settings of the recipe that follow from the model and from those `given`, which go before them."""
        return {}

    @abstractmethod
    def __init__(self, recipe: Recipe, data: Path, model: nn.Module, place: Place) -> None:
        """For the float model, not trained yet. UsageError for data that does not fit it."""

    def open(self, cache: Path) -> None:  # noqa: B027
        """Get ready to draw and to evaluate; folder `cache` is for what takes long and is worth keeping."""

    @abstractmethod
    def draw(self, step: int, progress: float) -> Batch:
        """This process's images of a step, at `progress` (0 to 1) of the training.

        The recipe's seed, the place, `step` and `progress` decide it alone, wherever it is called: it may be
        in a process forked off after `open`.
        """

    def accept(self, batch: Batch) -> None:  # noqa: B027
        """Called with every batch before it is learnt from; UsageError when too little could be read."""

    @abstractmethod
    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """The parts of the loss against the labels, [len(names.losses)]; their sum is made smaller."""

    @abstractmethod
    def check_teacher(self, path: Path, teacher: LoadedModel) -> None:
        """UsageError unless the teacher, a model of this task, answers the same question."""

    @abstractmethod
    def distillation(self, outputs: Outputs, taught: Outputs, batch: Batch) -> Tensor:
        """The loss against a teacher's outputs: a scalar, 0 where the outputs are the same."""

    @abstractmethod
    def evaluate(self, model: nn.Module) -> Score:
        """Score on what is held out; `model` is the float model, or the same on int8 grids."""

    def better(self, score: float, best: float) -> bool:
        """Whether a checkpoint of this score replaces the one that is the best so far."""
        return score > best

    @abstractmethod
    def skipped(self) -> Sequence[str]:
        """The pictures that could not be read so far."""


def as_outputs(outputs: Tensor | Sequence[Tensor]) -> Outputs:
    """A model's output or outputs in float32."""
    if isinstance(outputs, Tensor):
        return (outputs.float(),)
    return tuple(output.float() for output in outputs)
