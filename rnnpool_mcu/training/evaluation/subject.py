"""A model with its labelled images, measured engine by engine."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.source import AS_IT_IS, Preprocessing
from rnnpool_mcu.system.serial_lines import SerialPort
from rnnpool_mcu.training.metrics.size_recall import SizeRecall
from rnnpool_mcu.validate.accuracy import IntegerModel, chunk_size
from rnnpool_mcu.validate.engines import SOURCE, TORCH
from rnnpool_mcu.zoo.checkpoint import LoadedModel

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
    preprocessing: Preprocessing = AS_IT_IS
    port: SerialPort | None = None
    decode: Path | None = None
    category: str | None = None
    input_shape: tuple[int, ...] | None = None


@dataclass(frozen=True)
class Opened:
    """The model asked for: in float where it can be had, in integers where an engine needs them."""

    request: Request
    loaded: LoadedModel | None
    integer: IntegerModel | None
    input_size: tuple[int, int, int]
    """Height, width, channels."""

    def fit_of(self, kind: str) -> str:
        """How pictures are fitted for a "detector" or a "classifier"; a checkpoint's ever in the same way."""
        if self.loaded is not None or self.integer is None:
            return AS_IT_IS.fit_of(kind)
        return self.integer.input.preprocessing.fit_of(kind)


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

    @classmethod
    def fits(cls, request: Request, integer: IntegerModel) -> bool:
        """Whether a model of which only the integers are known is one of this task's."""
        raise NotImplementedError

    @classmethod
    def pictures(
        cls, input_size: tuple[int, int, int], data: Path | None, split: str, rng: np.random.Generator
    ) -> Iterator[Images]:
        """The readable images [H, W, C] of a labelled split in random order, as the model sees them."""
        raise NotImplementedError

    def __init__(self, opened: Opened, progress: Progress) -> None:
        self.request, self.integer, self.progress = opened.request, opened.integer, progress
        self.float_model: Any = opened.loaded.model if opened.loaded is not None else None
        self.calibration = opened.integer.calibration if opened.integer is not None else None

    def measure(self, engine: str) -> Measured:
        """Run one engine over all images."""
        self.progress(f"{engine}: preparing")
        outputs: list[bytes] = []
        predict = self._real() if engine in (TORCH, SOURCE) else self._integer(engine, outputs)
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

    def _real(self) -> Callable[[Images], Any]:
        """By the float model of a checkpoint, or the runtime of another file."""
        if self.float_model is not None:
            return self._float()
        assert self.integer is not None
        source = self.integer.source()
        return lambda images: self._stacked([self._decode_values(values) for values in source.run(images)])

    def _stacked(self, found: list[Any]) -> Any:
        """What the metric takes of several images' results."""
        return found

    def _float(self) -> Callable[[Images], Any]:
        raise NotImplementedError

    def _decode(self, outputs: tuple[bytes, ...]) -> Any:
        raise NotImplementedError

    def _decode_values(self, values: Mapping[str, NDArray[Any]]) -> Any:
        """Of one image, the graph's outputs as real values."""
        raise NotImplementedError

    def _measure(self, predict: Callable[[Images], Any], chunk: int) -> Measured:
        raise NotImplementedError

    def broken(self) -> list[str]:
        """One line per image that could not be read."""
        raise NotImplementedError


def is_checkpoint(model: Path) -> bool:
    """Whether a float model can be read from it."""
    return model.is_file() and model.suffix.lower() in (".pt", ".pth")
