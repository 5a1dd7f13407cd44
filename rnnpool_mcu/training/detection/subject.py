"""A detector as `evaluate` measures it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.training.data.boxed_images import default_split, open_dataset
from rnnpool_mcu.training.detection.decode import torch_predictor
from rnnpool_mcu.training.detection.outputs import Decoder, list_decoder, user_decoder
from rnnpool_mcu.training.evaluation.subject import Images, Measured, Opened, Progress, Request, Subject
from rnnpool_mcu.training.metrics.average_precision import collect, judge, precision_recall
from rnnpool_mcu.training.metrics.coco import coco_ap, faster_coco_eval
from rnnpool_mcu.training.metrics.plots import check_plot
from rnnpool_mcu.training.metrics.size_recall import recall_by_size
from rnnpool_mcu.training.metrics.wider import load_wider_subsets
from rnnpool_mcu.training.metrics.wider_evaluation import check_listed, wider_results
from rnnpool_mcu.validate.accuracy import IntegerModel


class DetectorSubject(Subject):
    """AP over a split of the detectors' data, or over WIDER FACE's validation images."""

    metric = "ap50"

    @classmethod
    def fits(cls, request: Request, integer: IntegerModel) -> bool:
        """One whose output is boxes, or becomes boxes by --decode."""
        return integer.is_detector or request.decode is not None

    @classmethod
    def pictures(
        cls, input_size: tuple[int, int, int], data: Path | None, split: str, rng: np.random.Generator
    ) -> Iterator[Images]:
        """Letterboxed; `data` is the folder of all data sets."""
        dataset = open_dataset(split, input_size, data)
        found = (dataset.read(int(index)) for index in rng.permutation(len(dataset)))
        return (canvas.image for canvas in found if canvas is not None)

    def __init__(self, opened: Opened, progress: Progress) -> None:
        super().__init__(opened, progress)
        request = opened.request
        if (fit := opened.fit_of("detector")) != "letterbox":
            raise UsageError(
                f"{request.model}: --fit {fit}, allowed for boxes: letterbox, in which they are judged; "
                "compile or evaluate it with --fit letterbox"
            )
        if request.plot is not None:
            check_plot(request.plot)
        if request.coco:
            faster_coco_eval()
        self._decoder = self._opened_decoder(request)
        self.subsets = None if request.wider is None else load_wider_subsets(request.wider)
        self.split = request.split or ("wider_face_val" if request.wider else default_split(request.data))
        images = (request.data, request.count, request.category)
        self.dataset = open_dataset(self.split, opened.input_size, *images)
        if self.subsets is not None:
            check_listed(self.dataset.samples, self.subsets)

    def _opened_decoder(self, request: Request) -> Decoder | None:
        """How the engines' outputs become boxes; None where only torch's are asked for."""
        if self.integer is None:
            if request.decode is not None:
                raise UsageError(f"{request.model}: gives boxes itself; leave --decode out")
            return None
        graph = self.integer.graph
        return list_decoder(graph) if request.decode is None else user_decoder(request.decode, graph)

    def _float(self) -> Callable[[Images], Any]:
        predict = torch_predictor(self.float_model)
        return lambda images: [predict(image) for image in images]

    def _decode(self, outputs: tuple[bytes, ...]) -> Any:
        assert self._decoder is not None
        return [self._decoder.of_bytes(output) for output in outputs]

    def _decode_values(self, values: Mapping[str, NDArray[Any]]) -> Any:
        assert self._decoder is not None
        return self._decoder.of_values(values)

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
