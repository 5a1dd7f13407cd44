"""A classifier as `evaluate` measures it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.arg_max import MAX_CHANNELS, is_index
from rnnpool_mcu.training.classification.predictor import torch_classifier
from rnnpool_mcu.training.data.labelled_arrays import ArrayBank
from rnnpool_mcu.training.data.labelled_images import ImageBank, abridged, load_labelled
from rnnpool_mcu.training.evaluation.subject import Images, Measured, Opened, Progress, Request, Subject
from rnnpool_mcu.training.metrics.accuracy import evaluate_classifier
from rnnpool_mcu.validate.accuracy import IntegerModel


class ClassifierSubject(Subject):
    """Top-1 accuracy over a split of one data set."""

    metric = "top1"

    @classmethod
    def fits(cls, request: Request, integer: IntegerModel) -> bool:
        """Any that gives no boxes."""
        return not integer.is_detector and request.decode is None

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
        if request.plot or request.coco or request.wider or request.sizes or request.category:
            raise UsageError(
                f"{request.model}: is a classifier; --plot, --coco, --sizes, --wider and --category are for "
                "detectors"
            )
        self.split = request.split or "test"
        self.bank: ImageBank | ArrayBank
        if request.data.is_file():
            self.bank = self._rows(request.data, opened)
            return
        self.bank = ImageBank(
            load_labelled(request.data, self.split), opened.input_size, opened.fit_of("classifier")
        )
        labels = opened.loaded.labels if opened.loaded is not None else []
        classes = self.bank.content.classes
        logits = len(classes) if self._gives_index() else self._logits(opened.input_size)
        check_classes(request, labels, logits, classes)

    def _rows(self, path: Path, opened: Opened) -> ArrayBank:
        """Inputs and labels of an .npz file."""
        if path.suffix.lower() == ".json":
            raise UsageError(
                f"--data {path}: has boxes, and the model's outputs are no list of boxes; give --decode "
                "FILE.py, which makes them (docs/evaluation.md)"
            )
        if path.suffix.lower() != ".npz" or self.integer is None:
            raise UsageError(
                f"--data {path}: is a file, allowed: a folder, or for the engines int8, c and qemu an .npz "
                "with inputs x and labels y"
            )
        if opened.request.split is not None:
            raise UsageError(f"--split {opened.request.split}: {path.name} has no splits; leave it out")
        self.split = path.name
        form = self.integer.input.form_in(self.integer.graph.input_type)
        return ArrayBank(path, form, MAX_CHANNELS if self._gives_index() else self._logits(form.size))

    def _gives_index(self) -> bool:
        """Whether the integers end in the number of the class instead of a score for each."""
        if self.integer is None:
            return False
        graph = self.integer.graph
        return len(graph.outputs) == 1 and is_index(graph, graph.outputs[0])

    def _logits(self, input_size: tuple[int, int, int]) -> int:
        """How many the model gives."""
        if self.integer is not None:
            return sum(self.integer.graph.types[name].bytes for name in self.integer.graph.outputs)
        return self._float()(np.zeros((1, *input_size), np.uint8)).shape[1]

    def _float(self) -> Callable[[Images], Any]:
        return torch_classifier(self.float_model)

    def _decode(self, outputs: tuple[bytes, ...]) -> Any:
        if self._gives_index():
            assert self.integer is not None
            kind = self.integer.graph.types[self.integer.graph.outputs[0]]
            assert isinstance(kind, TensorType)
            indices = [np.frombuffer(output, np.int8, 1)[0] - np.int64(kind.zero_point) for output in outputs]
            return np.eye(MAX_CHANNELS, dtype=np.int8)[indices]
        return np.stack([np.frombuffer(output, dtype=np.int8) for output in outputs])

    def _decode_values(self, values: Mapping[str, NDArray[Any]]) -> Any:
        if self._gives_index():
            (index,) = (int(value.reshape(-1)[0]) for value in values.values())
            return np.eye(MAX_CHANNELS, dtype=np.int8)[index]
        return np.concatenate([value.reshape(-1) for value in values.values()])

    def _stacked(self, found: list[Any]) -> Any:
        return np.stack(found)

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
