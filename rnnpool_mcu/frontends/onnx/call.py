"""What an ONNX converter is given: the node, its constants, and the types of its computed inputs.

ONNX tensors are [1, channels, height, width]; those of the graph height x width x channels. Which is which is
settled here, at import.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, TypeVar

import numpy as np
import onnx
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.account import Noted, Operands, check_account
from rnnpool_mcu.frontends.channels_first import AXES, product
from rnnpool_mcu.frontends.channels_last import LAST_AXES
from rnnpool_mcu.frontends.onnx.reader import OnnxNode
from rnnpool_mcu.frontends.quantized_layers import Filter, clamp_of, quantization_of, summary
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType

HOW_TO_QUANTIZE = (
    "quantize the whole model to int8: onnxruntime.quantization.quantize_static(float_path, int8_path, "
    "calibration_data_reader, quant_format=QuantFormat.QDQ, per_channel=True, "
    "activation_type=QuantType.QInt8, weight_type=QuantType.QInt8); "
    "operators that it leaves out are named in op_types_to_quantize"
)
UNBOUNDED = (float("-inf"), float("inf"))
ALL = None
MOST_DIMENSIONS = 8
HARMLESS: Mapping[str, tuple[str, ...]] = {
    "BatchNormalization": ("momentum",),  # of training
    "Dropout": ("seed",),
    "MaxPool": ("storage_order",),  # of the indices, which are refused
    "QuantizeLinear": ("saturate", "precision"),  # of 8-bit floats
    "Resize": ("cubic_coeff_a", "exclude_outside", "extrapolation_value"),  # of modes that are refused
}
"""Attributes of operators that change nothing of what is supported of them."""
_NONE = np.empty(0)
Item = TypeVar("Item")


@dataclass(frozen=True, eq=False)
class QuantizedConstant:
    """Stored integers with their scales: one, or one per slice along `axis`."""

    integers: NDArray[Any]
    scales: NDArray[np.float64]
    zero_points: NDArray[np.int64]
    axis: int

    def real(self) -> NDArray[np.float64]:
        """The values that they stand for."""
        shape = [1] * self.integers.ndim
        if self.scales.size > 1:
            shape[self.axis] = -1
        else:
            shape = [1] * max(1, self.integers.ndim) if self.integers.ndim else []
        scales, zeros = self.scales.reshape(shape), self.zero_points.reshape(shape)
        found: NDArray[np.float64] = (self.integers.astype(np.float64) - zeros) * scales
        return found


@dataclass(frozen=True, eq=False)
class QuantizedTensor:
    """The integer tensor of the file that a value of the graph is."""

    name: str
    offset: int  # to add to int8: 128 for uint8
    last: bool = False  # its elements are in the order of the graph, channels last


@dataclass(frozen=True, eq=False)
class Given:
    """A node and what is stored in the file, with note of which of the node's inputs were used."""

    node: OnnxNode
    constants: Mapping[str, NDArray[Any]]
    weights: Mapping[str, QuantizedConstant]
    account: Operands

    @staticmethod
    def of(
        node: OnnxNode, constants: Mapping[str, NDArray[Any]], weights: Mapping[str, QuantizedConstant]
    ) -> Given:
        """Nothing of the node used so far."""
        noted = replace(node, attributes=Noted(node.attributes))
        return Given(noted, constants, weights, Operands(node.inputs))

    def name(self, position: int) -> str:
        """The tensor at `position`, which is used from now on; "" where the node has none."""
        self.account.use(position)
        return self.node.inputs[position] if self.has(position) else ""

    def number(self, position: int, rank: int = MOST_DIMENSIONS) -> float | None:
        """The single stored number at `position`, in at most `rank` dimensions; None for anything else."""
        name = self.node.inputs[position]
        array = self.weights[name].real() if name in self.weights else self.constants.get(name, _NONE)
        if array.size != 1 or array.ndim > rank or array.dtype.kind not in "fiu":
            return None
        self.account.use(position)
        return float(np.float32(array.reshape(-1)[0]))  # as runtimes have it: 2, not 2 and a rounding

    def is_stored(self, position: int) -> bool:
        """Whether the file holds the input at `position`, or the node has none there."""
        name = self.node.inputs[position] if self.has(position) else ""
        return not name or name in self.constants or name in self.weights

    def has(self, position: int) -> bool:
        """Whether the node has that optional input."""
        return position < len(self.node.inputs) and self.node.inputs[position] != ""

    def weight(self, position: int) -> QuantizedConstant:
        """The stored, quantized input at `position`."""
        name = self.name(position)
        if name in self.weights:
            return self.weights[name]
        problem = "are float" if name in self.constants else "are missing or computed"
        raise ModelError(
            f"weights '{name}' {problem}, supported: stored int8 through DequantizeLinear; {HOW_TO_QUANTIZE}"
        )

    def stored(self, position: int) -> NDArray[Any]:
        """The stored values of the input at `position`, real where they are quantized."""
        name = self.name(position)
        if name in self.weights:
            return self.weights[name].real()
        if name not in self.constants:
            raise ModelError(f"input {position} ('{name}') is computed, supported: stored in the file")
        return self.constants[name]

    def stored_integers(self, position: int) -> list[int]:
        """Stored integers of the input at `position`."""
        array = self.stored(position)
        if array.dtype.kind not in "iu":
            raise ModelError(f"input {position} is {array.dtype}, allowed: integers; the file is damaged")
        return [int(value) for value in array.reshape(-1)]

    def check(self, supported: str = "") -> None:
        """ModelError for an input that was not used or an attribute that was not read."""
        harmless = HARMLESS.get(self.node.kind, ())
        assert isinstance(self.node.attributes, Noted)
        unread = {
            name: value
            for name, value in self.node.attributes.unread().items()
            if name not in harmless and value != _default(self.node.kind, name)
        }
        check_account(self.account, unread, supported)


