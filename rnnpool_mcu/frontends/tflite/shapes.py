"""Shapes and names of tensors in a TFLite file, as the integer graph sees them."""

from __future__ import annotations

from collections.abc import Sequence

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.node_names import readable_names
from rnnpool_mcu.frontends.quantized_layers import quantization_of
from rnnpool_mcu.frontends.tflite.call import HOW_TO_QUANTIZE
from rnnpool_mcu.frontends.tflite.reader import StoredModel, StoredOperator, StoredTensor
from rnnpool_mcu.ir.tensor_type import Quantization

LONGEST_NAME = 80


def image_shape(tensor: StoredTensor, shape: tuple[int, ...]) -> tuple[int, int, int]:
    """Height, width, channels of a tensor's shape; ModelError for batches of images and open sides.

    Of three dimensions or two the first is a side like the others: rows of vectors, as a dense layer over a
    sequence has them. Of more than four all but the last two are the height, which operators value by value
    do not mind; those that move values look at the shape itself.
    """
    if tensor.dynamic:
        raise ModelError(
            f"'{tensor.name}' has sides that are not fixed, {list(shape)}; export it with a fixed input size"
        )
    if len(shape) > 4:
        return elements(shape[:-2]), shape[-2], shape[-1]
    if len(shape) == 4:
        check_batch(tensor, shape)
    height, width, channels = (1,) * (3 - len(shape)) + shape[-3:]
    return height, width, channels


def check_batch(tensor: StoredTensor, shape: tuple[int, ...]) -> None:
    """ModelError for a batch; a tensor of one dimension has none."""
    if len(shape) >= 2 and shape[0] != 1:
        raise ModelError(
            f"'{tensor.name}' is {list(shape)}: batch {shape[0]}, supported: 1; export it with batch 1"
        )


def merged_order(shape: tuple[int, ...], order: list[int]) -> tuple[list[int], list[int]]:
    """A shape and an order of it in which neighbours that stay neighbours are one axis, sides of 1 none."""
    kept = [axis for axis, side in enumerate(shape) if side != 1]
    groups: list[list[int]] = []
    for axis in (kept.index(axis) for axis in order if shape[axis] != 1):
        if groups and groups[-1][-1] + 1 == axis:
            groups[-1].append(axis)
        else:
            groups.append([axis])
    before = sorted(groups)
    sides = [elements(tuple(shape[kept[axis]] for axis in group)) for group in before]
    return sides, [before.index(group) for group in groups]


def aligned_shape(tensor: StoredTensor) -> tuple[int, int, int]:
    """Height, width, channels of a stored tensor as operands of other ranks meet: at the last axis."""
    shape = tensor.shape
    if elements(shape[:-3]) != 1:
        raise ModelError(
            f"'{tensor.name}' is {list(shape)}, supported: at most 3 dimensions beside the batch"
        )
    height, width, channels = (1,) * (3 - len(shape)) + shape[-3:]
    return height, width, channels


def where(op: StoredOperator, model: StoredModel) -> str:
    """An operator's kind, index and tensors, for messages."""

    def names(indices: tuple[int, ...]) -> str:
        return ", ".join(f"'{model.tensors[i].name}'" for i in indices[:4] if i >= 0) or "nothing"

    return f"{op.kind}, operator {op.index} ({names(op.inputs)} -> {names(op.outputs)})"


def image_axes(order: list[int]) -> tuple[int, int, int]:
    """An order of dimensions, batch first, as one of height, width and channels."""
    absent = 4 - len(order)
    if not 2 <= len(order) <= 4 or order[0] != 0:
        raise ModelError(f"order {order}, supported: at most 4 dimensions, the batch first")
    found = [*range(absent), *(axis - 1 + absent for axis in order[1:])]
    return found[0], found[1], found[2]


def shifted(tensor: StoredTensor) -> Quantization:
    """Quantization of a uint8 tensor's values less 128."""
    stored = tensor.quantization
    if stored is None or stored.scales.size != 1:
        raise ModelError(f"'{tensor.name}' is uint8 without one scale; {HOW_TO_QUANTIZE}")
    return quantization_of(float(stored.scales[0]), int(stored.zero_points[0]) - 128)


def merged_axes(shape: tuple[int, ...], labels: Sequence[bool]) -> tuple[tuple[int, int, int], list[bool]]:
    """A shape as height, width, channels, and the label of each: neighbours of one label are one axis.

    ModelError where that takes more than three.
    """
    if elements(shape[:-3]) == 1:
        sides, kept = list(shape[-3:]), list(labels[-3:])
    else:
        sides, kept = [], []
        for side, label in zip(shape, labels, strict=True):
            if side == 1:
                continue
            if kept and kept[-1] == label:
                sides[-1] *= side
            else:
                sides.append(side)
                kept.append(label)
    if len(sides) > 3:
        raise ModelError(f"axes of {list(shape)} in {len(sides)} groups, supported: 3; do it in two steps")
    absent = 3 - len(sides)
    height, width, channels = [1] * absent + sides
    return (height, width, channels), [False] * absent + kept


def rank_fits(tensor: StoredTensor) -> bool:
    return len(tensor.shape) <= 4 and (len(tensor.shape) < 2 or tensor.shape[0] == 1)


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(side for side in shape if side != 1)


def elements(shape: tuple[int, ...]) -> int:
    total = 1
    for side in shape:
        total *= side
    return total


def node_names(model: StoredModel, taken: tuple[str, ...]) -> dict[int, str]:
    """Graph node name of every operator's outputs, from the first of the names fused into a tensor's."""
    made = list(dict.fromkeys(index for op in model.operators for index in op.outputs))
    paths = [
        model.tensors[i].name.partition(";")[0].strip("/").replace("/", ".")[:LONGEST_NAME] for i in made
    ]
    return dict(zip(made, readable_names(paths, taken=taken), strict=True))
