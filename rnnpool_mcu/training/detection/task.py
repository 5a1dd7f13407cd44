"""The task of finding boxes: SCUT-HEAD and WIDER FACE, views of their images, S3FD's loss, AP at IoU 0.5."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing.checkpoint import input_size_of
from rnnpool_mcu.training.data.augmentation import ViewSettings
from rnnpool_mcu.training.data.boxed_images import (
    VALIDATION_IMAGES,
    DetectionDataset,
    default_data_root,
    load_split,
    own_folder,
)
from rnnpool_mcu.training.data.cache import LEAST_LONG_SIDE, open_cache
from rnnpool_mcu.training.data.unreadable import check_broken, warn_of_new
from rnnpool_mcu.training.detection import recipe as recipes
from rnnpool_mcu.training.detection.batches import Source, draw_batch
from rnnpool_mcu.training.detection.decode import predictor
from rnnpool_mcu.training.detection.distillation import distillation_loss
from rnnpool_mcu.training.detection.loss import detection_loss
from rnnpool_mcu.training.detection.recipe import DetectionRecipe, Phase, anchor_sizes
from rnnpool_mcu.training.engine.batches import Batch
from rnnpool_mcu.training.engine.launch import Place
from rnnpool_mcu.training.engine.task import Names, Outputs, Score, Task
from rnnpool_mcu.training.metrics.average_precision import evaluate_detector
from rnnpool_mcu.zoo.checkpoint import LoadedModel, detector_preprocessing

Mix = tuple[tuple[str, float, float, float], ...]
MIX: Mix = (
    # split, zoom, early share, late share
    ("part_b_train", 1.0, 0.60, 0.85),
    ("part_a", 2.2, 0.28, 0.13),
    ("wider_face_train", 1.0, 0.12, 0.02),
)
"""Part A's heads are a third of Part B's size, and WIDER labels faces, not heads."""
OWN_MIX: Mix = (("train", 1.0, 1.0, 1.0),)
"""Of a folder of one's own."""


