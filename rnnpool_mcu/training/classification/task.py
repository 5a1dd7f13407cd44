"""The task of naming a picture's class: a folder of labelled images, cross-entropy, top-1 accuracy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing.checkpoint import input_size_of
from rnnpool_mcu.training.classification import recipe as recipes
from rnnpool_mcu.training.classification.augmentation import augment
from rnnpool_mcu.training.classification.distillation import distillation_loss
from rnnpool_mcu.training.classification.predictor import torch_classifier
from rnnpool_mcu.training.classification.recipe import ClassificationRecipe
from rnnpool_mcu.training.data.labelled_images import ImageBank, abridged, load_labelled
from rnnpool_mcu.training.data.unreadable import check_broken, warn_of_new
from rnnpool_mcu.training.engine.batches import Batch
from rnnpool_mcu.training.engine.launch import Place
from rnnpool_mcu.training.engine.task import Names, Outputs, Score, Task
from rnnpool_mcu.training.metrics.accuracy import count_right
from rnnpool_mcu.zoo.checkpoint import RGB_PREPROCESSING, LoadedModel


class ClassificationTask(Task):
    """A classifier and its images."""

    names = Names("classifier", "one-shot-pooling", "top1", "held-out accuracy", ("loss",), "pictures")
    recipe_type = ClassificationRecipe
    recipe: ClassificationRecipe
    preprocessing = RGB_PREPROCESSING

    @classmethod
    def fits(cls, model: nn.Module) -> bool:
        """All models of the zoo that find no boxes."""
        return not hasattr(model, "anchors")

    @classmethod
    def find_data(cls, arch: str, data: Path | None) -> Path:
        """The folder of one data set, which must be given."""
        if data is None:
            raise UsageError(f"train: {arch} is a classifier; give the folder of its data set with --data")
        return data

    @classmethod
    def defaults(cls, model: nn.Module, given: Mapping[str, Any]) -> dict[str, Any]:
        """Larger batches of less changed views for small images."""
        return recipes.defaults(input_size_of(model))

    def __init__(self, recipe: ClassificationRecipe, data: Path, model: nn.Module, place: Place) -> None:
        self.recipe, self.place, self.input_size = recipe, place, input_size_of(model)
        fit, held_out = load_labelled(data, "fit"), load_labelled(data, "held_out")
        check_data(fit.classes, len(fit), recipe, model)
        self.labels = list(fit.classes)
        self.fit, self.held_out = ImageBank(fit, self.input_size), ImageBank(held_out, self.input_size)
        self.named: set[str] = set()

    def draw(self, step: int, progress: float) -> Batch:
        """This process's share of the step's pictures, each changed at random."""
        recipe, rows = self.recipe, self._rows(step)
        pixels, labels = self.fit.batch(rows)
        broken = {int(row): self.fit.broken[row] for row in rows if row in self.fit.broken}
        names = tuple(self.fit.content.names[row] for row in rows if row not in broken)
        seed = (recipe.seed * 1_000_003 + step) * self.place.processes + self.place.rank
        x = augment(
            torch.from_numpy(pixels), recipe.least_crop, recipe.jitter, torch.Generator().manual_seed(seed)
        )
        return Batch(x, {"label": torch.from_numpy(labels)}, names, broken)

    def _rows(self, step: int) -> np.ndarray:
        """Every epoch is another order of all, by the seed."""
        size = min(self.recipe.batch, len(self.fit))
        epoch, place = divmod(step, len(self.fit) // size)
        order = np.random.default_rng([self.recipe.seed, epoch]).permutation(len(self.fit))
        return order[place * size : (place + 1) * size][self.place.rank :: self.place.processes]

    def accept(self, batch: Batch) -> None:
        """Count the pictures that could not be read, here or in the process that drew the batch."""
        self.fit.broken = dict(batch.broken) | self.fit.broken
        check_broken(self.fit.describe_broken(), len(self.fit), "pictures")
        if len(batch.x) < 2:
            raise UsageError(
                f"train: {len(batch.x)} readable pictures in a batch, at least 2; see `data check`"
            )

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Cross-entropy."""
        smoothing = self.recipe.label_smoothing
        return F.cross_entropy(outputs[0], batch.targets["label"], label_smoothing=smoothing)[None]

    def check_teacher(self, path: Path, teacher: LoadedModel) -> None:
        """It must know the same classes in the same order, from pictures of the same size."""
        begin = f"train --teacher {path}: {teacher.arch}"
        if input_size_of(teacher.model) != self.input_size:
            found, wanted = ("x".join(map(str, s)) for s in (input_size_of(teacher.model), self.input_size))
            raise UsageError(
                f"{begin} takes images of {found}, the trained model of {wanted}; they must be the same: "
                "train one with the same --set resolution"
            )
        count = output_count(teacher.model)
        if count != len(self.labels) or (teacher.labels and teacher.labels != self.labels):
            known = f" ({abridged(teacher.labels)})" if teacher.labels else ""
            raise UsageError(
                f"{begin} has {count} classes{known}, the data {len(self.labels)} "
                f"({abridged(self.labels)}); they must be the same, in the same order"
            )

    def distillation(self, outputs: Outputs, taught: Outputs, batch: Batch) -> Tensor:
        """Against the teacher's softened probabilities."""
        return distillation_loss(outputs[0], taught[0])

    def evaluate(self, model: nn.Module) -> Score:
        """Accuracy on the held-out part."""
        right, seen = count_right(torch_classifier(model), self.held_out)
        check_broken(self.held_out.describe_broken(), len(self.held_out), "held-out pictures")
        warn_of_new(self.skipped(), self.named)
        return Score(right / max(1, seen), seen)

    def better(self, score: float, best: float) -> bool:
        """Of equal accuracies, which few held-out pictures make likely, the later counts."""
        return score >= best

    def skipped(self) -> list[str]:
        """Pictures that could not be read, of the training's and the validation's, with the reasons."""
        return [*self.fit.describe_broken(), *self.held_out.describe_broken()]


def output_count(model: nn.Module) -> int:
    """How many logits a classifier of the zoo gives."""
    return [module for module in model.modules() if isinstance(module, nn.Linear)][-1].out_features


def check_data(classes: tuple[str, ...], images: int, recipe: ClassificationRecipe, model: nn.Module) -> None:
    """UsageError unless the classes are as many as the model's outputs and there are images enough."""
    if output_count(model) != len(classes):
        raise UsageError(
            f"train: {recipe.arch} has {output_count(model)} classes, the data {len(classes)}; give --set "
            f"num_classes={len(classes)}"
        )
    if images < max(2, len(classes)):
        raise UsageError(
            f"train: {images} training pictures for {len(classes)} classes; at least one of each, and 2"
        )
