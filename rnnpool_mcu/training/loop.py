"""The training loop: steps, averaging between processes, validation, log, resume."""

from __future__ import annotations

import copy
import csv
import math
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.augment import ViewSettings
from rnnpool_mcu.training.aware import AwareDetector
from rnnpool_mcu.training.batches import Batch, Source, draw_batch
from rnnpool_mcu.training.cache import LEAST_LONG_SIDE, open_cache
from rnnpool_mcu.training.datasets import DetectionDataset, load_split
from rnnpool_mcu.training.decode import torch_predictor
from rnnpool_mcu.training.display import Display
from rnnpool_mcu.training.loss import detection_loss
from rnnpool_mcu.training.metrics import evaluate_detector
from rnnpool_mcu.training.recipe import Phase, Recipe, anchor_sizes, describe
from rnnpool_mcu.zoo import create
from rnnpool_mcu.zoo.checkpoint import atomic_save, detector_preprocessing, load_checkpoint, save_checkpoint

MIX = (
    # split, zoom, early share, late share
    ("part_b_train", 1.0, 0.60, 0.85),
    ("part_a", 2.2, 0.28, 0.13),
    ("wider_face_train", 1.0, 0.12, 0.02),
)
"""Part A's heads are a third of Part B's size, and WIDER labels faces, not heads."""
LOG_EVERY = 100
LOG_FIELDS = (
    "step",
    "minutes",
    "progress",
    "learning_rate",
    "loc_loss",
    "conf_loss",
    "images_per_second",
    "val_ap50",
)


