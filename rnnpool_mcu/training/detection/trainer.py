"""The detectors' training loop: steps, averaging between processes, validation, log, resume."""

from __future__ import annotations

import copy
import csv
import math
import os
import time
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing.checkpoint import check_preprocessing
from rnnpool_mcu.training.data.augmentation import ViewSettings
from rnnpool_mcu.training.data.boxed_images import VALIDATION_IMAGES, DetectionDataset, load_split
from rnnpool_mcu.training.data.cache import LEAST_LONG_SIDE, open_cache
from rnnpool_mcu.training.detection.aware import AwareDetector
from rnnpool_mcu.training.detection.batches import Batch, Source, batch_stream, draw_batch
from rnnpool_mcu.training.detection.decode import torch_predictor
from rnnpool_mcu.training.detection.distill import distillation_loss, file_digest, load_teacher
from rnnpool_mcu.training.detection.loss import detection_loss
from rnnpool_mcu.training.detection.recipe import Phase, Recipe, anchor_sizes, describe
from rnnpool_mcu.training.engine.display import Display
from rnnpool_mcu.training.engine.launch import Place, average_gradients
from rnnpool_mcu.training.engine.optimization import (
    check_broken,
    check_origins,
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
from rnnpool_mcu.training.engine.sparsity import Sparsity
from rnnpool_mcu.training.metrics.average_precision import evaluate_detector
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
    "step", "minutes", "progress", "learning_rate", "loc_loss", "conf_loss", "images_per_second", "val_ap50",
)  # fmt: skip
RESUMED_ALIKE = ("arch", "config", "seed", "processes", "rnn_density", "qat")
"""Settings of the recipe that a resumed training cannot change."""
MOST_WORKERS = 8


