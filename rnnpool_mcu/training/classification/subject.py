"""A classifier as `evaluate` measures it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.classification.predictor import torch_classifier
from rnnpool_mcu.training.data.labelled_images import ImageBank, abridged, load_labelled
from rnnpool_mcu.training.evaluation.subject import Images, Measured, Opened, Progress, Request, Subject
from rnnpool_mcu.training.metrics.accuracy import evaluate_classifier


class ClassifierSubject(Subject):
    """Top-1 accuracy over a split of one data set."""

    metric = "top1"

    @classmethod
    def pictures(
        cls, input_size: tuple[int, int, int], data: Path | None, split: str, rng: np.random.Generator
    ) -> Iterator[Images]:
        """Stretched to the input; `data` is the folder of one data set."""
        if data is None:
            raise UsageError("a classifier's images: give the folder of its data set with --data")
        bank = ImageBank(load_labelled(data, split), input_size)
        batches = (bank.batch([int(index)])[0] for index in rng.permutation(len(bank)))
        return (batch[0] for batch in batches if len(batch))

    def __init__(self, opened: Opened, progress: Progress) -> None:
        super().__init__(opened, progress)
        request = opened.request
        if request.data is None:
            raise UsageError(f"{request.model}: is a classifier; give the folder of its data set with --data")
        if request.plot or request.coco or request.wider or request.sizes:
            raise UsageError(
                f"{request.model}: is a classifier; --plot, --coco, --sizes and --wider are for detectors"
            )
        self.split = request.split or "test"
        self.bank = ImageBank(load_labelled(request.data, self.split), opened.input_size)
        labels = opened.loaded.labels if opened.loaded is not None else []
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
