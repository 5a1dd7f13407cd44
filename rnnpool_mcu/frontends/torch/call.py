"""What an aten converter is given: the call, its constants, and the types of its computed inputs."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from torch import fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.channels_first import AXES
from rnnpool_mcu.frontends.quantized_layers import Filter, summary
from rnnpool_mcu.frontends.torch import fx_reader
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType

BIAS_LIMIT = 2.0**28
"""Of an int32 bias: leaves three quarters of the accumulator's range to the products."""
UNBOUNDED = (float("-inf"), float("inf"))
HOW_TO_QUANTIZE = (
    "quantize the whole model: give the float one to rnnpool_mcu.compile or `rnnpool-mcu compile "
    "--calibration`"
)
Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class Call:
    """One call to convert, with everything about it that is known where its result is quantized."""

    node: fx.Node
    arguments: Mapping[str, Any]  # by schema name, defaults filled in
    inputs: tuple[TensorType, ...]
    shapes: tuple[tuple[int, ...], ...]  # of the same tensors, as torch has them
    made: tuple[int, ...]  # torch's shape of the result
    target: Quantization | None  # of the result; None where it is not quantized
    bounds: tuple[float, float] = UNBOUNDED  # of the fused activation, real values
    result: int = 0  # which of the call's results is wanted
    parts: tuple[tuple[int, ...], ...] = ()  # torch's shapes of all results, where it has several
    axes: tuple[int, ...] = ()  # of height, width, channels, of the first input's; () where those are usual

    @property
    def output(self) -> Quantization:
        """Quantization of the result."""
        if self.target is None:
            raise ModelError(f"its result is read without being quantized; {HOW_TO_QUANTIZE}")
        return self.target

    @property
    def clamp(self) -> tuple[int, int]:
        """The fused activation's bounds as int8 values."""
        steps = (np.floor(bound / self.output.scale + 0.5) for bound in self.bounds)
        low, high = (step + self.output.zero_point for step in steps)
        return int(max(-128.0, low)), int(min(127.0, high))

    @property
    def rank(self) -> int:
        """Dimensions of the first computed input, batch included."""
        return len(self.shapes[0])

    def constant(self, name: str) -> NDArray[Any] | None:
        """Value of a parameter argument; None where the call has none."""
        node = self.arguments[name]
        return None if node is None else fx_reader.constant(node)

    def pair(self, name: str, neutral: int = 1) -> tuple[int, int]:
        """An argument of height and width, given as one number or two; a signal's height is `neutral`."""
        value = self.arguments[name]
        values = [value] if isinstance(value, int) else [int(side) for side in value]
        if len(values) not in (1, 2) or self.rank not in (3, 4):
            raise ModelError(f"{name} {value}, supported: one number, or height and width of an image")
        return neutral if self.rank == 3 else values[0], values[-1]

    def axis(self, axis: int) -> int:
        """The axis of height, width, channels that torch's is; ModelError for the batch."""
        rank = self.rank
        axes = self.axes or AXES.get(rank, ())
        if not -len(axes) <= axis < len(axes) or axes[axis] < 0:
            raise ModelError(f"dimension {axis} of {rank}, supported: any but the batch, of at most 4")
        return axes[axis]

    def image(self, values: Sequence[Item], absent: Item) -> tuple[Item, Item, Item]:
        """Values by torch's dimensions as values of height, width and channels."""
        found = [absent] * 3
        for axis, value in zip(AXES[self.rank], values, strict=True):
            if axis >= 0:
                found[axis] = value
        return found[0], found[1], found[2]


@dataclass(frozen=True)
class Converter:
    """How one aten operator becomes an integer operator; `inputs` are its activation arguments."""

    inputs: tuple[str, ...]
    convert: Callable[[Call], Operator | Sequence[Operator]]  # several: one behind the other
    clamps: bool = False  # whether an activation that follows becomes its clamp
    keeps: bool = False  # whether its result may lack a quantization, its input's is kept
    flat: bool = False  # whether it takes a map for the vector that was made of it
    broadcast: bool = False  # whether inputs of other sizes are repeated first
    maps: bool = False  # whether stored operands become values of the graph
    matrices: bool = False  # whether two computed operands are multiplied as matrices
    over_last: bool = False  # whether the last dimension is the only one that it works along
    rows: Callable[[Call], Operator] | None = None  # along the last dimension, as channels of the value given
    steps: bool = False  # whether it takes [1, steps, values] as one row of pixels, and gives such
    one_axis: bool = False  # whether it takes [1, steps, values] as it lies in the graph

    @property
    def limits(self) -> str:
        """What is supported, in one line."""
        return summary(self.convert)


def quantized_filter(call: Call, channel_axis: int = 0) -> Filter:
    """Weights and bias of a convolution or linear layer, output channels on `channel_axis`.

    Channels whose weights are so small that the bias would not fit get a larger weight scale.
    """
    read = fx_reader.weights(call.node, call.arguments["weight"], channel_axis)
    moved = np.moveaxis(read.values, channel_axis, 0)
    channels = moved.shape[0]
    given = call.constant("bias")
    bias = np.zeros(channels) if given is None else given.astype(np.float64)
    flat = moved.reshape(channels, -1).astype(np.float64)
    largest = read.scales[flat.any(axis=1)].max(initial=0.0) or 1.0
    empty = ~flat.any(axis=1)
    in_scale = call.inputs[0].scale
    scales = np.maximum(np.where(empty, largest, read.scales), np.abs(bias) / (in_scale * BIAS_LIMIT))
    changed = scales != read.scales
    flat[changed] = np.floor(flat[changed] * (read.scales / scales)[changed, None] + 0.5)
    steps = np.floor(bias / (in_scale * scales) + 0.5)
    weights = np.moveaxis(flat.astype(np.int8).reshape(moved.shape), 0, channel_axis)
    return Filter(weights, steps.astype(np.int32), scales)


def per_channel(call: Call) -> tuple[int, NDArray[np.float64]]:
    """Position and real values, one per channel or one in all, of the stored one of two operands."""
    operands = [call.arguments["self"], call.arguments["other"]]
    position = next((at for at, operand in enumerate(operands) if not _is_computed(operand)), None)
    if position is None:
        raise ModelError(
            "of two computed tensors, supported: one of them stored; multiply instead of dividing"
        )
    given = operands[position]
    array = np.asarray(given if isinstance(given, (int, float)) else fx_reader.constant(given), np.float64)
    sides = (1,) * (call.rank - array.ndim) + array.shape
    if array.ndim > call.rank or (array.size != 1 and any(s != 1 for at, s in enumerate(sides) if at != 1)):
        raise ModelError(
            f"constant {given} of shape {list(array.shape)}, supported: one value, or one per channel"
        )
    return position, array.reshape(-1)


def _is_computed(operand: Any) -> bool:
    return isinstance(operand, fx.Node) and not fx_reader.is_stored(operand)
