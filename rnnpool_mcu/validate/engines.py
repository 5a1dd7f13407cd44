"""The engines by name: each against the definition, byte for byte, down to the first layer that differs.

torch, source  the float model, or the model file's own runtime: `evaluate` only, see `accuracy`
int8           the operators' own definitions, in numpy
c              the generated C, built by this computer's compiler
qemu, renode   the firmware on an emulated board
hardware       the firmware on a board, over its serial port
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from rnnpool_mcu.errors import ToolMissingError
from rnnpool_mcu.ir.batch import Batch, Images, batch_of
from rnnpool_mcu.ir.evaluate import evaluate_batch
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.run_result import LayerTrace, RunResult, first_difference
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.report import ValidationResult
from rnnpool_mcu.run import hardware, host, qemu, renode
from rnnpool_mcu.system.serial_lines import SerialPort

TORCH, SOURCE = "torch", "source"
"""The float model: torch's own, or that of another file's runtime."""
REFERENCE, HERE, HARDWARE = "int8", "c", hardware.ENGINE
JOBS = 2  # emulators side by side

Inputs = Images | Batch  # uint8 [N, H, W, C] of a model with one input, or a batch
Progress = Callable[[str], None]

_RUNNERS: Mapping[str, Callable[[Path, Inputs, bool, SerialPort | None, Progress], RunResult]] = {
    HERE: lambda folder, images, trace, *_: host.run(folder, images, trace=trace),
    "qemu": lambda folder, images, trace, *_: qemu.run(folder, images, trace=trace, jobs=JOBS),
    "renode": lambda folder, images, trace, *_: renode.run(folder, images, trace=trace),
    HARDWARE: lambda folder, images, _, port, progress: hardware.run(folder, images, port, progress),
}
"""How an engine runs a compiled folder, traced or not; a new engine is a module of `run` and a line here."""

COMPARED = tuple(_RUNNERS)
"""The engines that run a compiled folder and must give the definition's bytes."""
INTEGER = (REFERENCE, *COMPARED)
EVERY = (TORCH, SOURCE, *INTEGER)
PROVING = (HERE, "qemu")
"""The engines that prove a model unless others are asked for: they are on every machine of ours."""
SYNONYMS = {"numpy": REFERENCE, "host": HERE}
"""Names of before, which are still understood."""

_FNV_OFFSET, _FNV_PRIME = 2166136261, 16777619


def run_reference(graph: Graph, images: Inputs, progress: Progress, *, trace: bool = False) -> RunResult:
    """Every run of a batch through the operators' own definitions, states from one to the next."""
    outputs, traces = [], []
    for number, values in enumerate(evaluate_batch(graph, images), start=1):
        progress(f"{REFERENCE}: image {number} of {len(images)}")
        outputs.append(b"".join(values[name].tobytes() for name in graph.outputs))
        if trace:
            traces.append(_traces(graph, values))
    zeros = (0,) * len(images)
    return RunResult(REFERENCE, tuple(outputs), zeros, canaries_ok=True, traces=tuple(traces))


def run_engine(
    folder: Path,
    engine: str,
    images: Inputs,
    progress: Progress,
    *,
    trace: bool = False,
    port: SerialPort | None = None,
) -> RunResult:
    """Builds a compiled folder for `engine` (one of INTEGER) and runs it over `images`.

    The engine "hardware" builds nothing: it takes the board at `port` as it is, traced or not.
    """
    if engine == REFERENCE:
        return run_reference(load_graph(folder / FILE_NAME), images, progress, trace=trace)
    if engine not in _RUNNERS:
        raise ToolMissingError(f"engine '{engine}' is not known; known: {', '.join(INTEGER)}")
    progress(f"{engine}: {len(images)} images")
    return _RUNNERS[engine](folder, images, trace, port, progress)


def validate(
    folder: Path,
    engine: str,
    images: Inputs,
    reference: RunResult,
    progress: Progress,
    port: SerialPort | None = None,
) -> tuple[ValidationResult, RunResult]:
    """Whether `engine` gives the bytes of `reference` for every image, and what its run measured."""
    result = run_engine(folder, engine, images, progress, port=port)
    for index, (expected, actual) in enumerate(zip(reference.outputs, result.outputs, strict=True)):
        if expected != actual:
            where = _describe(folder, engine, batch_of(images), index, progress, port)
            return ValidationResult(engine, len(images), False, where), result
    return ValidationResult(engine, len(images), True), result


def joined(outcomes: Sequence[ValidationResult]) -> ValidationResult:
    """One result for the report: the first that differs, or all engines together."""
    for outcome in outcomes:
        if not outcome.bit_exact:
            return outcome
    return ValidationResult("+".join(o.engine for o in outcomes), outcomes[0].images, True)


def _describe(
    folder: Path, engine: str, batch: Batch, index: int, progress: Progress, port: SerialPort | None
) -> str:
    """Image and first layer in which an engine leaves the definition."""
    graph = load_graph(folder / FILE_NAME)
    images = batch.up_to(index) if graph.states else batch.part(index, index + 1)
    expected = run_reference(graph, images, progress, trace=True)
    actual = run_engine(folder, engine, images, progress, trace=True, port=port)
    if not actual.traces:
        return f"image {index}; for the layer write traced firmware to the board: make flash TRACE=1"
    layer = first_difference(expected, actual, len(images) - 1)
    if layer is None:
        return f"image {index}: the output; every layer's rows are the same"
    if layer == 0:
        return f"image {index}: the input image itself"
    node = graph.nodes[layer - 1]
    return f"image {index}, layer {layer} '{node.name}' ({node.op.kernel})"


def _traces(graph: Graph, values: dict[str, NDArray[Any]]) -> tuple[LayerTrace, ...]:
    """What traced C reports of the same values: layers count from 1, rows in order."""
    return tuple(
        LayerTrace(index, _rows(values[node.name]), fnv1a(values[node.name].tobytes()))
        for index, node in enumerate(graph.nodes, start=1)
    )


def _rows(value: NDArray[Any]) -> int:
    return int(value.shape[0]) if value.ndim == 3 else 1


def fnv1a(data: bytes) -> int:
    """The 32-bit FNV-1a hash, as firmware/common/trace.c computes it."""
    state = _FNV_OFFSET
    for byte in data:
        state = (state ^ byte) * _FNV_PRIME & 0xFFFFFFFF
    return state
