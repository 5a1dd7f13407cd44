"""Training of classifiers: augmentation, steps, validation, log, resume."""

from __future__ import annotations

import copy
import csv
import math
import time
from dataclasses import asdict, dataclass, field
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.data.labelled_images import ImageBank, load_labelled
from rnnpool_mcu.training.engine.display import Display
from rnnpool_mcu.training.engine.launch import Place, average_gradients
from rnnpool_mcu.training.engine.optimization import (
    check_broken,
    compile_around_rnnpool,
    cosine_rate,
    following,
    not_finite,
    passed,
    read_state,
    update_average,
    warn_of_new,
    weight_groups,
)
from rnnpool_mcu.training.metrics.accuracy import count_right, torch_classifier
from rnnpool_mcu.zoo import create
from rnnpool_mcu.zoo.checkpoint import RGB_PREPROCESSING, atomic_save, save_checkpoint

LOG_FIELDS = ("step", "minutes", "progress", "learning_rate", "loss", "images_per_second", "val_top1")
LOG_EVERY = 100


@dataclass(frozen=True)
class ClassifierRecipe:
    """Everything that decides what is learnt; written into the checkpoint's metrics."""

    arch: str
    config: dict[str, Any] = field(default_factory=dict)
    minutes: float | None = None
    steps: int | None = None
    batch: int = 64
    learning_rate: float = 2e-3
    warmup: float = 0.03
    weight_decay: float = 0.01
    label_smoothing: float = 0.1
    ema_decay: float = 0.998
    clip_norm: float = 5.0
    least_crop: float = 0.35
    """Area of the smallest crop, as a share of the image."""
    jitter: float = 0.3
    """Brightness and contrast go by a factor of 1 - jitter to 1 + jitter."""
    seed: int = 1
    evaluations: int = 10
    """Validations, evenly spread."""
    saves: int = 50
    """Times last.pt is written, evenly spread; a killed run loses at most the part since the last."""
    device: str = "auto"
    """One of `launch.DEVICES`."""
    amp: bool = False
    """All but RNNPool in bfloat16."""
    compile: bool = False
    """By torch.compile, all but RNNPool."""


