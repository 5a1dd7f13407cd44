"""A model with its labelled images, measured engine by engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing.checkpoint import check_preprocessing, input_size_of
from rnnpool_mcu.ir.detections import as_array, parse_detections
from rnnpool_mcu.training.data.boxed_images import open_dataset
from rnnpool_mcu.training.data.labelled_images import ImageBank, abridged, load_labelled
from rnnpool_mcu.training.detection.decode import torch_predictor
from rnnpool_mcu.training.metrics.accuracy import evaluate_classifier, torch_classifier
from rnnpool_mcu.training.metrics.average_precision import collect, judge, precision_recall
from rnnpool_mcu.training.metrics.coco import coco_ap, faster_coco_eval
from rnnpool_mcu.training.metrics.plots import check_plot
from rnnpool_mcu.training.metrics.size_recall import SizeRecall, recall_by_size
from rnnpool_mcu.training.metrics.wider import load_wider_subsets
from rnnpool_mcu.training.metrics.wider_evaluation import check_listed, wider_results
from rnnpool_mcu.validate.accuracy import IntegerModel, chunk_size, open_model
from rnnpool_mcu.zoo.checkpoint import LoadedModel, load_checkpoint

Progress = Callable[[str], None]
Images = NDArray[np.uint8]


@dataclass(frozen=True)
class Request:
    """What is to be measured, as asked on the command line."""

    model: Path
    engines: tuple[str, ...]
    data: Path | None
    split: str | None
    count: int | None
    plot: Path | None = None
    coco: bool = False
    sizes: bool = False
    wider: Path | None = None
    calibration: Path | None = None
    jobs: int | None = None


@dataclass
class Measured:
    """One engine's row of the table, its curve for the plot, and the bytes it gave."""

    row: dict[str, Any]
    curve: Any = None
    outputs: list[bytes] = field(default_factory=list)
    sizes: list[SizeRecall] = field(default_factory=list)


class Subject:
    """A model with its labelled images, ready to be measured engine by engine.

    Whatever else the measurement needs is looked for at once: an engine may run for hours.
    """

    metric = ""
    split = ""

    def __init__(
        self, request: Request, loaded: LoadedModel | None, integer: IntegerModel | None, progress: Progress
    ):
        self.request, self.loaded, self.integer, self.progress = request, loaded, integer, progress
        self.float_model: Any = loaded.model if loaded is not None else None
        self.calibration = integer.calibration if integer is not None else None

    def measure(self, engine: str) -> Measured:
        """Run one engine over all images."""
        self.progress(f"{engine}: preparing")
        outputs: list[bytes] = []
        predict = self._float() if engine == "torch" else self._integer(engine, outputs)
        begin = time.perf_counter()
        measured = self._measure(self._shown(predict, engine), chunk_size(engine, self.request.jobs))
        seconds = time.perf_counter() - begin
        speed = measured.row["images"] / max(seconds, 1e-9)
        measured.row = {"engine": engine, **measured.row, "images_per_second": round(speed, 2)}
        measured.outputs = outputs
        return measured

    def _shown(self, predict: Callable[[Images], Any], engine: str) -> Callable[[Images], Any]:
        done = 0

        def counted(images: Images) -> Any:
            nonlocal done
            result = predict(images)
            done += len(images)
            self.progress(f"{engine}: {done} images")
            return result

        return counted

    def _integer(self, engine: str, outputs: list[bytes]) -> Callable[[Images], Any]:
        assert self.integer is not None
        run = self.integer.runner(engine)

        def predict(images: Images) -> Any:
            results = run(images)
            outputs.extend(results)
            return self._decode(results)

        return predict

    def _float(self) -> Callable[[Images], Any]:
        raise NotImplementedError

    def _decode(self, outputs: tuple[bytes, ...]) -> Any:
        raise NotImplementedError

    def _measure(self, predict: Callable[[Images], Any], chunk: int) -> Measured:
        raise NotImplementedError


class DetectorSubject(Subject):
    """AP over a split of the detectors' data, or over WIDER FACE's validation images."""

    metric = "ap50"

    def __init__(self, *arguments: Any, input_size: tuple[int, int, int]) -> None:
        super().__init__(*arguments)
        request = self.request
        if request.plot is not None:
            check_plot(request.plot)
        if request.coco:
            faster_coco_eval()
        self.subsets = None if request.wider is None else load_wider_subsets(request.wider)
        self.split = request.split or ("wider_face_val" if request.wider else "part_b_test")
        self.dataset = open_dataset(self.split, input_size, request.data, request.count)
        if self.subsets is not None:
            check_listed(self.dataset.samples, self.subsets)

    def _float(self) -> Callable[[Images], Any]:
        predict = torch_predictor(self.float_model)
        return lambda images: [predict(image) for image in images]

    def _decode(self, outputs: tuple[bytes, ...]) -> Any:
        return [as_array(parse_detections(output)) for output in outputs]

    def _measure(self, predict: Callable[[Images], Any], chunk: int) -> Measured:
        found = collect(predict, self.dataset, chunk)
        row: dict[str, Any] = found.metrics()
        if self.request.coco:
            row |= coco_ap(found.found, found.truth, found.ignored)
        if self.subsets is not None:
            row |= wider_results(self.dataset, found, self.subsets)
        row["skipped"] = len(self.dataset.broken)
        judged = judge(found.found, found.truth, 0.5, found.ignored)
        curve = precision_recall(judged.scores, judged.right, judged.truths)
        return Measured(row, (*curve, row["ap50"]), sizes=recall_by_size(found) if self.request.sizes else [])

    def broken(self) -> list[str]:
        """One line per image that could not be read."""
        return list(self.dataset.broken.values())