class Trainer:
    """State of one training process."""

    def __init__(
        self, recipe: Recipe, root: Path, out: Path, place: Place, quiet: bool, started: float
    ) -> None:
        self.recipe, self.root, self.out, self.place, self.started = recipe, root, out, place, started
        self.display = Display(f"training {recipe.arch}", quiet or not place.first)
        torch.manual_seed(recipe.seed)
        detector: Any = create(recipe.arch, **recipe.config)
        self.detector = detector.to(place.device, memory_format=torch.channels_last)
        self.calibration: dict[str, tuple[float, int]] | None = None
        if recipe.initial:
            self._begin_with(Path(recipe.initial))
        self.ema: Any = copy.deepcopy(self.detector).eval()
        self.model: nn.Module = self._aware(self.detector) if recipe.qat else self.detector
        self.teacher = load_teacher(Path(recipe.teacher), detector, place.device) if recipe.teacher else None
        self.taught_by = file_digest(Path(recipe.teacher)) if recipe.teacher else None
        self.sparsity = Sparsity(self.detector, recipe.rnn_density) if recipe.rnn_density else None
        self.optimizer = torch.optim.AdamW(
            weight_groups(self.model, recipe.weight_decay), lr=recipe.learning_rate
        )
        self.step, self.progress, self.best_ap50, self.earlier_seconds = 0, 0.0, -1.0, 0.0
        self.validated = -1  # the step of the last validation
        self.named: set[str] = set()
        if recipe.compile:
            compile_around_rnnpool(self.model)

    def _begin_with(self, path: Path) -> None:
        """Weights, and for quantization-aware training ranges, of a checkpoint of the same architecture."""
        initial = load_checkpoint(path)
        check_preprocessing(path, initial.preprocessing)
        wanted = {name: tuple(value.shape) for name, value in self.detector.state_dict().items()}
        found = {name: tuple(value.shape) for name, value in initial.model.state_dict().items()}
        if wanted != found:
            raise UsageError(
                f"train --init {path}: holds {initial.arch} with {initial.config or 'its default settings'}, "
                f"not {self.recipe.arch} with {self.recipe.config or 'its default settings'}; give a "
                "checkpoint of the same model, or the same --set"
            )
        self.detector.load_state_dict(initial.model.state_dict())
        self.calibration = initial.calibration if self.recipe.qat else None

    def _aware(self, detector: Any) -> AwareDetector:
        """A copy of the detector that computes on int8 grids."""
        if self.calibration is None:
            raise UsageError(
                f"train --qat: {self.recipe.initial} holds no activation ranges; run `rnnpool-mcu "
                "quantize` on it first, and begin with what that writes"
            )
        return AwareDetector(detector, self.calibration)

    def run(self, resume: bool) -> dict[str, Any]:
        """Train to the end of the recipe; returns {"best", "ap50", "steps", "skipped"}."""
        if resume:
            self._resume()
        self.sources = self._open_sources()
        self.validation = DetectionDataset(
            load_split(self.root, "part_b_val")[: self.recipe.validation_images], self.detector.input_size
        )
        with self.display:
            self._train_and_evaluate()
        return {
            "best": str(self.out / "best.pt"),
            "ap50": self.best_ap50,
            "steps": self.step,
            "skipped": self.skipped(),
        }

    def skipped(self) -> list[str]:
        """Images that could not be read, of the training's and the validation's."""
        broken = [str(path) for source in self.sources for path in source.images.broken]
        return broken + [str(self.validation.samples[index].path) for index in self.validation.broken]

    def _train_and_evaluate(self) -> None:
        """Part by part, to the next save or validation; rank 0 does these while the others wait for it."""
        recipe = self.recipe
        batches = self._batches()
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
            self._log(torch.full((2,), math.nan), 0.0, self.evaluate())
            self._save()

    def _open_sources(self) -> list[Source]:
        """The caches; the first process of each machine makes what is missing."""
        folder = self.out.parent / "cache"
        if self.place.local_rank != 0:
            self.place.wait()
        height, width, channels = self.detector.input_size
        sources = []
        for split, zoom, early, late in MIX:
            samples = load_split(self.root, split)
            if not samples:
                raise UsageError(
                    f"train: {split} has no images; {VALIDATION_IMAGES} of part_b_trainval are held out for "
                    "validation, more than those are needed to train"
                )
            cache = open_cache(samples, folder, max(LEAST_LONG_SIDE, height, width), channels)
            sources.append(Source(cache, zoom, early, late))
        if self.place.local_rank == 0:
            self.place.wait()
        if not any(len(boxes) for source in sources for boxes in source.images.boxes):
            raise UsageError(f"train: no image in {self.root} has a box inside it; see `data check`")
        return sources

    def seconds(self) -> float:
        """Wall-clock seconds of training, resumed parts included."""
        return self.earlier_seconds + time.time() - self.started

    def _progress_after(self, steps: int) -> float:
        """Share of the training that is done, now or, if it is counted in steps, after so many of them."""
        if self.recipe.steps is not None:
            return steps / self.recipe.steps
        return self.seconds() / 60 / float(self.recipe.minutes or 1)

    def _phase(self, progress: float) -> Phase:
        return next((p for p in self.recipe.phases if progress < p.until), self.recipe.phases[-1])

    def _batches(self) -> Iterator[Batch]:
        """This process's batches from the present step on."""
        cuda = self.place.device.type == "cuda"
        workers = self.recipe.workers
        if workers is None:
            workers = min(MOST_WORKERS, max(1, (os.cpu_count() or 2) // self.place.processes)) if cuda else 0
        by_steps = self.recipe.steps is not None
        return batch_stream(
            self._draw,
            self.step,
            lambda step: min(1.0, self._progress_after(step)) if by_steps else self.progress,
            workers,
            pinned=cuda,
        )

    def _draw(self, step: int, progress: float) -> Batch:
        phase, recipe = self._phase(progress), self.recipe
        height, width, channels = self.detector.input_size
        settings = ViewSettings(
            phase.height, phase.width, height, width, channels, phase.zoom_low, phase.zoom_high,
            phase.anchor_sampling, anchor_sizes(self.detector.anchors, phase),
        )  # fmt: skip
        rng = np.random.default_rng([recipe.seed, self.place.rank, step])
        size = max(1, phase.batch // self.place.processes)
        return draw_batch(
            self.sources, progress, size, settings, self.detector.anchors, self.detector.variances, rng
        )

    def train_until(self, progress: float, batches: Iterator[Batch]) -> tuple[Tensor, float]:
        """Train up to a share of the whole; returns mean (offset, score) losses and images per second."""
        self.model.train()
        total, count, images, begin = torch.zeros(2, device=self.place.device), 0, 0, time.time()
        while self.progress < progress - 1e-9:
            batch = next(batches).to(self.place.device)
            losses = self.train_step(batch)
            total, count, images = total + losses, count + 1, images + len(batch.x) * self.place.processes
            if self.step % LOG_EVERY == 0:
                mean, speed = total / count, images / (time.time() - begin)
                self.display.update(
                    self.progress,
                    f"step {self.step} loc {mean[0]:.3f} conf {mean[1]:.3f} {speed:.1f} images/s "
                    f"{self.seconds() / 60:.1f} min",
                )
        return total / max(1, count), images / max(1e-6, time.time() - begin)

    def train_step(self, batch: Batch) -> Tensor:
        """One optimizer step; returns the two losses, detached. NotFiniteError names the images."""
        for group in self.optimizer.param_groups:
            group["lr"] = self._learning_rate()
        self.optimizer.zero_grad(set_to_none=True)
        losses, taught = self._losses(batch)
        (losses.sum() + taught).backward()
        progress = average_gradients(self.model, self._progress_after(self.step + 1), self.place)
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), self.recipe.clip_norm)
        if not torch.isfinite(norm + losses.detach().sum()):
            images = self._not_finite_images(batch, losses.detach())
            raise not_finite(self.step, images, self.out / "last.pt")
        self.optimizer.step()
        self.step, self.progress = self.step + 1, min(1.0, progress)
        own = self.model.float_state() if isinstance(self.model, AwareDetector) else self.model.state_dict()
        update_average(self.ema, own, self.recipe.ema_decay, self.step)
        if self.sparsity is not None:
            self.sparsity.apply(self.model, self.ema, self.progress)
        return losses.detach()

    def _losses(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """(offset, score) losses [2] of the labels, and the loss against the teacher (0 without one)."""
        x = batch.x.contiguous(memory_format=torch.channels_last)
        variances = self.detector.variances
        with torch.autocast(self.place.device.type, torch.bfloat16, enabled=self.recipe.amp):
            outputs = self.model(x)
        outputs = [level.float() for level in outputs]
        losses = torch.stack(detection_loss(outputs, batch.positive, batch.target, variances))
        if self.teacher is None:
            return losses, losses.new_zeros(())
        with torch.no_grad():
            wanted = self.teacher(x)
        weight = self.recipe.teacher_weight
        return losses, weight * distillation_loss(outputs, wanted, batch.positive, variances)

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
            one = slice(row, row + 1)
            outputs = self.ema(batch.x[one])
            loc, conf = detection_loss(
                outputs, batch.positive[one], batch.target[one], self.detector.variances
            )
            if not torch.isfinite(loc + conf):
                found.append(name)
        return found

    def _learning_rate(self) -> float:
        return cosine_rate(self.progress, self.recipe.learning_rate, self.recipe.warmup, 0.01)

    def evaluate(self) -> float:
        """AP at IoU 0.5 of the averaged weights on the validation split; keeps the best as best.pt.

        Under quantization-aware training it is the AP on int8 grids. While sparsity still grows, none is
        kept: it would have too many weights.
        """
        judged = self._aware(self.ema) if self.recipe.qat else self.ema
        result = evaluate_detector(torch_predictor(judged), self.validation)
        check_broken(list(self.validation.broken.values()), len(self.validation), "validation images")
        self.validated = self.step
        ap50 = float(result["ap50"])
        if ap50 > self.best_ap50 and (self.sparsity is None or self.sparsity.settled):
            self.best_ap50 = ap50
            recipe = self.recipe
            metrics = {"val_ap50": ap50, "val_images": result["images"], "step": self.step,
                       "minutes": self.seconds() / 60, "recipe": describe(recipe)}  # fmt: skip
            preprocessing = detector_preprocessing(self.detector.input_size[2])
            save_checkpoint(
                self.out / "best.pt", self.ema, recipe.arch, recipe.config, preprocessing, ["face"], metrics,
                self.calibration,
            )  # fmt: skip
        return ap50

    def _log(self, losses: Tensor, speed: float, ap50: float) -> None:
        path = self.out / "log.csv"
        fresh = not path.is_file()
        rate, minutes = self._learning_rate(), self.seconds() / 60
        values = (self.step, minutes, self.progress, rate, *losses.tolist(), speed, ap50)
        with path.open("a", newline="") as file:
            writer = csv.writer(file)
            if fresh:
                writer.writerow(LOG_FIELDS)
            writer.writerow([f"{v:.6g}" for v in values])
        warn_of_new(list(self.validation.broken.values()), self.named)
        broken = len(self.skipped())
        skipped = f"; {broken} unreadable images skipped" if broken else ""
        self.display.line(
            f"validation AP {ap50:.4f} (best {self.best_ap50:.4f}) after {self.step} steps{skipped}"
        )

    def _save(self) -> None:
        state: dict[str, Any] = {
            "model": self.model.state_dict(), "ema": self.ema.state_dict(),
            "optimizer": self.optimizer.state_dict(), "step": self.step, "progress": self.progress,
            "best_ap50": self.best_ap50, "seconds": self.seconds(), "recipe": describe(self.recipe),
            "validated": self.validated, **self._origins(),
        }  # fmt: skip
        atomic_save(state, self.out / "last.pt")

    def _origins(self) -> dict[str, Any]:
        """What this training took from other files."""
        return {"calibration": self.calibration, "teacher": self.taught_by}

    def _read_state(self) -> dict[str, Any]:
        path = self.out / "last.pt"
        state = read_state(path, describe(self.recipe), RESUMED_ALIKE)
        taught = bool(state["recipe"].get("teacher"))
        state.setdefault("teacher", (self.taught_by or "not kept") if taught else None)
        check_origins(path, state, self._origins())
        return state

    def _resume(self) -> None:
        """The first process reads last.pt for all: the others may be on other machines."""
        state = self.place.share(self._read_state() if self.place.first else None)
        self.model.load_state_dict(state["model"])
        self.ema.load_state_dict(state["ema"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step, self.best_ap50, self.earlier_seconds = state["step"], state["best_ap50"], state["seconds"]
        self.validated = state.get("validated", -1)
        # of what is asked for now, which may be more than before
        self.progress = min(1.0, self._progress_after(self.step))
        if self.sparsity is not None:
            self.sparsity.apply(self.model, self.ema, self.progress)