class DetectionTask(Task):
    """A detector and its images."""

    names = Names("detector", "face-m4", "ap50", "validation AP", ("loc_loss", "conf_loss"))
    recipe_type = DetectionRecipe
    recipe: DetectionRecipe

    @classmethod
    def fits(cls, model: nn.Module) -> bool:
        """Detectors say which priors they answer for."""
        return hasattr(model, "anchors")

    @classmethod
    def find_data(cls, arch: str, data: Path | None) -> Path:
        """The folder of all data sets: the one given, or that of the environment."""
        root = data or default_data_root()
        if not root.is_dir():
            raise UsageError(f"train: no data folder {root}")
        own = own_folder(root)
        if own is None:
            load_split(root, "part_b_val")
        else:
            _only_class(root, own.classes())
        return root

    @classmethod
    def defaults(cls, model: nn.Module, given: Mapping[str, Any]) -> dict[str, Any]:
        """Views of the model's size, fewer validations of large ones."""
        large = getattr(model, "large_levels", 0) > 0
        return recipes.defaults(input_size_of(model), bool(given.get("qat")), large)

    def __init__(self, recipe: DetectionRecipe, data: Path, model: nn.Module, place: Place) -> None:
        self.recipe, self.root, self.place = recipe, data, place
        self.detector: Any = model
        self.input_size = input_size_of(model)
        self.preprocessing = detector_preprocessing(self.input_size[2])
        own = own_folder(data)
        self.mix: Mix = MIX if own is None else OWN_MIX
        self.held_out = "part_b_val" if own is None else "val"
        self.labels = ["face"] if own is None else [_only_class(data, own.classes())]
        self.described = "" if own is None else own.describe()
        self.named: set[str] = set()

    def open(self, cache: Path) -> None:
        """The first process of each machine makes what is missing of the images' cache."""
        if self.place.local_rank != 0:
            self.place.wait()
        self.sources = [self._open_source(cache, *row) for row in self.mix]
        if self.place.local_rank == 0:
            self.place.wait()
        if not any(len(boxes) for source in self.sources for boxes in source.images.boxes):
            raise UsageError(f"train: no image in {self.root} has a box inside it; see `data check`")
        held_out = load_split(self.root, self.held_out)
        if self.mix is OWN_MIX:  # whatever the order of its file
            order = np.random.default_rng(self.recipe.seed).permutation(len(held_out))
            held_out = [held_out[index] for index in order]
        self.validation = DetectionDataset(held_out[: self.recipe.validation_images], self.input_size)

    def _open_source(self, cache: Path, split: str, zoom: float, early: float, late: float) -> Source:
        height, width, channels = self.input_size
        samples = load_split(self.root, split)
        if not samples:
            raise UsageError(
                f"train: {split} has no images; {VALIDATION_IMAGES} of part_b_trainval are held out for "
                "validation, more than those are needed to train"
            )
        images = open_cache(samples, cache, max(LEAST_LONG_SIDE, height, width), channels)
        return Source(images, zoom, early, late)

    def draw(self, step: int, progress: float) -> Batch:
        """Random views of the mix, of the size that the phase has."""
        phase, detector = self._phase(progress), self.detector
        height, width, channels = self.input_size
        settings = ViewSettings(
            phase.height, phase.width, height, width, channels, phase.zoom_low, phase.zoom_high,
            phase.anchor_sampling, anchor_sizes(detector.anchors, phase),
        )  # fmt: skip
        rng = np.random.default_rng([self.recipe.seed, self.place.rank, step])
        size = max(1, phase.batch // self.place.processes)
        return draw_batch(self.sources, progress, size, settings, detector.anchors, detector.variances, rng)

    def _phase(self, progress: float) -> Phase:
        return next((p for p in self.recipe.phases if progress < p.until), self.recipe.phases[-1])

    def loss(self, outputs: Outputs, batch: Batch) -> Tensor:
        """Of the offsets and of the scores."""
        positive, target = batch.targets["positive"], batch.targets["target"]
        ignored = batch.targets["ignored"]
        return torch.stack(detection_loss(outputs, positive, target, self.detector.variances, ignored))

    def check_teacher(self, path: Path, teacher: LoadedModel) -> None:
        """It must answer for the same priors on as many channels."""
        detector = self.detector
        larger: Any = teacher.model
        wanted = (detector.anchors, detector.variances, detector.input_size[2])
        found = (larger.anchors, larger.variances, larger.input_size[2])
        if wanted != found:
            raise UsageError(
                f"train --teacher {path}: {teacher.arch} has the priors (side, stride) {larger.anchors} on "
                f"{found[2]} channel(s), the trained model {detector.anchors} on {wanted[2]}; they must be "
                "the same: train a wider one of the same architecture, e.g. --set hidden=32"
            )

    def distillation(self, outputs: Outputs, taught: Outputs, batch: Batch) -> Tensor:
        """Against the teacher's scores, and its boxes where it is sure."""
        return distillation_loss(outputs, taught, batch.targets["positive"], self.detector.variances)

    def evaluate(self, model: nn.Module) -> Score:
        """AP at IoU 0.5 on the validation split."""
        predict = predictor(model, self.detector.anchors, self.detector.variances)
        result = evaluate_detector(predict, self.validation)
        broken = list(self.validation.broken.values())
        check_broken(broken, len(self.validation), "validation images")
        warn_of_new(broken, self.named)
        return Score(float(result["ap50"]), result["images"])

    def skipped(self) -> list[str]:
        """Paths of the images that could not be read, of the training's and the validation's."""
        broken = [str(path) for source in self.sources for path in source.images.broken]
        return broken + [str(self.validation.samples[index].path) for index in self.validation.broken]


def _only_class(root: Path, classes: tuple[str, ...]) -> str:
    """The one class of a folder; UsageError for none and for several."""
    if len(classes) != 1:
        raise UsageError(
            f"train: {root} has boxes of {len(classes)} classes{': ' * bool(classes)}{', '.join(classes)}; "
            "detectors find one class: leave the boxes of one in its files"
        )
    return classes[0]
