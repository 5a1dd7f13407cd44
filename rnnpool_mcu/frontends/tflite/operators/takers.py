"""TFLite operators over any axes of any shape, made of one node or several: what each becomes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.quantized_layers import summary
from rnnpool_mcu.frontends.reductions import reduced
from rnnpool_mcu.frontends.tflite.call import Call
from rnnpool_mcu.frontends.tflite.operators.converters import filter_of
from rnnpool_mcu.frontends.tflite.operators.picking import Indices, Sides, around, axis_of, checked, picking
from rnnpool_mcu.frontends.tflite.operators.strides import strided_selections
from rnnpool_mcu.frontends.tflite.operators.svdf import take_svdf
from rnnpool_mcu.frontends.tflite.shapes import elements, merged_axes
from rnnpool_mcu.frontends.tflite.tensors import Tensors
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ops.channel_shuffle import ChannelShuffle
from rnnpool_mcu.ops.concat import CHANNELS, WIDTH, Concat
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Window
from rnnpool_mcu.ops.fully_connected import FullyConnected
from rnnpool_mcu.ops.mat_mul import MatMul
from rnnpool_mcu.ops.reduction import Kind
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.transpose import Transpose

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Taker:
    """How an operator becomes nodes; it reads operands through the call, which notes them."""

    take: Callable[[Tensors, Call], None]

    @property
    def limits(self) -> str:
        """What is supported, in one line."""
        return summary(self.take)


def take_mean(tensors: Tensors, call: Call) -> None:
    """Over any axes; keep_dims or not."""
    _take_reduction(tensors, call, "mean")


def take_sum(tensors: Tensors, call: Call) -> None:
    """Over any axes; keep_dims or not."""
    _take_reduction(tensors, call, "sum")


def take_largest(tensors: Tensors, call: Call) -> None:
    """Over any axes; keep_dims or not; quantization unchanged."""
    _take_reduction(tensors, call, "max")


def take_smallest(tensors: Tensors, call: Call) -> None:
    """Over any axes; keep_dims or not; quantization unchanged."""
    _take_reduction(tensors, call, "min")


def _take_reduction(tensors: Tensors, call: Call, kind: Kind) -> None:
    shape = tensors.shape(call, 0)
    gone = {axis_of(axis, len(shape)) for axis in call.integers(1)}
    keep = bool(call.option("KeepDims"))
    made = tuple(1 if i in gone else side for i, side in enumerate(shape) if keep or i not in gone)
    image, labels = merged_axes(shape, [i in gone for i in range(len(shape))])
    axes = [axis for axis, is_gone in enumerate(labels) if is_gone] or [WIDTH]
    if not any(labels):  # sides of 1 only: the same values at the output's quantization
        image, axes = (elements(shape), 1, 1), [CHANNELS]
    name = tensors.shaped(call, 0, image)
    given, output = tensors.types[name].quantization, call.output
    if kind in ("max", "min") and given != output:
        raise ModelError(
            f"input {given}, output {output}, allowed: the same; put a QUANTIZE operator between"
        )
    tensors.add_shaped(call, reduced(kind, axes, output), (name,), made)


def take_gather(tensors: Tensors, call: Call) -> None:
    """Stored indices along any axis of a computed tensor; no batch dimensions."""
    if call.op.options.get("BatchDims", 0):
        raise ModelError("with batch dimensions, supported: none; gather before the batch")
    shape, stored = tensors.shape(call, 0), call.constant(1)
    axis = axis_of(int(call.op.options.get("Axis", 0)), len(shape))
    indices = np.array(call.integers(1), np.int64)
    made = (*shape[:axis], *stored.shape, *shape[axis + 1 :])
    name = tensors.named(call, 0)
    _pick(tensors, call, name, around(shape, axis), checked(indices, shape[axis]), made)


def _pick(tensors: Tensors, call: Call, name: str, sides: Sides, indices: Indices, made: Shape) -> None:
    """The operator's result: `indices` of the middle of a value seen as [outer, n, inner]."""
    _check_same(tensors, call, name)
    op, name = _picked(tensors, name, sides, indices)
    tensors.add_shaped(call, op, (name,), made)


def _picked(tensors: Tensors, name: str, sides: Sides, indices: Indices) -> tuple[Operator, str]:
    """The operator that picks, and the value that it reads: where need be a copy in the shape of `sides`."""
    op = picking(tensors.types[name].shape, sides, indices)
    if op is not None:
        return op, name
    outer, n, inner = sides
    image = (outer, 1, n) if inner == 1 else sides
    op = picking(image, sides, indices)
    assert op is not None
    return op, tensors.reshaped(name, image)


