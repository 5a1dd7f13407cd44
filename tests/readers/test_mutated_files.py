"""Whatever a file holds, its reader ends with an error of ours, quickly, and within a gigabyte.

RNNPOOL_MUTATIONS=N tries N files per reader, RNNPOOL_MUTATION_SEED others.
"""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError, UserError
from rnnpool_mcu.ir.evaluate import evaluate_graph
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.report import read_report, render_text
from rnnpool_mcu.toolchain.board import load_board
from rnnpool_mcu.training.data.labelled_images import load_packed
from tests.readers import samples
from tests.readers.mutations import (
    Mutation,
    mutate_json,
    mutate_lines,
    mutate_members,
    mutate_message,
    mutate_npy,
    mutate_words,
)

COUNT = os.environ.get("RNNPOOL_MUTATIONS")
SEED = int(os.environ.get("RNNPOOL_MUTATION_SEED", "0"))
MOST_SECONDS = 20
MOST_BYTES = 1 << 30


@dataclass(frozen=True)
class Reader:
    """A reader, the file it takes by name, and how many mutations a normal run tries."""

    name: str
    sample: Callable[[], bytes]
    mutate: Callable[[], Mutation]
    read: Callable[[Path], Any]
    count: int


def _graph(folder: Path) -> None:
    graph = load_graph(folder / FILE_NAME)
    if graph.types and sum(kind.bytes for kind in graph.types.values()) < 1 << 20:
        inputs = {given.name: np.zeros(given.type.shape, np.int8) for given in graph.inputs}
        evaluate_graph(graph, inputs)


def _report(folder: Path) -> None:
    render_text(read_report(folder))


def _pack(folder: Path) -> None:
    load_packed(folder, "test")


def _board(folder: Path) -> None:
    load_board(str(folder))


def _onnx(folder: Path) -> None:
    from rnnpool_mcu.importing import load_graph as load_model

    load_model(folder / "net.onnx")


def _tflite(folder: Path) -> None:
    from rnnpool_mcu.importing import load_graph as load_model

    load_model(folder / "net.tflite")


def _pt2(folder: Path) -> None:
    from rnnpool_mcu.importing import load_graph as load_model

    load_model(folder / "net.pt2")


def _checkpoint(folder: Path) -> None:
    from rnnpool_mcu.zoo.checkpoint import load_checkpoint

    load_checkpoint(folder / "net.pt")


def _onnx_mutation() -> Mutation:
    import onnx

    return mutate_message(onnx.ModelProto)


def _mutate_header(data: bytes, rng: np.random.Generator) -> bytes:
    """The JSON in the archive of a graph, within an array whose header fits it."""
    if rng.random() < 0.1:
        return mutate_npy(data, rng)
    start = 10 + int.from_bytes(data[8:10], "little")
    return samples.npy(mutate_json(data[start:], rng))


ARRAYS = {".npy": mutate_npy}
GRAPH = {"graph.npy": _mutate_header, **ARRAYS}
READERS = (
    Reader(FILE_NAME, samples.graph_file, lambda: mutate_members(GRAPH), _graph, 150),
    Reader("project.json", samples.project_file, lambda: mutate_json, Project.load, 200),
    Reader("report.json", samples.report_file, lambda: mutate_json, _report, 60),
    Reader("test.npz", samples.pack_file, lambda: mutate_members(ARRAYS), _pack, 100),
    Reader("board.toml", samples.board_file, lambda: mutate_lines, _board, 100),
    Reader("net.onnx", samples.onnx_file, _onnx_mutation, _onnx, 60),
    Reader("net.tflite", samples.tflite_file, lambda: mutate_words, _tflite, 80),
    Reader("net.pt2", samples.pt2_file, lambda: mutate_members({".json": mutate_json}), _pt2, 40),
    Reader("net.pt", samples.checkpoint_file, lambda: samples.mutate_checkpoint, _checkpoint, 60),
)  # fmt: skip


class TooLong(BaseException):
    """Of no kind that a reader would catch."""


def _alarm(*_: Any) -> None:
    raise TooLong


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_mutated_files_bring_our_errors_only(reader: Reader, tmp_path: Path) -> None:
    if reader.name.endswith((".pt", ".pt2")):
        pytest.importorskip("torch")
    folder = tmp_path / "mps2-an386"  # the board's name
    folder.mkdir()
    sound, mutate = reader.sample(), reader.mutate()
    (folder / reader.name).write_bytes(sound)
    reader.read(folder)  # the sample itself is taken
    before = signal.signal(signal.SIGALRM, _alarm)
    foreign = []
    try:
        for number in range(int(COUNT) if COUNT else reader.count):
            data = mutate(sound, np.random.default_rng([SEED, number]))
            (folder / reader.name).write_bytes(data)
            if (told := _foreign(reader, folder)) is not None:
                foreign.append(f"{number}: {told}")
                _keep(reader, number, data)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not foreign, "\n".join(foreign[:20])


def _foreign(reader: Reader, folder: Path) -> str | None:
    """What a reader raised that is no error of ours, or that it took too much."""
    peak = _peak_bytes()
    signal.alarm(MOST_SECONDS)
    try:
        reader.read(folder)
    except UserError as error:
        if not isinstance(error, ModelError) and reader.name.endswith((".json", FILE_NAME)):
            return f"exit code {error.exit_code}: {error}"
    except (Exception, TooLong) as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        return f"{type(error).__name__}: {str(error)[:150]} at {place}"
    finally:
        signal.alarm(0)
    if _peak_bytes() - peak > MOST_BYTES:
        return f"took {_peak_bytes() - peak:,} bytes"
    return None


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _keep(reader: Reader, number: int, data: bytes) -> None:
    """A file that failed, for a test of its own, where RNNPOOL_MUTATION_CORPUS says."""
    place = os.environ.get("RNNPOOL_MUTATION_CORPUS")
    if place:
        Path(place).mkdir(parents=True, exist_ok=True)
        (Path(place) / f"{SEED}_{number}_{reader.name}").write_bytes(data)