class Trainer:
    """State of one training process."""

    def __init__(self, recipe: Recipe, root: Path, out: Path, rank: int, quiet: bool, started: float) -> None:
        self.recipe, self.root, self.out, self.rank, self.started = recipe, root, out, rank, started
        self.display = Display(f"training {recipe.arch}", quiet or rank != 0)
        torch.manual_seed(recipe.seed)
        detector: Any = create(recipe.arch, **recipe.config)
        self.detector = detector.to(memory_format=torch.channels_last)
        self.calibration: dict[str, tuple[float, int]] | None = None
        if recipe.initial:
            initial = load_checkpoint(Path(recipe.initial))
            self.detector.load_state_dict(initial.model.state_dict())
            self.calibration = initial.calibration if recipe.qat else None
        self.ema: Any = copy.deepcopy(self.detector).eval()
        self.model: nn.Module = self._aware(self.detector) if recipe.qat else self.detector
        self.optimizer = torch.optim.AdamW(_groups(self.model, recipe.weight_decay), lr=recipe.learning_rate)
        self.step, self.progress, self.best_ap50, self.earlier_seconds = 0, 0.0, -1.0, 0.0

    def _aware(self, detector: Any) -> AwareDetector:
        """A copy of the detector that computes on int8 grids."""
        if self.calibration is None:
            raise UsageError(
                f"train --qat: {self.recipe.initial} holds no activation ranges; run `rnnpool-mcu "
                "quantize` on it first, and begin with what that writes"
            )
        return AwareDetector(detector, self.calibration)

    def run(self, resume: bool) -> None:
        """Train to the end of the recipe."""
        if resume:
            self._resume()
        self.sources = self._open_sources()
        self.validation = DetectionDataset(
            load_split(self.root, "part_b_val")[: self.recipe.validation_images], self.detector.input_size
        )
        with self.display:
            self._train_and_evaluate()

    def _train_and_evaluate(self) -> None:
        """Part by part, to the next save or validation; rank 0 does these while the others wait for it."""
        recipe = self.recipe
        while self.progress < 1.0:
            judged = passed(self.progress, recipe.evaluations)
            until = min(following(self.progress, recipe.evaluations), following(self.progress, recipe.saves))
            losses, speed = self.train_until(until)
            if self.rank != 0:
                continue
            if passed(self.progress, recipe.evaluations) > judged:
                self._log(losses, speed, self.evaluate())
            self._save()

    def _open_sources(self) -> list[Source]:
        folder = self.out.parent / "cache"
        if self.rank != 0:
            torch.distributed.barrier()
        height, width, channels = self.detector.input_size
        sources = []
        for split, zoom, early, late in MIX:
            samples = load_split(self.root, split)
            cache = open_cache(samples, folder, max(LEAST_LONG_SIDE, height, width), channels)
            sources.append(Source(cache, zoom, early, late))
        if self.rank == 0 and self.recipe.processes > 1:
            torch.distributed.barrier()
        return sources

    def seconds(self) -> float:
        """Wall-clock seconds of training, resumed parts included."""
        return self.earlier_seconds + time.time() - self.started

    def _own_progress(self) -> float:
        if self.recipe.steps is not None:
            return (self.step + 1) / self.recipe.steps
        return self.seconds() / 60 / float(self.recipe.minutes or 1)

    def _phase(self) -> Phase:
        return next((p for p in self.recipe.phases if self.progress < p.until), self.recipe.phases[-1])

    def _draw(self) -> Batch:
        phase, recipe = self._phase(), self.recipe
        settings = ViewSettings(
            phase.height, phase.width, *self.detector.input_size, phase.zoom_low, phase.zoom_high,
            phase.anchor_sampling, anchor_sizes(self.detector.anchors, phase),
        )  # fmt: skip
        rng = np.random.default_rng([recipe.seed, self.rank, self.step])
        size = max(1, phase.batch // recipe.processes)
        return draw_batch(
            self.sources, self.progress, size, settings, self.detector.anchors, self.detector.variances, rng
        )

    def train_until(self, progress: float) -> tuple[Tensor, float]:
        """Train up to a share of the whole; returns mean (offset, score) losses and images per second."""
        self.model.train()
        total, count, images, begin = torch.zeros(2), 0, 0, time.time()
        while self.progress < progress - 1e-9:
            batch = self._draw()
            losses = self.train_step(batch)
            total, count, images = total + losses, count + 1, images + len(batch.x) * self.recipe.processes
            if self.step % LOG_EVERY == 0:
                mean, speed = total / count, images / (time.time() - begin)
                self.display.update(
                    self.progress,
                    f"step {self.step} loc {mean[0]:.3f} conf {mean[1]:.3f} {speed:.1f} images/s "
                    f"{self.seconds() / 60:.1f} min",
                )
        return total / max(1, count), images / max(1e-6, time.time() - begin)

    def train_step(self, batch: Batch) -> Tensor:
        """One optimizer step; returns the two losses, detached."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        outputs = self.model(batch.x.contiguous(memory_format=torch.channels_last))
        loc_loss, conf_loss = detection_loss(outputs, batch.positive, batch.target, self.detector.variances)
        (loc_loss + conf_loss).backward()
        self._average_gradients()
        nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        self.optimizer.step()
        self.step += 1
        self._update_ema()
        return torch.stack((loc_loss, conf_loss)).detach()

    def _average_gradients(self) -> None:
        """Mean of gradients and progress over the processes: all take the same step and end together."""
        own = self._own_progress()
        if self.recipe.processes == 1:
            self.progress = min(1.0, own)
            return
        gradients = [p.grad for p in self.model.parameters() if p.grad is not None]
        flat = torch.cat([g.flatten() for g in gradients] + [torch.tensor([own])])
        torch.distributed.all_reduce(flat)
        flat /= self.recipe.processes
        offset = 0
        for gradient in gradients:
            gradient.copy_(flat[offset : offset + gradient.numel()].view_as(gradient))
            offset += gradient.numel()
        self.progress = min(1.0, float(flat[-1]))

    def _learning_rate(self) -> float:
        recipe = self.recipe
        if self.progress < recipe.warmup:
            return recipe.learning_rate * max(0.02, self.progress / recipe.warmup)
        share = (self.progress - recipe.warmup) / (1 - recipe.warmup)
        return recipe.learning_rate * (0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * share)))

    @torch.no_grad()
    def _update_ema(self) -> None:
        decay = min(self.recipe.ema_decay, (1 + self.step) / (10 + self.step))
        model = self.model
        own = model.float_state() if isinstance(model, AwareDetector) else model.state_dict()
        kept = self.ema.state_dict()
        for name, value in own.items():
            into = kept[name]
            into.lerp_(value, 1 - decay) if into.is_floating_point() else into.copy_(value)

    def evaluate(self) -> float:
        """AP at IoU 0.5 of the averaged weights on the validation split; keeps the best as best.pt.

        Under quantization-aware training it is the AP on int8 grids.
        """
        judged = self._aware(self.ema) if self.recipe.qat else self.ema
        result = evaluate_detector(torch_predictor(judged), self.validation)
        ap50 = float(result["ap50"])
        if ap50 > self.best_ap50:
            self.best_ap50 = ap50
            metrics = {"val_ap50": ap50, "val_images": result["images"], "step": self.step,
                       "minutes": self.seconds() / 60, "recipe": describe(self.recipe)}  # fmt: skip
            recipe = self.recipe
            save_checkpoint(
                self.out / "best.pt",
                self.ema,
                recipe.arch,
                recipe.config,
                detector_preprocessing(self.detector.input_size[2]),
                ["face"],
                metrics,
                self.calibration,
            )
        return ap50

    def _log(self, losses: Tensor, speed: float, ap50: float) -> None:
        path = self.out / "log.csv"
        fresh = not path.is_file()
        values = (
            self.step,
            self.seconds() / 60,
            self.progress,
            self._learning_rate(),
            *losses.tolist(),
            speed,
            ap50,
        )
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(LOG_FIELDS)
            writer.writerow([f"{v:.6g}" for v in values])
        self.display.line(f"validation AP {ap50:.4f} (best {self.best_ap50:.4f}) after {self.step} steps")

    def _save(self) -> None:
        state: dict[str, Any] = {
            "model": self.model.state_dict(),
            "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "progress": self.progress,
            "best_ap50": self.best_ap50,
            "seconds": self.seconds(),
            "recipe": describe(self.recipe),
        }
        atomic_save(state, self.out / "last.pt")

    def _resume(self) -> None:
        state = torch.load(self.out / "last.pt", weights_only=True)
        was, now = state["recipe"], describe(self.recipe)
        for setting in ("arch", "config", "seed", "processes"):
            if was[setting] != now[setting]:
                raise UsageError(
                    f"train: {self.out / 'last.pt'} was trained with {setting} {was[setting]!r}, not "
                    f"{now[setting]!r}; give the same to resume, or another output folder"
                )
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best_ap50, self.earlier_seconds = state["step"], state["best_ap50"], state["seconds"]
        share = (
            self.step / self.recipe.steps
            if self.recipe.steps
            else state["seconds"] / 60 / self.recipe.minutes
        )
        self.progress = min(1.0, share)  # of what is asked for now, which may be more than before


def passed(progress: float, parts: int) -> int:
    """How many of `parts` equal parts of the training are done at `progress` (0 to 1)."""
    return math.floor(progress * parts + 1e-9)


def following(progress: float, parts: int) -> float:
    """The progress at which the next of `parts` equal parts ends."""
    return min(1.0, (passed(progress, parts) + 1) / parts)


def _groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Weight decay for matrices and kernels only."""
    decayed = [p for p in model.parameters() if p.ndim > 1 and p.shape[0] > 1]
    others = [p for p in model.parameters() if not (p.ndim > 1 and p.shape[0] > 1)]
    return [{"params": decayed, "weight_decay": weight_decay}, {"params": others, "weight_decay": 0.0}]