class ClassifierSubject(Subject):
    """Top-1 accuracy over a split of one data set."""

    metric = "top1"

    def __init__(self, *arguments: Any, input_size: tuple[int, int, int]) -> None:
        super().__init__(*arguments)
        request = self.request
        if request.data is None:
            raise UsageError(f"{request.model}: is a classifier; give the folder of its data set with --data")
        if request.plot or request.coco or request.wider or request.sizes:
            raise UsageError(
                f"{request.model}: is a classifier; --plot, --coco, --sizes and --wider are for detectors"
            )
        self.split = request.split or "test"
        self.bank = ImageBank(load_labelled(request.data, self.split), input_size)
        labels = self.loaded.labels if self.loaded is not None else []
        check_classes(request, labels, self._logits(), self.bank.content.classes)

    def _logits(self) -> int:
        """How many the model gives."""
        if self.integer is not None:
            return sum(self.integer.graph.types[name].bytes for name in self.integer.graph.outputs)
        blank = np.zeros((1, *self.bank.input_size), np.uint8)
        return self._float()(blank).shape[1]

    def _float(self) -> Callable[[Images], Any]:
        return torch_classifier(self.float_model)

    def _decode(self, outputs: tuple[bytes, ...]) -> Any:
        return np.stack([np.frombuffer(output, dtype=np.int8) for output in outputs])

    def _measure(self, predict: Callable[[Images], Any], chunk: int) -> Measured:
        return Measured(evaluate_classifier(predict, self.bank, self.request.count, chunk))

    def broken(self) -> list[str]:
        """One line per picture that could not be read."""
        return self.bank.describe_broken()


def open_subject(
    request: Request, stack: ExitStack, progress: Progress
) -> DetectorSubject | ClassifierSubject:
    """The model's engines and its images, by its kind."""
    loaded: LoadedModel | None = None
    integer: IntegerModel | None = None
    if is_checkpoint(request.model):
        loaded = load_checkpoint(request.model)
        check_preprocessing(request.model, loaded.preprocessing)
    if request.engines != ("torch",):
        progress("reading the model")
        opened = open_model(request.model, progress, calibration=request.calibration, jobs=request.jobs)
        integer = stack.enter_context(opened)
    if integer is not None:
        detector, shape = integer.is_detector, integer.graph.input_type.shape
    else:
        assert loaded is not None
        detector, shape = hasattr(loaded.model, "anchors"), input_size_of(loaded.model)
    height, width, channels = shape
    subject = DetectorSubject if detector else ClassifierSubject
    return subject(request, loaded, integer, progress, input_size=(height, width, channels))


def is_checkpoint(model: Path) -> bool:
    """Whether a float model can be read from it."""
    return model.is_file() and model.suffix.lower() in (".pt", ".pth")


def check_classes(request: Request, labels: Sequence[str], logits: int, classes: Sequence[str]) -> None:
    """UsageError unless the model's outputs are the classes of the data set, one by one.

    By name where the checkpoint has names. Else their numbers must be the same: what more outputs mean, and
    which of them would be which class, is not known.
    """
    where, advice = f"{request.model}: ", f"--data {request.data} needs those classes, in that order"
    for index, (label, name) in enumerate(zip(labels, classes, strict=False)):
        if label != name:
            raise UsageError(f"{where}class {index} is '{label}', in the data set '{name}'; {advice}")
    if labels and len(labels) != len(classes):
        raise UsageError(
            f"{where}{len(labels)} classes ({abridged(labels)}), the data set has {len(classes)} "
            f"({abridged(classes)}); {advice}"
        )
    if logits != len(classes):
        raise UsageError(
            f"{where}{logits} outputs, the data set has {len(classes)} classes ({abridged(classes)}); "
            "give the data set that the model was trained on"
        )


def labelled_images_of(
    model: Any, input_size: tuple[int, int, int], data: Path | None, split: str, count: int, seed: int
) -> Images:
    """At most `count` readable images of a split as the model sees them, drawn by `seed`."""
    rng = np.random.default_rng(seed)
    if hasattr(model, "anchors"):
        dataset = open_dataset(split, input_size, data)
        found = (dataset.read(int(index)) for index in rng.permutation(len(dataset)))
        images = [canvas.image for canvas in islice((f for f in found if f is not None), count)]
    else:
        if data is None:
            raise UsageError("a classifier's images: give the folder of its data set with --data")
        bank = ImageBank(load_labelled(data, split), input_size)
        batches = (bank.batch([int(index)])[0] for index in rng.permutation(len(bank)))
        images = [batch[0] for batch in islice((b for b in batches if len(b)), count)]
    if not images:
        raise UsageError(f"split '{split}': none of its pictures can be read; see `data check`")
    return np.stack(images)
