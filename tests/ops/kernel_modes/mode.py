"""A named way to use an operator's kernel, on maps of any shape: what the kernel products are made of."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import Int8Array, Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from tests.ops.kernel_harness import KernelCase
from tests.ops.layers import OUT_SCALE, tensor

HEIGHTS = (1, 4)
WIDTHS = (1, 2, 3, 4, 5, 7)
CHANNELS = (1, 2, 3, 4, 5, 8, 9, 33)
SHAPES = tuple(itertools.product(HEIGHTS, WIDTHS, CHANNELS))
OUT = Quantization(OUT_SCALE, 5)
CLAMP = (-100, 90)

Made = tuple[Operator, tuple[TensorType, ...]]
Build = Callable[[TensorType], Made | None]


@dataclass(frozen=True)
class Mode:
    """`build` gives the operator and its inputs' types for a map; None or ModelError: not for that map."""

    name: str
    build: Build

    def case(self, image: TensorType) -> KernelCase | None:
        """The operator on values that are drawn from the mode's name and the map's shape."""
        try:
            made = self.build(image)
            if made is None:
                return None
            op, types = made
            op.infer_type(types)
        except ModelError:
            return None
        seed = zlib.crc32(f"{self.name} {image}".encode())
        return KernelCase(
            op, types, tuple(_values(t, np.random.default_rng([seed, i])) for i, t in enumerate(types))
        )

    def cases(self) -> Iterator[KernelCase]:
        """Over the full product of heights, widths and channels, where the mode takes the map."""
        return self._made(SHAPES)

    def sample(self, count: int) -> list[KernelCase]:
        """`count` shapes of the product, the same ones in every run, or as many as there are."""
        order = np.random.default_rng(zlib.crc32(self.name.encode())).permutation(len(SHAPES))
        return list(itertools.islice(self._made([SHAPES[i] for i in order]), count))

    def _made(self, shapes: Iterable[tuple[int, int, int]]) -> Iterator[KernelCase]:
        made = (self.case(tensor(*shape)) for shape in shapes)
        return (case for case in made if case is not None)


Modes = Mapping[type[Operator], tuple[Mode, ...]]


def modes(*builds: Build, **named: Build) -> tuple[Mode, ...]:
    """One mode per function, named after it, and one per keyword."""
    by_function = [(build.__name__, build) for build in builds]
    return tuple(Mode(name.replace("_", " "), build) for name, build in [*by_function, *named.items()])


def on_map(op: Operator) -> Build:
    """One input, the operator the same for every map."""
    return partial(_made, op)


def _made(op: Operator, image: TensorType) -> Made:
    return op, (image,)


def _values(tensor: TensorType, rng: np.random.Generator) -> Int8Array:
    """Uniform; in every fourth case nothing but the extremes."""
    if rng.integers(4) == 0:
        return rng.choice(np.array([-128, 127], np.int8), tensor.shape)
    return rng.integers(-128, 128, tensor.shape, dtype=np.int8)