class ClassifierTrainer:
    """State of one training on one data set folder."""

    def __init__(
        self, recipe: ClassifierRecipe, data: Path, out: Path, place: Place, quiet: bool, started: float
    ) -> None:
        self.recipe, self.out, self.place, self.started = recipe, out, place, started
        torch.manual_seed(recipe.seed)
        model: Any = create(recipe.arch, **recipe.config)
        self.model: Any = model.to(place.device, memory_format=torch.channels_last)
        self.ema: Any = copy.deepcopy(self.model).eval()
        fit, held_out = load_labelled(data, "fit"), load_labelled(data, "held_out")
        self.classes = check_data(fit.classes, len(fit), recipe, model)
        self.fit, self.held_out = ImageBank(fit, model.input_size), ImageBank(held_out, model.input_size)
        self.optimizer = torch.optim.AdamW(weight_groups(model, recipe.weight_decay), lr=recipe.learning_rate)
        if recipe.compile:
            compile_around_rnnpool(self.model)
        self.step, self.progress, self.best, self.earlier_seconds = 0, 0.0, -1.0, 0.0
        self.validated = -1  # the step of the last validation
        self.named: set[str] = set()
        self.display = Display(f"training {recipe.arch}", quiet or not place.first)

    def run(self, resume: bool) -> dict[str, Any]:
        """Train to the end of the recipe; writes best.pt, last.pt and log.csv.

        Returns {"best", "top1", "steps", "skipped"}.
        """
        if resume:
            self._resume()
        with self.display:
            while self.progress < 1.0:
                self._part()
            if self.place.first and self.validated != self.step:  # resumed when the time was over
                self._log(math.nan, 0.0, self.evaluate())
                self._save()
        return {
            "best": str(self.out / "best.pt"),
            "top1": self.best,
            "steps": self.step,
            "skipped": self.skipped(),
        }

    def skipped(self) -> list[str]:
        """Pictures that could not be read, of the training's and the validation's, with the reasons."""
        return [*self.fit.describe_broken(), *self.held_out.describe_broken()]

    def _part(self) -> None:
        """Train to the next save; the first process validates and logs when that is due, and saves."""
        recipe, judged = self.recipe, passed(self.progress, self.recipe.evaluations)
        loss, speed = self.train_until(following(self.progress, recipe.saves))
        if not self.place.first:
            return
        if passed(self.progress, recipe.evaluations) > judged:
            self._log(loss, speed, self.evaluate())
        self._save()

    def seconds(self) -> float:
        """Wall-clock seconds of training, resumed parts included."""
        return self.earlier_seconds + time.time() - self.started

    def train_until(self, progress: float) -> tuple[float, float]:
        """Train up to a share of the whole; returns the mean loss and images per second."""
        self.model.train()
        total, count, images, begin = 0.0, 0, 0, time.time()
        while self.progress < progress - 1e-9:
            rows = self._rows()
            pixels, labels = self.fit.batch(rows)
            check_broken(self.fit.describe_broken(), len(self.fit), "pictures")
            if len(labels) < 2:
                raise UsageError(
                    f"train: {len(labels)} readable pictures in a batch, at least 2; see `data check`"
                )
            total += self.train_step(torch.from_numpy(pixels), torch.from_numpy(labels), rows)
            count, images = count + 1, images + len(labels) * self.place.processes
            if self.step % LOG_EVERY == 0:
                speed = images / (time.time() - begin)
                minutes = self.seconds() / 60
                status = f"step {self.step} loss {total / count:.3f} {speed:.1f} images/s {minutes:.1f} min"
                self.display.update(self.progress, status)
        return total / max(1, count), images / max(1e-6, time.time() - begin)

    def _rows(self) -> np.ndarray:
        """This process's images of this step: every epoch is another order of all, by the seed."""
        size = min(self.recipe.batch, len(self.fit))
        per_epoch = len(self.fit) // size
        epoch, place = divmod(self.step, per_epoch)
        order = np.random.default_rng([self.recipe.seed, epoch]).permutation(len(self.fit))
        return order[place * size : (place + 1) * size][self.place.rank :: self.place.processes]

    def train_step(self, pixels: Tensor, labels: Tensor, rows: np.ndarray) -> float:
        """One optimizer step on uint8 pixels [n, H, W, C]; returns the loss."""
        recipe = self.recipe
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        seed = (recipe.seed * 1_000_003 + self.step) * self.place.processes + self.place.rank
        x = augment(pixels, recipe.least_crop, recipe.jitter, torch.Generator().manual_seed(seed))
        x, labels = x.to(self.place.device), labels.to(self.place.device)
        self.optimizer.zero_grad(set_to_none=True)
        with torch.autocast(self.place.device.type, torch.bfloat16, enabled=recipe.amp):
            logits = self.model(x.contiguous(memory_format=torch.channels_last))
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        loss.backward()
        progress = average_gradients(self.model, self._progress_after(self.step + 1), self.place)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), recipe.clip_norm)
        if not torch.isfinite(norm + loss.detach()):
            raise not_finite(self.step, self._not_finite_images(rows, loss.detach()), self.out / "last.pt")
        self.optimizer.step()
        self.step, self.progress = self.step + 1, min(1.0, progress)
        update_average(self.ema, self.model.state_dict(), recipe.ema_decay, self.step)
        return float(loss.detach())

    def _progress_after(self, steps: int) -> float:
        """Share of the training that is done, now or, if it is counted in steps, after so many of them."""
        recipe = self.recipe
        return self.seconds() / 60 / recipe.minutes if recipe.minutes else steps / float(recipe.steps or 1)

    def _not_finite_images(self, rows: np.ndarray, loss: Tensor) -> list[str]:
        """Those of all processes whose loss is not finite, or this one's."""
        own = [self.fit.content.names[int(row)] for row in rows]
        found = self.place.gather([] if torch.isfinite(loss) else own)
        return list(chain(*found)) or own

    def _learning_rate(self) -> float:
        return cosine_rate(self.progress, self.recipe.learning_rate, self.recipe.warmup, 0.005)

    def evaluate(self) -> float:
        """Accuracy of the averaged weights on the held-out part; keeps the best as best.pt."""
        right, seen = count_right(torch_classifier(self.ema), self.held_out)
        check_broken(self.held_out.describe_broken(), len(self.held_out), "held-out pictures")
        self.validated = self.step
        top1 = right / max(1, seen)
        if top1 >= self.best:
            self.best = top1
            metrics = {"val_top1": top1, "val_images": seen, "step": self.step,
                       "minutes": self.seconds() / 60, "recipe": asdict(self.recipe)}  # fmt: skip
            recipe, path = self.recipe, self.out / "best.pt"
            labels = list(self.classes)
            save_checkpoint(path, self.ema, recipe.arch, recipe.config, RGB_PREPROCESSING, labels, metrics)
        return top1

    def _log(self, loss: float, speed: float, top1: float) -> None:
        path = self.out / "log.csv"
        fresh = not path.is_file()
        values = (self.step, self.seconds() / 60, self.progress, self._learning_rate(), loss, speed, top1)
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(LOG_FIELDS)
            writer.writerow([f"{v:.6g}" for v in values])
        warn_of_new(self.skipped(), self.named)
        broken = len(self.skipped())
        skipped = f"; {broken} unreadable pictures skipped" if broken else ""
        self.display.line(
            f"held-out accuracy {top1:.4f} (best {self.best:.4f}) after {self.step} steps{skipped}"
        )

    def _save(self) -> None:
        state: dict[str, Any] = {
            "model": self.model.state_dict(), "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(), "step": self.step, "progress": self.progress,
            "best": self.best, "seconds": self.seconds(), "recipe": asdict(self.recipe),
            "validated": self.validated,
        }  # fmt: skip
        atomic_save(state, self.out / "last.pt")

    def _resume(self) -> None:
        path, now = self.out / "last.pt", asdict(self.recipe)
        settings = ("arch", "config", "seed", "batch")
        state = self.place.share(read_state(path, now, settings) if self.place.first else None)
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best, self.earlier_seconds = state["step"], state["best"], state["seconds"]
        self.validated = state.get("validated", -1)
        self.progress = min(1.0, self._progress_after(self.step))


