"""What quantization costs: the integer graph beside the float model it was made from, over the same inputs.

Cosine similarity, signal-to-quantization-noise ratio and the largest difference of every value, errors of all
layers before it included; of classes also how often both have the same largest one.

A value is judged by its cosine, unless the inputs leave it quiet: scores of a detector that sees nothing are
all within a few steps of zero, so that their cosine is that of roundings. What uses less than an eighth of
int8's steps and is on average within one of them agrees as far as its scale can tell.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.evaluate import evaluate_graph
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.source import FloatRuntime, quantized_input
from rnnpool_mcu.ir.tensor_type import DetectionsType, TensorType
from rnnpool_mcu.ops.arg_max import is_index

GOOD_COSINE = 0.99
"""Below it compiling warns, and names the first layer below it."""
LEAST_COSINE = 0.9
"""Below it the integer graph is another model: compiling ends with an error unless the loss is accepted."""
SILENT_STEPS = 1.0
"""Values that are all within a step of zero on both sides have no direction to compare."""
LEAST_SQNR_DB = 3.0
"""Below it the error has half the signal's power: no cosine sees that all values are larger alike."""
QUIET_STEPS = 32.0
"""A value is quiet if float and integers, over all inputs, lie within so many steps of each other."""
QUIET_RMS_STEPS = 1.0
"""Root mean square of the difference up to which a quiet value agrees; rounding alone has 0.29."""
INPUTS = 32
WORK_MACS = 400_000_000
LEAST_INPUTS = 4


@dataclass(frozen=True)
class ValueAgreement:
    """One value over all inputs."""

    name: str
    source: str  # its name in the model, where it has one
    operator: str
    cosine: float | None  # None: indices of classes, or silent on both sides
    sqnr_db: float  # signal over error; inf without error, -inf where the float model is silent
    max_difference: float  # in the model's own unit
    max_steps: float  # the same in steps of the value's scale
    rms_steps: float  # root mean square of the difference
    span_steps: float  # from the least to the largest value, float and integers together
    same_top1: int | None = None  # of a vector inputs, of a map of classes pixels, with the same largest one
    compared_top1: int | None = None  # of how many

    @property
    def quiet(self) -> bool:
        """Whether it is judged by steps, and agrees."""
        return self.span_steps <= QUIET_STEPS and self.rms_steps <= QUIET_RMS_STEPS

    @property
    def judged_cosine(self) -> float:
        """The cosine by which it is judged: 1 where there is none, or where it is quiet."""
        return 1.0 if self.cosine is None or self.quiet else self.cosine

    def as_json(self) -> dict[str, Any]:
        """For the report: a ratio that is not finite is null."""
        ratio = self.sqnr_db if math.isfinite(self.sqnr_db) else None
        return asdict(self) | {"sqnr_db": ratio, "quiet": self.quiet}


@dataclass(frozen=True)
class FloatAgreement:
    """The integer graph beside the float model."""

    runtime: str
    inputs: int
    outputs: tuple[ValueAgreement, ...]
    layers: tuple[ValueAgreement, ...]  # in the graph's order, those that the float model has

    @property
    def worst(self) -> ValueAgreement:
        """The output with the least cosine to judge by."""
        return min(self.outputs, key=lambda found: found.judged_cosine)

    @property
    def cosine(self) -> float:
        """Of the worst output; 1 where none is judged by it."""
        return self.worst.judged_cosine

    @property
    def is_far(self) -> bool:
        """Whether the integer graph is another model."""
        return self.cosine < LEAST_COSINE or self._loudest_error is not None

    @property
    def _loudest_error(self) -> ValueAgreement | None:
        """The output with the least ratio of signal to error, if that is too small."""
        judged = [v for v in self.outputs if v.cosine is not None and not v.quiet]
        worst = min(judged, key=lambda found: found.sqnr_db, default=None)
        return worst if worst is not None and worst.sqnr_db < LEAST_SQNR_DB else None

    @property
    def first_bad(self) -> ValueAgreement | None:
        """The first layer below GOOD_COSINE; an output where no layer is, None where all are above."""
        values = (*self.layers, *self.outputs)
        return next((v for v in values if v.judged_cosine < GOOD_COSINE), None)

    @property
    def verdict(self) -> str:
        """One sentence on the worst output, and where it begins."""
        bad, output, loud = self.first_bad, self.worst, self._loudest_error
        if loud is not None and self.cosine >= LEAST_COSINE:
            return (
                f"output '{loud.name}' has an SQNR of {loud.sqnr_db:.1f} dB with the float model "
                f"({self.runtime}) over {self.inputs} inputs, allowed: at least {LEAST_SQNR_DB:g} dB"
            )
        text = (
            f"output '{output.name}' has a cosine similarity of {self.cosine:.3f} with the float model "
            f"({self.runtime}) over {self.inputs} inputs"
            + (f", allowed: at least {LEAST_COSINE:g}" if self.cosine < LEAST_COSINE else "")
        )
        if bad is None or bad.name == output.name:
            return text
        where = f", '{bad.source}'" if bad.source not in ("", bad.name) else ""
        return (
            f"{text}; the first layer below {GOOD_COSINE:g} is '{bad.name}' ({bad.operator}{where}), "
            f"{bad.cosine:.3f}"
        )

    def as_json(self) -> dict[str, Any]:
        """For the report: the outputs, and where it becomes bad first."""
        bad = self.first_bad
        return {
            "runtime": self.runtime,
            "inputs": self.inputs,
            "outputs": [value.as_json() for value in self.outputs],
            "first_bad_layer": None if bad is None else bad.as_json(),
        }


