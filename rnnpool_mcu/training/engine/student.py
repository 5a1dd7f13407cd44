"""The model that is trained, with what belongs to its weights: average, optimizer, int8 grids, zeros."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing.checkpoint import check_preprocessing, input_size_of
from rnnpool_mcu.quantize.qat import QatModule
from rnnpool_mcu.training.engine.optimization import compile_around_rnnpool, update_average, weight_groups
from rnnpool_mcu.training.engine.recipe import Recipe
from rnnpool_mcu.training.engine.sparsity import Sparsity
from rnnpool_mcu.zoo.checkpoint import load_checkpoint


class Student:
    """`model` computes and learns, on int8 grids under quantization-aware training; `average` is judged.

    `average` is always a float model of the zoo: the moving average of `model`'s weights.
    """

    def __init__(self, recipe: Recipe, model: nn.Module) -> None:
        """Of a fresh model of the zoo. UserError when `initial` or a setting does not fit it."""
        self._recipe = recipe
        self.begun = ""
        """Which layers `initial` has no weights for, in words."""
        if recipe.initial:
            self.begun = begins_anew(Path(recipe.initial), model)
        self.calibration = begin_with(Path(recipe.initial), model, recipe) if recipe.initial else None
        self.average = copy.deepcopy(model).eval()
        self.model: Any = self._aware(model) if recipe.qat else model
        self.sparsity = Sparsity(model, recipe.rnn_density) if recipe.rnn_density else None
        self.optimizer = torch.optim.AdamW(
            weight_groups(self.model, recipe.weight_decay), lr=recipe.learning_rate
        )
        if recipe.compile:
            compile_around_rnnpool(self.model)

    def _aware(self, model: nn.Module) -> nn.Module:
        """A copy of the model that computes on int8 grids."""
        if self.calibration is None:
            raise UsageError(
                f"train --qat: {self._recipe.initial} holds no activation ranges; run `rnnpool-mcu "
                "quantize` on it first, and begin with what that writes"
            )
        return QatModule(model, input_size_of(model), self.calibration)

    def judged(self) -> nn.Module:
        """The averaged weights as they are validated: on int8 grids under quantization-aware training."""
        return self._aware(self.average) if self._recipe.qat else self.average

    @property
    def complete(self) -> bool:
        """Whether it is what was asked for: while sparsity still grows, it has too many weights."""
        return self.sparsity is None or self.sparsity.settled

    def begin_step(self, learning_rate: float) -> None:
        """Set the learning rate and forget the last gradients."""
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        self.optimizer.zero_grad(set_to_none=True)

    def end_step(self, steps: int, progress: float) -> None:
        """Learn from the gradients; `steps` and `progress` (0 to 1) are those after it."""
        self.optimizer.step()
        own = self.model.float_state() if self._recipe.qat else self.model.state_dict()
        update_average(self.average, own, self._recipe.ema_decay, steps)
        self.apply_sparsity(progress)

    def apply_sparsity(self, progress: float) -> None:
        """Set the smallest weights to 0, as many as `progress` asks for."""
        if self.sparsity is not None:
            self.sparsity.apply(self.model, self.average, progress)

    def state(self) -> dict[str, Any]:
        """What last.pt holds of it."""
        return {
            "model": self.model.state_dict(),
            "ema": self.average.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def load_state(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` gave."""
        self.model.load_state_dict(state["model"])
        self.average.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])


def begin_with(path: Path, model: nn.Module, recipe: Recipe) -> dict[str, tuple[float, int]] | None:
    """Give the model the weights of a checkpoint of the same architecture, which may have fewer layers.

    Returns the ranges stored in it, which quantization-aware training needs. UserError for other checkpoints.
    """
    initial = load_checkpoint(path)
    check_preprocessing(path, initial.preprocessing)
    wanted, given = _shapes(model.state_dict()), _shapes(initial.model.state_dict())
    more = wanted.keys() - given.keys()
    if {name: wanted[name] for name in wanted.keys() - more} != given or (more and recipe.qat):
        raise UsageError(
            f"train --init {path}: holds {initial.arch} with {initial.config or 'its default settings'}, "
            f"not {recipe.arch} with {recipe.config or 'its default settings'}; give a "
            "checkpoint of the same model, or the same --set"
        )
    model.load_state_dict(initial.model.state_dict(), strict=False)
    return initial.calibration if recipe.qat else None


def begins_anew(path: Path, model: nn.Module) -> str:
    """The layers of a model that a checkpoint of a smaller one has no weights for, in words; "" for none."""
    given = load_checkpoint(path).model.state_dict()
    layers = sorted({".".join(name.split(".")[:2]) for name in model.state_dict() if name not in given})
    return f"--init {path.name}: all of its layers are taken; {', '.join(layers)} begin anew" * bool(layers)


def _shapes(state: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}
