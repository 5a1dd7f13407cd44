"""Stored operands that are whole maps, as values of the graph: position embeddings, masks, parts of a cat."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.channels_first import image_shape
from rnnpool_mcu.frontends.torch import fx_reader
from rnnpool_mcu.frontends.torch.tensors import Tensors
from rnnpool_mcu.frontends.values import Value
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.ops.stored import Stored


def is_per_channel(operand: Any, rank: int) -> bool:
    """Whether a number or stored tensor is one value in all, or one per channel, of so many dimensions."""
    if isinstance(operand, (int, float)):
        return True
    shape = fx_reader.constant(operand).shape
    sides = (1,) * (rank - len(shape)) + shape
    return len(shape) <= rank and all(side == 1 for at, side in enumerate(sides) if at != 1)


def stored_map(
    tensors: Tensors, call: Any, place: str, operand: Any, beside: Value, *, joined: bool = False
) -> Value:
    """A stored operand as a value of as many dimensions as the one `beside`, one row repeated like its rows.

    `joined` to it in a cat, it has rows of its own. Raises ModelError for batches and too many dimensions.
    """
    array = np.asarray(fx_reader.constant(operand), np.float64)
    rank = len(beside.shape)
    while array.ndim > rank and array.shape[0] == 1:
        array = array[0]
    if array.ndim > rank:
        raise ModelError(f"{place} is stored, {list(array.shape)}, beside {list(beside.shape)}; reshape it")
    sides = (1,) * (rank - array.ndim) + array.shape
    height, width, channels = image_shape(place, sides)
    image = array.reshape(channels, height, width).transpose(1, 2, 0)
    source = tensors.plain(beside)
    rows = tensors.types[source].height if height == 1 and not joined else height
    quantization = range_of(image)
    steps = np.rint(image / quantization.scale) + quantization.zero_point
    values = np.ascontiguousarray(np.clip(steps, -128, 127).astype(np.int8))
    name = f"{call.name}_{place.replace('[', '_').rstrip(']')}"
    path = fx_reader.module_path(call) or call.name
    tensors.add(name, Stored(values, quantization, rows), (source,), f"{path}.{place}")
    shapes = {2: (1, channels), 3: (1, channels, width), 4: (1, channels, rows, width)}
    return Value(name, shapes[rank])


def range_of(values: NDArray[np.float64]) -> Quantization:
    """Scale and zero point that hold all values and 0."""
    low, high = min(0.0, float(values.min())), max(0.0, float(values.max()))
    scale = (high - low) / 255.0 or 1.0
    return Quantization(scale, int(np.clip(round(-128 - low / scale), -128, 127)))