def check_data(
    classes: tuple[str, ...], images: int, recipe: ClassifierRecipe, model: nn.Module
) -> tuple[str, ...]:
    """The classes, when they are as many as the model's outputs and there are images enough; UsageError."""
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    if last.out_features != len(classes):
        raise UsageError(
            f"train: {recipe.arch} has {last.out_features} classes, the data {len(classes)}; give --set "
            f"num_classes={len(classes)}"
        )
    if images < max(2, len(classes)):
        raise UsageError(
            f"train: {images} training pictures for {len(classes)} classes; at least one of each, and 2"
        )
    return classes


def augment(pixels: Tensor, least_crop: float, jitter: float, generator: torch.Generator) -> Tensor:
    """uint8 [n, H, W, C] to float [n, C, H, W] in [0, 1]: random crop, flip, brightness and contrast."""
    n = len(pixels)

    def uniform(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, generator=generator)

    x = pixels.permute(0, 3, 1, 2).float() / 255
    ratio = uniform(-math.log(4 / 3) / 2, math.log(4 / 3) / 2).exp()
    side = uniform(least_crop, 1.0).sqrt()
    width, height = (side * ratio).clamp(max=1.0), (side / ratio).clamp(max=1.0)
    theta = torch.zeros(n, 2, 3)
    theta[:, 0, 0] = width * torch.where(uniform(0, 1) < 0.5, -1.0, 1.0)
    theta[:, 1, 1] = height
    theta[:, 0, 2] = uniform(-1, 1) * (1 - width)
    theta[:, 1, 2] = uniform(-1, 1) * (1 - height)
    grid = F.affine_grid(theta, list(x.shape), align_corners=False)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="border", align_corners=False)
    mean = x.mean(dim=(1, 2, 3), keepdim=True)
    contrast, brightness = uniform(1 - jitter, 1 + jitter), uniform(1 - jitter, 1 + jitter)
    x = (x - mean) * contrast.view(n, 1, 1, 1) + mean * brightness.view(n, 1, 1, 1)
    return x.clamp(0, 1)
