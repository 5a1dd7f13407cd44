"""Random chains of operators: every file computes what the interpreter does, or is refused by name.

Stored operands on either side, tensors read twice, odd axes, slices backwards, several outputs in any order.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

pytest.importorskip("tflite")
pytest.importorskip("ai_edge_litert")

from ai_edge_litert.interpreter import Interpreter, OpResolverType

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.importing import load_graph, source_runtime
from rnnpool_mcu.ir.evaluate import evaluate_graph
from rnnpool_mcu.validate.source import compare_with_source
from tests.frontends.tflite.test_tflite_shapes import (
    extreme,
    gathered,
    packed,
    reduced,
    stored_map,
    strided,
    tiled,
    transposed,
    unpacked,
)
from tests.tflite_writer import NONE, RELU, SAME, VALID, Writer

FILES = int(os.environ.get("RNNPOOL_MCU_FUZZ", "80"))
MOST_VALUES, IMAGES = 2000, 3
NAMED = re.compile(r"operator \d+|output|input|'[^']+'")
Shape = tuple[int, ...]


class Chain(Writer):
    """Operators over one input; `values` are those made so far."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        shapes: list[Shape] = [(5, 6, 4), (5, 6, 4), (8, 6), (1, 7, 3), (24,)]
        self.values = [self.input(*shapes[self.pick(len(shapes))])]

    def pick(self, count: int) -> int:
        return int(self.random.integers(count))

    def shape(self, x: int) -> Shape:
        return tuple(self.tensors[x].shape)

    def axis(self, x: int) -> int:
        """Any but the batch."""
        return 1 + self.pick(len(self.shape(x)) - 1)

    def step(self) -> None:
        """One more operator."""
        x = self.values[-1] if self.pick(3) else self.values[self.pick(len(self.values))]
        kinds: tuple[Callable[[int], int], ...] = (
            self._layer, self._layer, self._with_stored, self._with_stored, self._pair, self._joined,
            self._padded, self._viewed, self._turned, self._sliced, self._picked, self._reduced,
            self._function, self._pooled, self._extreme, self._packed, self._tiled, self._parted,
            self._softmax,
        )  # fmt: skip
        self.values.append(kinds[self.pick(len(kinds))](x))

    def _layer(self, x: int) -> int:
        if len(self.shape(x)) != 4:
            return self.dense(x, 1 + self.pick(6), per_channel=False)
        padding, activation = (SAME, VALID)[self.pick(2)], (NONE, RELU)[self.pick(2)]
        sides = {"kernel": (1 + self.pick(3), 1 + self.pick(3)), "stride": 1 + self.pick(2)}
        used = [op for op in self.operators if op.kind == "CONV_2D"]
        if used and self.pick(3) == 0:  # with the weights of another layer
            again = used[self.pick(len(used))]
            if self.shape(again.inputs[1])[3] == self.shape(x)[3] and self._same(again.inputs[0], x):
                out = self.value(self.shape(again.outputs[0]), 1.0, like=again.outputs[0])
                options = again.options
                assert options is not None
                if self.shape(again.inputs[0]) == self.shape(x):
                    return self.operator("CONV_2D", [x, *again.inputs[1:]], [out], options[0], **options[1])
        if self.pick(3) == 0:
            return self.depthwise(x, padding=padding, activation=activation, **sides)
        return self.conv(x, 1 + self.pick(6), padding=padding, activation=activation, **sides)

    def _like(self, x: int) -> int:
        """A stored tensor that broadcasts to x."""
        sides = tuple(side if self.pick(2) else 1 for side in self.shape(x))
        return stored_map(self, *sides[self.pick(len(sides)) :])

    def _with_stored(self, x: int) -> int:
        other = self._like(x)
        pair = (x, other) if self.pick(2) else (other, x)
        return self.join(("ADD", "MUL", "SUB")[self.pick(3)], *pair)

    def _pair(self, x: int) -> int:
        same = [v for v in self.values if self.shape(v) == self.shape(x)]
        return self.join(("ADD", "MUL", "SUB")[self.pick(3)], x, same[self.pick(len(same))])

    def _extreme(self, x: int) -> int:
        sides = tuple(side if self.pick(2) else 1 for side in self.shape(x))
        stored = stored_map(self, *sides, like=x)
        pair = (x, stored) if self.pick(2) else (stored, x)
        return extreme(self, ("MAXIMUM", "MINIMUM")[self.pick(2)], *pair)

    def _joined(self, x: int) -> int:
        axis, sides = self.axis(x), list(self.shape(x))
        sides[axis] = 1 + self.pick(3)
        parts = [x, stored_map(self, *sides, like=x) if self.pick(2) else x]
        parts = parts[::-1] if self.pick(2) else parts
        return self.concat(parts, axis)

    def _padded(self, x: int) -> int:
        kind, sides = ("PAD", "MIRROR_PAD")[self.pick(2)], self.shape(x)
        around = [[0, 0], *([self.pick(3), self.pick(3)] for _ in sides[1:])]
        if kind == "MIRROR_PAD":  # reflects less than there is
            around = [pair if max(pair) < n else [0, 0] for n, pair in zip(sides, around, strict=True)]
        shape = tuple(n + sum(pair) for n, pair in zip(sides, around, strict=True))
        if kind == "PAD":
            return self.move(kind, x, shape, around, options="PadOptions")  # type: ignore[arg-type]
        return self.move(kind, x, shape, around, options="MirrorPadOptions", Mode=0)  # type: ignore[arg-type]

    def _viewed(self, x: int) -> int:
        count, last = int(np.prod(self.shape(x))), self.shape(x)[-1]
        rest = count // last
        shapes: list[Shape] = [(1, count), (1, rest, last), (1, 1, 1, count), (1, last, rest)]
        return self.view(x, *shapes[self.pick(4)])

    def _turned(self, x: int) -> int:
        order = [0, *(1 + self.random.permutation(len(self.shape(x)) - 1)).tolist()]
        return transposed(self, x, *order)

    def _sliced(self, x: int) -> int:
        axis, sides = self.axis(x), list(self.shape(x))
        begin, end, steps = [0] * len(sides), list(sides), [1] * len(sides)
        step = (1, 2, -1)[self.pick(3)]
        first = -1 if step < 0 else self.pick(2)
        steps[axis], begin[axis] = step, first
        end[axis] = -sides[axis] - 1 if step < 0 else sides[axis]
        sides[axis] = sides[axis] if step < 0 else len(range(first, sides[axis], step))
        return strided(self, x, tuple(sides), begin, end, steps)

    def _picked(self, x: int) -> int:
        axis = self.axis(x)
        indices = self.random.integers(0, self.shape(x)[axis], 1 + self.pick(3))
        return gathered(self, x, axis, indices.tolist() if self.pick(2) else int(indices[0]))

    def _reduced(self, x: int) -> int:
        axes = (1 + self.random.permutation(len(self.shape(x)) - 1))[: 1 + self.pick(2)].tolist()
        axes = [int(axis) - (len(self.shape(x)) if self.pick(2) else 0) for axis in axes]
        return reduced(self, x, ("MEAN", "REDUCE_MAX", "REDUCE_MIN")[self.pick(3)], axes, bool(self.pick(2)))

    def _function(self, x: int) -> int:
        kind = ("RELU", "HARD_SWISH", "LOGISTIC", "TANH", "ABS")[self.pick(5)]
        if kind == "LOGISTIC":
            return self.fixed(kind, x, 1 / 256, -128)
        if kind == "TANH":
            return self.fixed(kind, x, 1 / 128, 0)
        given = self.tensors[x]
        return self.operator(kind, [x], [self.value(given.shape, given.rms)])

    def _pooled(self, x: int) -> int:
        if len(self.shape(x)) != 4:
            return self._function(x)
        kind, padding = ("AVERAGE_POOL_2D", "MAX_POOL_2D")[self.pick(2)], (SAME, VALID)[self.pick(2)]
        return self.pool(kind, x, (1 + self.pick(3), 1 + self.pick(3)), 1 + self.pick(2), padding)

    def _packed(self, x: int) -> int:
        other = x if self.pick(2) else stored_map(self, *self.shape(x), like=x)
        return packed(self, [x, other], self.axis(x))

    def _tiled(self, x: int) -> int:
        return tiled(self, x, [1, *(1 + self.pick(2) for _ in self.shape(x)[1:])])

    def _parted(self, x: int) -> int:
        axis = self.axis(x)
        if self.shape(x)[axis] % 2 == 0:
            return self.split(x, 2, axis)[self.pick(2)]
        return unpacked(self, x, axis)[-1]

    def _softmax(self, x: int) -> int:
        return self.softmax(x)