def _default(kind: str, attribute: str) -> Any:
    """What ONNX takes for an attribute that a node lacks; None where it says nothing."""
    schemas = [s for s in _schemas() if s.name == kind and attribute in s.attributes]
    stored = schemas[-1].attributes[attribute].default_value if schemas else None
    return None if stored is None or not stored.name else onnx.helper.get_attribute_value(stored)


@cache
def _schemas() -> tuple[Any, ...]:
    """ONNX's own operators, the newest form of each last."""
    found = [schema for schema in onnx.defs.get_all_schemas_with_history() if schema.domain == ""]
    return tuple(sorted(found, key=lambda schema: schema.since_version))


@dataclass(frozen=True, eq=False)
class Target:
    """Where a node's result ends: behind the activations that were folded into it."""

    tensor: str
    quantization: Quantization | None
    bounds: tuple[float, float] = UNBOUNDED


@dataclass(frozen=True, eq=False)
class Call(Given):
    """One node to convert, with the types of its computed inputs."""

    inputs: tuple[TensorType, ...]  # of computed tensors, constants left out
    shapes: tuple[tuple[int, ...], ...]  # of the same tensors, as ONNX has them
    target: Quantization | None  # of the wanted output; None where no QuantizeLinear follows
    bounds: tuple[float, float] = UNBOUNDED  # of a relu or clip that follows
    result: int = 0  # which of the node's outputs is wanted
    last: bool = False  # the file's order of its elements is the graph's: channels last

    @property
    def output(self) -> Quantization:
        """Quantization of the wanted output."""
        if self.target is None:
            raise ModelError(
                f"its output '{self.node.outputs[self.result]}' has no quantization (no QuantizeLinear reads "
                f"it); {HOW_TO_QUANTIZE}"
            )
        return self.target

    @property
    def clamp(self) -> tuple[int, int]:
        """Bounds of the activation that follows, as int8 values."""
        return clamp_of(*self.bounds, self.output)

    @property
    def rank(self) -> int:
        """Dimensions of the first computed input, batch included."""
        return len(self.shapes[0])

    @property
    def axes(self) -> tuple[int, ...]:
        """Of each axis in the file, the axis of height, width, channels; -1 is the batch."""
        return (LAST_AXES if self.last else AXES).get(self.rank, ())

    def axis(self, axis: int) -> int:
        """The axis of height, width, channels that ONNX's is; ModelError for the batch."""
        rank, axes = self.rank, self.axes
        if not axes or not -rank <= axis < rank or axes[axis] < 0:
            raise ModelError(f"axis {axis} of {rank}, supported: any but the batch, of at most 4")
        return axes[axis]

    def image(self, values: Sequence[Item], absent: Item) -> tuple[Item, Item, Item]:
        """Values by ONNX's dimensions as values of height, width and channels."""
        found, axes = [absent] * 3, self.axes
        if len(values) != self.rank or not axes:
            raise ModelError(f"{list(values)} for {self.rank} dimensions; the file is damaged")
        for axis, value in zip(axes, values, strict=True):
            if axis >= 0:
                found[axis] = value
        return found[0], found[1], found[2]


@dataclass(frozen=True)
class Converter:
    """How one ONNX operator becomes an integer operator.

    `inputs` are the positions of its computed inputs; ALL takes as many as there are.
    """

    inputs: tuple[int, ...] | None
    convert: Callable[[Call], Operator | Sequence[Operator]]  # several: one behind the other
    clamps: bool = False  # whether a relu or clip that follows becomes its clamp
    keeps: bool = False  # whether its output may lack a quantization, its input's is kept
    flat: bool = False  # whether it takes a map for the vector that was made of it
    broadcast: bool = False  # whether inputs of other sizes are repeated first
    indices: bool = False  # whether its output in the file are plain integers
    drops: Callable[[Call], Sequence[int]] | None = None  # the file's axes that its output lacks
    rows: bool = False  # whether it finds its axes by the call's, channels first or last
    channelwise: bool = False  # whether its axis must be the channels
    matrices: bool = False  # whether two computed inputs are multiplied as matrices
    several: bool = False  # whether it makes more than one output

    @property
    def limits(self) -> str:
        """What is supported, in one line."""
        return summary(self.convert)


