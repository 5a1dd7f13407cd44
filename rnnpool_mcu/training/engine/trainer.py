"""The training loop of every task: steps, validation, the best and the last checkpoint, log, resume."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rnnpool_mcu.training.engine.batches import Batch, batch_stream
from rnnpool_mcu.training.engine.clock import Clock
from rnnpool_mcu.training.engine.display import Display
from rnnpool_mcu.training.engine.distillation import file_digest, load_teacher
from rnnpool_mcu.training.engine.launch import Place, average_gradients
from rnnpool_mcu.training.engine.optimization import cosine_rate, following, not_finite, passed
from rnnpool_mcu.training.engine.recipe import Recipe
from rnnpool_mcu.training.engine.run_folder import append_row, check_origins, read_state
from rnnpool_mcu.training.engine.student import Student
from rnnpool_mcu.training.engine.task import Score, Task, as_outputs
from rnnpool_mcu.zoo import create
from rnnpool_mcu.zoo.checkpoint import atomic_save, save_checkpoint

LOG_EVERY = 100
MOST_WORKERS = 8


class Trainer:
    """State of one training process."""

    def __init__(
        self,
        task: type[Task],
        recipe: Recipe,
        data: Path,
        out: Path,
        place: Place,
        quiet: bool,
        started: float,
    ) -> None:
        self.recipe, self.out, self.place, self.clock = recipe, out, place, Clock(recipe, started)
        self.display = Display(f"training {recipe.arch}", quiet or not place.first)
        torch.manual_seed(recipe.seed)
        model = create(recipe.arch, **recipe.config).to(place.device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.task = task(recipe, data, model, place)
        self.student = Student(recipe, model)
        self.teacher = load_teacher(Path(recipe.teacher), self.task, place.device) if recipe.teacher else None
        self.taught_by = file_digest(Path(recipe.teacher)) if recipe.teacher else None
        self.step, self.progress, self.best = 0, 0.0, -1.0
        self.validated = -1  # the step of the last validation

    def run(self, resume: bool) -> dict[str, Any]:
        """Train to the end of the recipe; returns {"best", the score by its name, "steps", "skipped"}."""
        if resume:
            self._resume()
        self.task.open(self.out.parent / "cache")
        for told in (self.task.described, self.student.begun):
            if told:
                self.display.line(told)
        with self.display:
            self._train_and_evaluate()
        return {
            "best": str(self.out / "best.pt"),
            self.task.names.metric: self.best,
            "steps": self.step,
            "skipped": list(self.task.skipped()),
        }

    def _train_and_evaluate(self) -> None:
        """Part by part, to the next save or validation; rank 0 does these while the others wait for it."""
        recipe, batches = self.recipe, self._batches()
        while self.progress < 1.0:
            judged = passed(self.progress, recipe.evaluations)
            until = min(following(self.progress, recipe.evaluations), following(self.progress, recipe.saves))
            losses, speed = self.train_until(until, batches)
            if not self.place.first:
                continue
            if passed(self.progress, recipe.evaluations) > judged:
                self._log(losses, speed, self.evaluate())
            self._save()
        if self.place.first and self.validated != self.step:  # resumed when the time was over
            self._log(torch.full((len(self.task.names.losses),), math.nan), 0.0, self.evaluate())
            self._save()

    def _batches(self) -> Iterator[Batch]:
        """This process's batches from the present step on."""
        cuda = self.place.device.type == "cuda"
        workers = self.recipe.workers
        if workers is None:
            workers = min(MOST_WORKERS, max(1, (os.cpu_count() or 2) // self.place.processes)) if cuda else 0
        by_steps = self.recipe.steps is not None
        return batch_stream(
            self.task.draw,
            self.step,
            lambda step: min(1.0, self.clock.progress(step)) if by_steps else self.progress,
            workers,
            pinned=cuda,
        )

    def train_until(self, progress: float, batches: Iterator[Batch]) -> tuple[Tensor, float]:
        """Train up to a share of the whole; returns the mean of the losses and images per second."""
        self.student.model.train()
        total = torch.zeros(len(self.task.names.losses), dtype=torch.float64, device=self.place.device)
        count, images, begin = 0, 0, time.time()
        while self.progress < progress - 1e-9:
            batch = next(batches)
            self.task.accept(batch)
            total += self.train_step(batch.to(self.place.device))
            count, images = count + 1, images + len(batch.x) * self.place.processes
            if self.step % LOG_EVERY == 0:
                self.display.update(
                    self.progress, self._status(total / count, images / (time.time() - begin))
                )
        return total / max(1, count), images / max(1e-6, time.time() - begin)

    def _status(self, losses: Tensor, speed: float) -> str:
        names = (name.removesuffix("_loss") for name in self.task.names.losses)
        parts = (f"{name} {loss:.3f}" for name, loss in zip(names, losses.tolist(), strict=True))
        return f"step {self.step} {' '.join(parts)} {speed:.1f} images/s {self.clock.minutes:.1f} min"

    def train_step(self, batch: Batch) -> Tensor:
        """One optimizer step; returns the losses, detached. NotFiniteError names the images."""
        student = self.student
        student.begin_step(self._learning_rate())
        losses, taught = self._losses(batch)
        (losses.sum() + taught).backward()
        progress = average_gradients(student.model, self.clock.progress(self.step + 1), self.place)
        norm = nn.utils.clip_grad_norm_(student.model.parameters(), self.recipe.clip_norm)
        if not torch.isfinite(norm + losses.detach().sum()):
            images = self._not_finite_images(batch, losses.detach())
            raise not_finite(self.step, images, self.out / "last.pt")
        self.step, self.progress = self.step + 1, min(1.0, progress)
        student.end_step(self.step, self.progress)
        return losses.detach()

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The losses of the labels, and the loss against the teacher (0 without one)."""
        x = batch.x.contiguous(memory_format=torch.channels_last)
        with torch.autocast(self.place.device.type, torch.bfloat16, enabled=self.recipe.amp):
            outputs = self.student.model(x)
        outputs = as_outputs(outputs)
        losses = self.task.loss(outputs, batch)
        if self.teacher is None:
            return losses, losses.new_zeros(())
        with torch.no_grad():
            taught = as_outputs(self.teacher(x))
        return losses, self.recipe.teacher_weight * self.task.distillation(outputs, taught, batch)

    @torch.no_grad()
    def _not_finite_images(self, batch: Batch, losses: Tensor) -> list[str]:
        """Of all processes: the images whose own loss is not finite with the averaged weights.

        If there is none: all images of the batches whose loss is not finite, or those of this process.
        """
        alone = self.place.gather(self._not_finite_alone(batch))
        together = self.place.gather([] if torch.isfinite(losses).all() else list(batch.images))
        return list(chain(*alone)) or list(chain(*together)) or list(batch.images)

    def _not_finite_alone(self, batch: Batch) -> list[str]:
        found = []
        for row, name in enumerate(batch.images):
            one = batch.alone(row)
            losses = self.task.loss(as_outputs(self.student.average(one.x)), one)
            if not torch.isfinite(losses).all():
                found.append(name)
        return found

    def _learning_rate(self) -> float:
        recipe = self.recipe
        return cosine_rate(self.progress, recipe.learning_rate, recipe.warmup, recipe.least_rate)

    def evaluate(self) -> Score:
        """The averaged weights on what is held out; keeps the best as best.pt.

        While sparsity still grows, none is kept.
        """
        score = self.task.evaluate(self.student.judged())
        self.validated = self.step
        if self.student.complete and self.task.better(score.value, self.best):
            self.best = score.value
            self._save_best(score)
        return score

    def _save_best(self, score: Score) -> None:
        recipe, task = self.recipe, self.task
        metrics = {f"val_{task.names.metric}": score.value, "val_images": score.images, "step": self.step,
                   "minutes": self.clock.minutes, "recipe": recipe.describe()}  # fmt: skip
        save_checkpoint(
            self.out / "best.pt", self.student.average, recipe.arch, recipe.config, task.preprocessing,
            task.labels, metrics, self.student.calibration,
        )  # fmt: skip

    def _log(self, losses: Tensor, speed: float, score: Score) -> None:
        names = self.task.names
        fields = ("step", "minutes", "progress", "learning_rate", *names.losses, "images_per_second",
                  f"val_{names.metric}")  # fmt: skip
        rate, minutes = self._learning_rate(), self.clock.minutes
        values = (self.step, minutes, self.progress, rate, *losses.tolist(), speed, score.value)
        append_row(self.out / "log.csv", fields, values)
        broken = len(self.task.skipped())
        skipped = f"; {broken} unreadable {names.images} skipped" if broken else ""
        self.display.line(
            f"{names.score} {score.value:.4f} (best {self.best:.4f}) after {self.step} steps{skipped}"
        )

    def _save(self) -> None:
        state: dict[str, Any] = {
            **self.student.state(), "step": self.step, "progress": self.progress, "best": self.best,
            "seconds": self.clock.seconds, "recipe": self.recipe.describe(), "validated": self.validated,
            **self._origins(),
        }  # fmt: skip
        atomic_save(state, self.out / "last.pt")

    def _origins(self) -> dict[str, Any]:
        """What this training took from other files."""
        return {"calibration": self.student.calibration, "teacher": self.taught_by}

    def _read_state(self) -> dict[str, Any]:
        path = self.out / "last.pt"
        state = read_state(path, self.recipe.describe(), self.recipe.resumed_alike)
        check_origins(path, state, self._origins())
        return state

    def _resume(self) -> None:
        """The first process reads last.pt for all: the others may be on other machines."""
        state = self.place.share(self._read_state() if self.place.first else None)
        self.student.load_state(state)
        self.step, self.clock.earlier = state["step"], state["seconds"]
        self.best = state["best"] if "best" in state else state[f"best_{self.task.names.metric}"]
        self.validated = state.get("validated", -1)
        # of what is asked for now, which may be more than before
        self.progress = min(1.0, self.clock.progress(self.step))
        self.student.apply_sparsity(self.progress)
