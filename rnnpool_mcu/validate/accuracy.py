"""The engines a model is evaluated on: bytes out for images in, the same on each of them.

    source the model file's own runtime, see `source_engine`
    int8   the operators' own definitions, in numpy
    c      the generated C, built by this computer's compiler, in several processes at once
    others the firmware on an emulated board, or on one at a serial port, as `engines.COMPARED` has them

A checkpoint is compiled into a temporary folder when an engine needs one.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu import pipeline
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.source import AS_IT_IS, ModelInput, Preprocessing, input_bytes
from rnnpool_mcu.ir.tensor_type import DetectionsType
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.quantize.float_agreement import FloatSource
from rnnpool_mcu.run import host
from rnnpool_mcu.system.serial_lines import SerialPort
from rnnpool_mcu.toolchain.board import DEFAULT_BOARD, load_board
from rnnpool_mcu.validate import engines as validation
from rnnpool_mcu.validate.source_engine import SourceEngine, open_source

CHUNK = 16
"""Images that one process of an engine is given at a time."""

Run = Callable[[NDArray[Any]], tuple[bytes, ...]]
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Agreement:
    """Of how many images two engines gave other bytes, and which was the first."""

    engine: str
    reference: str
    images: int
    different: int
    first: int | None


@dataclass
class IntegerModel:
    """An integer graph with the folders it was compiled into; made by `open_model`."""

    graph: Graph
    folder: Path | None  # compiled already
    jobs: int
    progress: Progress
    calibration: str | None = None  # where a checkpoint's ranges came from
    input: ModelInput = ModelInput()  # noqa: RUF009  (frozen)
    floating: FloatSource | None = None  # what it was quantized from here, if it was
    port: SerialPort | None = None  # where the board is
    file: Path | None = None  # that it was read from
    _stack: ExitStack = field(default_factory=ExitStack)
    _folders: dict[str, Path] = field(default_factory=dict)

    @property
    def is_detector(self) -> bool:
        """Whether the output is boxes."""
        return any(isinstance(self.graph.types[name], DetectionsType) for name in self.graph.outputs)

    def source(self) -> SourceEngine:
        """The model file's own runtime; UsageError for a compiled folder, which has none."""
        if self.file is None:
            raise UsageError(
                f"{self.folder}: has no runtime of its own; give the model file that it was compiled from"
            )
        return open_source(self.file, self.graph, self.input, self.floating)

    def runner(self, engine: str) -> Run:
        """Function from samples [n, H, W, C] to each input's output bytes, compiled and built if need be.

        Samples are RGB or grey pixels (uint8), or real values as the model takes them.
        """
        if engine == validation.REFERENCE:
            return lambda samples: self._reference(self._batch(samples))
        folder = self._compiled(engine)
        if engine == validation.HERE:
            host.build(folder)  # once, before several processes find it built
        return lambda samples: self._run(folder, engine, self._batch(samples))

    def _batch(self, samples: NDArray[Any]) -> Batch:
        kind = self.graph.input_type
        given = (
            self.input.bytes_of(samples, kind) if samples.dtype == np.uint8 else input_bytes(kind, samples)
        )
        return Batch.independent(given)

    def _reference(self, batch: Batch) -> tuple[bytes, ...]:
        return validation.run_reference(self.graph, batch, self.progress).outputs

    def _run(self, folder: Path, engine: str, batch: Batch) -> tuple[bytes, ...]:
        if engine != validation.HERE:
            return validation.run_engine(folder, engine, batch, self.progress, port=self.port).outputs
        parts = batch.split(self.jobs, keep_sequences=False)
        with ThreadPoolExecutor(len(parts)) as pool:
            results = list(pool.map(lambda part: host.run(folder, part).outputs, parts))
        return tuple(output for outputs in results for output in outputs)

    def _compiled(self, engine: str) -> Path:
        if self.folder is not None:
            return self.folder
        if engine == validation.HARDWARE:
            raise UsageError(
                "engine 'hardware' takes a folder whose firmware is on the board: compile the model, flash "
                "it, then evaluate the folder"
            )
        if engine not in self._folders:
            out = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="rnnpool-mcu-")))
            self.progress(f"compiling for {engine}")
            board = load_board(DEFAULT_BOARD)
            target = pipeline.Target(
                "evaluated",
                board.ram_bytes,
                "resident",
                board.name,
                title="evaluated model",
                source="evaluate",
            )
            if engine == validation.HERE:
                pipeline.generate(self.graph, target, out, place_effort=0)  # RAM is no matter here
            else:
                pipeline.compile_graph(self.graph, target, out, progress=self.progress)
            self._folders[engine] = out
        return self._folders[engine]


@contextmanager
def open_model(
    model: Path,
    progress: Progress,
    *,
    calibration: Path | None = None,
    seed: int = 0,
    jobs: int | None = None,
    preprocessing: Preprocessing = AS_IT_IS,
    port: SerialPort | None = None,
    input_shape: tuple[int, ...] | None = None,
) -> Iterator[IntegerModel]:
    """The integer model of a model file or of a folder that `compile` wrote. Raises UserError."""
    jobs = jobs or os.cpu_count() or 1
    if model.is_dir():
        project, graph = Project.load(model), load_graph(model / FILE_NAME)
        if preprocessing != AS_IT_IS:
            raise UsageError(
                f"{model}: keeps the preprocessing it was compiled with; leave --scale, --mean, --std, "
                "--channel-order and --fit out"
            )
        opened = IntegerModel(graph, model, jobs, progress, input=project.model_input, port=port)
    else:
        from rnnpool_mcu.importing import load_graph as import_model

        imported = import_model(
            model,
            calibration=calibration,
            seed=seed,
            preprocessing=preprocessing,
            input_shape=input_shape,
        )
        opened = IntegerModel(
            *(imported.graph, None, jobs, progress, imported.calibration, imported.input, imported.floating),
            file=model,
        )
    with opened._stack:
        yield opened


def chunk_size(engine: str, jobs: int | None = None) -> int:
    """Images to hand an engine at a time, so that progress shows and memory stays small."""
    emulated = engine in validation.COMPARED and engine != validation.HERE
    return CHUNK if emulated else CHUNK * (jobs or os.cpu_count() or 1)


def agreement(engine: str, outputs: Sequence[bytes], reference: str, expected: Sequence[bytes]) -> Agreement:
    """How far two integer engines agree, image by image."""
    pairs = zip(outputs, expected, strict=True)
    different = [index for index, (left, right) in enumerate(pairs) if left != right]
    return Agreement(engine, reference, len(outputs), len(different), different[0] if different else None)