def _check_same(tensors: Tensors, call: Call, name: str) -> None:
    given = tensors.types[name].quantization
    if call.output != given:
        raise ModelError(
            f"input {given}, output {call.output}, allowed: the same; put a QUANTIZE operator between"
        )


def take_unpack(tensors: Tensors, call: Call) -> None:
    """Along any axis of a computed tensor."""
    shape = tensors.shape(call, 0)
    axis = axis_of(int(call.op.options.get("Axis", 0)), len(shape))
    told = int(call.op.options.get("Num", len(call.op.outputs)))
    if not told == len(call.op.outputs) == shape[axis]:
        raise ModelError(
            f"{told} parts, {len(call.op.outputs)} outputs of {list(shape)}; the file is damaged"
        )
    name = tensors.named(call, 0)
    made = (*shape[:axis], *shape[axis + 1 :])
    for result in range(shape[axis]):
        part = call.of_result(result)
        _pick(tensors, part, name, around(shape, axis), np.array([result]), made)


def take_pack(tensors: Tensors, call: Call) -> None:
    """Along any new axis; tensors that are computed, or stored beside a computed one."""
    count = len(call.op.inputs)
    if not count or int(call.op.options.get("ValuesCount", count)) != count:
        raise ModelError(f"{count} inputs, its option says otherwise; the file is damaged")
    shape = tensors.shape(call, 0)
    if any(tensors.shape(call, at) != shape for at in range(count)):
        raise ModelError("inputs of other shapes, allowed: the same; the file is damaged")
    axis = axis_of(int(call.op.options.get("Axis", 0)), len(shape) + 1)
    made = (*shape[:axis], count, *shape[axis:])
    outer, inner = elements(shape[:axis]), elements(shape[axis:])
    names = tensors.operands(call, range(count))
    images = {tensors.types[name].shape for name in names}
    image = next(iter(images))
    if len(images) == 1 and image[0] * image[1] == outer and image[2] == inner:
        tensors.add_shaped(call, Concat(call.output, CHANNELS), names, made)
    elif inner == 1 and len(images) == 1:
        joined = tensors.between(call, Concat(call.output, CHANNELS), names)
        tensors.add_shaped(call, ChannelShuffle(count), (joined,), made)
    else:
        rows = tuple(tensors.copied(name, Reshape((outer, 1, inner))) for name in names)
        tensors.add_shaped(call, Concat(call.output, WIDTH), rows, made)


def take_tile(tensors: Tensors, call: Call) -> None:
    """Stored repetitions along any axes of a computed tensor."""
    shape, times = tensors.shape(call, 0), call.integers(1)
    if len(times) != len(shape) or min(times, default=0) < 1:
        raise ModelError(f"repetitions {times} of {list(shape)}, allowed: 1 and more of each dimension")
    _repeat(tensors, call, shape, times)