@dataclass(frozen=True, eq=False)
class FloatSource:
    """The float model that an integer graph came from, and inputs to compare both over."""

    graph: Graph  # passes not run: they change no output, but layers go
    runtime: FloatRuntime
    samples: NDArray[Any] | Sequence[tuple[NDArray[Any], ...]]  # [N, H, W, C], see FloatRuntime
    sources: Mapping[str, str]  # value of the graph -> its name in the model

    def compare(self, progress: Callable[[str], None] = lambda _: None) -> FloatAgreement:
        """Over as many of the inputs as a few seconds allow; see `inputs_for`."""
        progress("comparing with the float model")
        samples = self.samples[: inputs_for(self.graph)]
        return compare_with_float(self.graph, self.runtime, samples, self.sources)


def inputs_for(graph: Graph) -> int:
    """How many inputs to compare over: fewer of a larger network."""
    macs = sum(node.op.macs(graph.input_types(node)) for node in graph.nodes)
    return max(LEAST_INPUTS, min(INPUTS, WORK_MACS // max(1, macs)))


def compare_with_float(
    graph: Graph,
    runtime: FloatRuntime,
    samples: NDArray[Any] | Sequence[tuple[NDArray[Any], ...]],
    sources: Mapping[str, str],
    outputs: tuple[str, ...] = (),
) -> FloatAgreement:
    """Every value that both have, over samples [N, H, W, C]; see `FloatRuntime`.

    `outputs` are those of the float model, unless all of the graph's are. Raises ModelError where the runtime
    lacks one or has it in another size.
    """
    wanted = outputs or compared_outputs(graph)
    tallies: dict[str, _Tally] = {}
    for sample, real in zip(samples, runtime.values(samples), strict=True):
        ours = evaluate_graph(graph, _integers(graph, sample))
        for name in wanted:
            if name not in real or real[name].shape != ours[name].shape:
                raise ModelError(
                    f"output '{name}': {runtime.name} has no such value; please report the model"
                )
        for node in graph.nodes:
            kind = graph.types[node.name]
            # a value that passes made smaller has another shape
            if node.name in real and isinstance(kind, TensorType) and real[node.name].shape == kind.shape:
                if node.name not in tallies:
                    tallies[node.name] = _Tally(kind, is_index(graph, node.name))
                tallies[node.name].add(ours[node.name], real[node.name])
    found = {
        node.name: tallies[node.name].result(node.name, sources.get(node.name, ""), type(node.op).__name__)
        for node in graph.nodes
        if node.name in tallies
    }
    shown = tuple(found[name] for name in wanted)
    return FloatAgreement(runtime.name, len(samples), shown, tuple(found.values()))


def _integers(graph: Graph, sample: Any) -> Mapping[str, NDArray[np.int8]]:
    """The graph's inputs for a sample, or for a tuple with one of each input."""
    given = sample if isinstance(sample, tuple) else (sample,)
    pairs = zip(graph.inputs, given, strict=True)
    return {one.name: quantized_input(one.type, values) for one, values in pairs}


def compared_outputs(graph: Graph) -> tuple[str, ...]:
    """The graph's outputs; of lists of boxes what their decode reads."""
    names: list[str] = []
    for name in graph.outputs:
        decoded = isinstance(graph.types[name], DetectionsType)
        names += graph.node(name).inputs if decoded else (name,)
    return tuple(dict.fromkeys(names))


def sqnr_db(signal: float, noise: float) -> float:
    """10 log10 of a signal's power over an error's; inf without error, -inf without a signal."""
    if noise == 0.0:
        return math.inf
    return 10.0 * math.log10(signal / noise) if signal > 0.0 else -math.inf


class _Tally:
    """Sums of one value, input by input."""

    def __init__(self, kind: TensorType, indices: bool) -> None:
        self._kind, self._indices = kind, indices
        self._signal = self._found = self._product = self._noise = self._largest = self._loudest = 0.0
        self._same, self._compared, self._count = 0, 0, 0
        self._least, self._most = math.inf, -math.inf

    def add(self, ours: NDArray[Any], real: NDArray[Any]) -> None:
        """Count one input's int8 values and the float model's."""
        signal = np.asarray(real, np.float64)
        found = (ours.astype(np.float64) - self._kind.zero_point) * self._kind.scale
        error = signal - found
        self._signal += float((signal * signal).sum())
        self._found += float((found * found).sum())
        self._product += float((signal * found).sum())
        self._noise += float((error * error).sum())
        self._largest = max(self._largest, float(np.abs(error).max()))
        self._count += error.size
        self._least = min(self._least, float(signal.min()), float(found.min()))
        self._most = max(self._most, float(signal.max()), float(found.max()))
        self._loudest = max(self._loudest, float(np.abs(signal).max()), float(np.abs(found).max()))
        if self._indices:
            self._same += int((np.rint(signal) == found).sum())
            self._compared += signal.size
        elif signal.shape[:2] == (1, 1) and signal.size > 1:
            self._same += int(signal.argmax() == found.argmax())
            self._compared += 1

    def result(self, name: str, source: str, operator: str) -> ValueAgreement:
        """What was counted."""
        counted = (self._same, self._compared) if self._compared else (None, None)
        return ValueAgreement(
            *(name, source, operator, self._cosine(), sqnr_db(self._signal, self._noise)),
            *(self._largest, self._largest / self._kind.scale),
            *(math.sqrt(self._noise / self._count) / self._kind.scale,),
            *((self._most - self._least) / self._kind.scale, *counted),
        )

    def _cosine(self) -> float | None:
        if self._indices or self._loudest <= SILENT_STEPS * self._kind.scale:
            return None
        lengths = math.sqrt(self._signal * self._found)
        return self._product / lengths if lengths > 0.0 else 0.0