def random_file(seed: int) -> bytes | None:
    """One to five operators and one to three outputs; None where a tensor would be too large."""
    chain = Chain(seed)
    for _ in range(1 + chain.pick(5)):
        chain.step()
        shape = chain.shape(chain.values[-1])
        if not 0 < int(np.prod(shape)) <= MOST_VALUES or not 2 <= len(shape) <= 5:
            return None
    ends = {len(chain.values) - 1, *(1 + chain.pick(len(chain.values) - 1) for _ in range(chain.pick(3)))}
    outputs = [chain.values[at] for at in chain.random.permutation(sorted(ends))]
    return chain.finish(*outputs)


def interpreted(data: bytes, images: NDArray[np.int8]) -> list[list[NDArray[Any]]] | None:
    """The interpreter's own outputs, in the file's order; None where it refuses the file."""
    try:
        made = Interpreter(model_content=data, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
        made.allocate_tensors()
        found = []
        for image in images:
            given = made.get_input_details()[0]
            made.set_tensor(given["index"], image.reshape(given["shape"]))
            made.invoke()
            found.append([made.get_tensor(told["index"]).ravel() for told in made.get_output_details()])
        return found
    except (RuntimeError, ValueError):
        return None


def outcome(seed: int, path: Path) -> str:
    """ "taken", "refused" or "no file", or what is wrong."""
    data = random_file(seed)
    if data is None:
        return "no file"
    path.write_bytes(data)
    try:
        graph = load_graph(path).graph
        imported, runtime = source_runtime(path)
    except ModelError as error:
        if "interpreter refuses" in str(error):
            return "no file"
        return "refused" if NAMED.search(str(error)) else f"wrong: a refusal that names nothing: {error}"
    pixels = np.random.default_rng(seed).integers(0, 256, (IMAGES, *graph.input_type.shape), np.uint8)
    theirs = interpreted(data, (pixels.astype(np.int16) - 128).astype(np.int8))
    if theirs is None:
        return "no file"
    compared = compare_with_source(imported.graph, runtime, imported.sources, pixels)
    if not compared.agrees:
        bad = [(one.source, one.operator, one.worst_alone) for one in compared.layers if not one.agrees]
        return f"wrong: {bad}"
    ours = [evaluate_graph(graph, (one.astype(np.int16) - 128).astype(np.int8)) for one in pixels]
    for at, name in enumerate(graph.outputs):
        wanted = np.stack([values[at] for values in theirs]).astype(np.int32)
        found = np.stack([values[name].ravel() for values in ours]).astype(np.int32)
        if found.shape != wanted.shape or np.abs(found - wanted).mean() > 8:
            return f"wrong: output {at} '{name}': {found[0]}, the interpreter {wanted[0]}"
    return "taken" if len(graph.outputs) == len(theirs[0]) else "wrong: outputs"


def test_random_files_are_right_or_refused(tmp_path: Path) -> None:
    found = {seed: outcome(seed, tmp_path / "net.tflite") for seed in range(FILES)}
    assert {seed: text for seed, text in found.items() if text.startswith("wrong")} == {}
    assert list(found.values()).count("taken") > FILES // 2


@pytest.mark.parametrize("axis", range(5))
def test_rows_of_rows_are_not_joined_as_rows(axis: int, tmp_path: Path) -> None:
    """Of more than four dimensions the leading ones are rows of one map: no axis among them is its own."""
    w, path = Writer(3), tmp_path / "net.tflite"
    x = w.view(w.conv(w.input(5, 6, 3), 4), 1, 5, 3, 2, 4)
    path.write_bytes(w.finish(w.concat([x, x], axis)))
    if axis < 3:
        with pytest.raises(ModelError, match=f"along axis {axis} of"):
            load_graph(path)
        return
    imported, runtime = source_runtime(path)
    pixels = np.random.default_rng(0).integers(0, 256, (2, *imported.graph.input_type.shape), np.uint8)
    assert compare_with_source(imported.graph, runtime, imported.sources, pixels).agrees