def take_broadcast_to(tensors: Tensors, call: Call) -> None:
    """To a stored shape, sides of 1 repeated."""
    given, wanted = tensors.shape(call, 0), call.integers(1)
    shape = (1,) * (len(wanted) - len(given)) + given
    if any(a not in (1, b) for a, b in zip(shape, wanted, strict=False)) or len(shape) != len(wanted):
        raise ModelError(f"{list(given)} to {wanted}, allowed: other sizes where it has 1")
    _repeat(tensors, call, shape, [b // a for a, b in zip(shape, wanted, strict=True)])


def _repeat(tensors: Tensors, call: Call, shape: Shape, times: list[int]) -> None:
    """A tensor of that shape so many times along each axis."""
    selections = {
        axis: np.tile(np.arange(side), count)
        for axis, (side, count) in enumerate(zip(shape, times, strict=True))
        if count > 1
    }
    made = tuple(side * count for side, count in zip(shape, times, strict=True))
    _pick_each(tensors, call, tensors.named(call, 0), shape, selections, made)


def _pick_each(
    tensors: Tensors, call: Call, name: str, shape: Shape, selections: Mapping[int, Indices], made: Shape
) -> None:
    """The operator's result: indices along several axes of a value of that shape, the last axis first."""
    axes, sides = sorted(selections) or [len(shape) - 1], list(shape)
    for axis in reversed(axes):
        indices = checked(selections.get(axis, np.arange(sides[axis])), sides[axis])
        if axis == axes[0]:
            _pick(tensors, call, name, around(sides, axis), indices, made)
            return
        op, name = _picked(tensors, name, around(sides, axis), indices)
        name, sides[axis] = tensors.between(call, op, (name,)), int(indices.size)


def take_strided_slice(tensors: Tensors, call: Call) -> None:
    """Stored beginning, end and steps, forward or backward; masks, an ellipsis, new axes."""
    shape = tensors.shape(call, 0)
    selections, made = strided_selections(call, shape)
    _pick_each(tensors, call, tensors.named(call, 0), shape, selections, made)


def take_reverse(tensors: Tensors, call: Call) -> None:
    """Along one stored axis of a computed tensor."""
    shape, axes = tensors.shape(call, 0), call.integers(1)
    if len(axes) != 1:
        raise ModelError(f"along axes {axes}, supported: one; use an operator for each")
    axis = axis_of(axes[0], len(shape))
    name = tensors.named(call, 0)
    _pick(tensors, call, name, around(shape, axis), np.arange(shape[axis])[::-1], shape)


def take_batch_matmul(tensors: Tensors, call: Call) -> None:
    """Two computed tensors, or one and a stored one; adj_x, adj_y; matrices of the second for all too."""
    first, second = tensors.shape(call, 0), tensors.shape(call, 1)
    if min(len(first), len(second)) < 2:
        raise ModelError(f"{list(first)} times {list(second)}, allowed: 2 dimensions and more")
    images = [(elements(shape[:-2]), shape[-2], shape[-1]) for shape in (first, second)]
    turned = bool(call.option("AdjX")), bool(call.option("AdjY"))
    rows, columns = first[-1 if turned[0] else -2], second[-2 if turned[1] else -1]
    batch = first[:-2] if elements(first[:-2]) >= elements(second[:-2]) else second[:-2]
    names = tensors.operands(call, (0, 1), images)
    left = tensors.between(call, Transpose((0, 2, 1)), names[:1]) if turned[0] else names[0]
    made = (*np.broadcast_shapes(first[:-2], second[:-2]), rows, columns)
    if elements(batch) != images[0][0] or images[1][0] not in (1, images[0][0]):
        raise ModelError(
            f"{list(first)} times {list(second)}, supported: as many matrices of both, or one second for all"
        )
    tensors.add_shaped(call, MatMul(call.output, turned[1]), (left, names[1]), made)


def take_fully_connected(tensors: Tensors, call: Call) -> None:
    """Over all of its input, or over rows of as many values as the weights take; relu, relu6, relu -1..1
    fused.
    """
    shape, name = tensors.shape(call, 0), tensors.named(call, 0)
    call = replace(call, inputs=(tensors.types[name],))
    filter_ = filter_of(call, axis=0)
    if filter_.weights.ndim != 2 or call.op.options.get("WeightsFormat", 0):
        raise ModelError(f"weights of shape {filter_.weights.shape}, supported: plain [outputs, inputs]")
    outputs, count = filter_.weights.shape
    rows, rest = divmod(elements(shape), count)
    keeps = bool(call.op.options.get("KeepNumDims", 0))
    if rest or not rows or (keeps and shape[-1] != count):
        raise ModelError(f"input of {list(shape)}, weights for {count} values; the file is damaged")
    made = (*shape[:-1], outputs) if keeps else (rows, outputs)
    parts = (filter_.bias, filter_.scales)
    if rows == 1:
        dense = FullyConnected(filter_.weights, *parts, call.output, call.clamp)
        tensors.add_shaped(call, dense, (name,), made)
        return
    if tensors.types[name].channels != count:
        name = tensors.reshaped(name, (1, rows, count))
    window = Window((1, 1), (1, 1))
    each = Conv2d(filter_.weights[:, None, None], *parts, window, call.output, call.clamp)
    tensors.add_shaped(call, each, (name,), made)


TAKERS: Mapping[str, Taker] = {
    "BATCH_MATMUL": Taker(take_batch_matmul),
    "BROADCAST_TO": Taker(take_broadcast_to),
    "FULLY_CONNECTED": Taker(take_fully_connected),
    "GATHER": Taker(take_gather),
    "MEAN": Taker(take_mean),
    "PACK": Taker(take_pack),
    "REDUCE_MAX": Taker(take_largest),
    "REDUCE_MIN": Taker(take_smallest),
    "REVERSE_V2": Taker(take_reverse),
    "STRIDED_SLICE": Taker(take_strided_slice),
    "SUM": Taker(take_sum),
    "SVDF": Taker(take_svdf),
    "TILE": Taker(take_tile),
    "UNPACK": Taker(take_unpack),
}
"""Operators over any axes, by their kind."""