def onnx_shape(kind: TensorType, rank: int, *, last: bool = False) -> tuple[int, ...]:
    """The shape that ONNX has for a value, in so many dimensions."""
    axes = (LAST_AXES if last else AXES).get(rank, ())
    if not axes or product(kind.shape) != product(tuple(kind.shape[axis] for axis in axes if axis >= 0)):
        raise ModelError(f"its output is {kind}, which has no {rank} dimensions")
    return tuple(kind.shape[axis] if axis >= 0 else 1 for axis in axes)


def quantization_from(scale: NDArray[Any], zero_point: NDArray[Any] | None, dtype: str) -> Quantization:
    """An activation's parameters, those of uint8 shifted by 128; ModelError for other types."""
    if dtype not in ("int8", "uint8"):
        raise ModelError(f"{dtype} activations, supported: int8, uint8; {HOW_TO_QUANTIZE}")
    if scale.size != 1 or (zero_point is not None and zero_point.size != 1):
        raise ModelError(
            f"{scale.size} scales, supported: 1 for a computed tensor; quantize activations per tensor"
        )
    zero = 0 if zero_point is None else int(zero_point.reshape(-1)[0])
    return quantization_of(float(scale.reshape(-1)[0]), zero - (128 if dtype == "uint8" else 0))


def filter_of(
    call: Call,
    weights_at: int,
    bias_at: int,
    axis: int,
    *,
    group: int = 1,
    factor: float = 1.0,
    bias_factor: float = 1.0,
) -> Filter:
    """Weights and biases of a layer, output channels on `axis`, which holds those of one `group`.

    What they are multiplied by goes into their scales. ModelError unless the weights less their zero points
    fit int8.
    """
    stored = call.weight(weights_at)
    array, name = stored.integers, call.node.inputs[weights_at]
    if array.dtype not in (np.int8, np.uint8) or array.ndim <= axis or array.size == 0:
        kind = f"{array.dtype} of shape {list(array.shape)}"
        raise ModelError(f"weights '{name}': {kind}, supported: an int8 matrix or filter")
    channels = array.shape[axis]
    if stored.scales.size != 1 and (stored.scales.size != channels or stored.axis != axis):
        raise ModelError(
            f"weights '{name}': {stored.scales.size} scales on axis {stored.axis}, allowed: 1, or {channels} "
            f"on axis {axis}"
        )
    for scale in stored.scales:
        quantization_of(float(scale), 0)
    if not factor > 0:
        raise ModelError(f"a factor of {factor:g} for its weights, allowed: above 0; put it into the weights")
    scales = np.tile(np.broadcast_to(stored.scales, (channels,)), group).astype(np.float64) * factor
    return Filter(_centred(stored, name), _bias(call, bias_at, scales, bias_factor), scales)


def _centred(stored: QuantizedConstant, name: str) -> NDArray[np.int8]:
    """Weights less their zero points; ModelError where this leaves an int8."""
    spread = [1] * stored.integers.ndim
    if stored.zero_points.size > 1:
        spread[stored.axis] = -1
    found = stored.integers.astype(np.int16) - stored.zero_points.reshape(spread)
    if found.min() < -128 or found.max() > 127:
        raise ModelError(
            f"weights '{name}': {found.min()}..{found.max()} less their zero point, allowed: -128..127; "
            "quantize with weight_type=QuantType.QInt8, which has none"
        )
    return found.astype(np.int8)


def _bias(call: Call, position: int, scales: NDArray[np.float64], factor: float) -> NDArray[np.int32]:
    """int32 biases times a factor at input scale x weight scale; zeros where the layer has none."""
    if not call.has(position):
        return np.zeros(scales.size, np.int32)
    product = call.inputs[0].scale * scales
    held = call.weights.get(call.name(position))
    if held is not None and held.integers.dtype == np.int32 and not held.zero_points.any():
        given = held.scales * factor
        same = given.size == scales.size and np.allclose(given, product, rtol=1e-6, atol=0)
        if same and held.integers.size == scales.size:
            return held.integers.reshape(-1).astype(np.int32)
    real = np.asarray(call.stored(position), np.float64).reshape(-1) * factor
    if real.size not in (1, scales.size) or not np.isfinite(real).all():
        raise ModelError(f"bias of {real.size} values, supported: {scales.size} finite ones")
    steps = np.rint(real / product)
    if not np.abs(steps).max() < 2.0**31:
        raise ModelError("a bias leaves 32 bits at input scale x weight scale; calibrate again")
    return steps.astype(np.int32)
