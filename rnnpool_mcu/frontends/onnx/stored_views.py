"""Views of stored tensors: weights that a file transposes or reshapes as it runs are stored so, once."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.channels_first import product
from rnnpool_mcu.frontends.onnx.call import Given, QuantizedConstant
from rnnpool_mcu.frontends.onnx.views import view_shape

STORED_VIEWS = ("Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze")


def viewed_constant(given: Given, array: NDArray[Any]) -> NDArray[Any]:
    """A stored tensor in another shape or order; integers may also be limited, by a Clip."""
    if given.node.kind == "Clip":
        low, high = (given.stored(at) if given.has(at) else None for at in (1, 2))
        given.account.use(0)
        return np.asarray(np.clip(array, low, high), array.dtype)
    if given.node.kind == "Transpose":
        return np.ascontiguousarray(array.transpose(_order(given, array.ndim)))
    return array.reshape(view_shape(given, array.shape))


def viewed_weights(given: Given, weights: QuantizedConstant) -> QuantizedConstant:
    """Stored integers with their scales in another shape or order."""
    array = weights.integers
    if given.node.kind == "Transpose":
        order = _order(given, array.ndim)
        axis = order.index(weights.axis) if weights.scales.size > 1 else 0
        return replace(weights, integers=np.ascontiguousarray(array.transpose(order)), axis=axis)
    shape = view_shape(given, array.shape)
    if weights.scales.size == 1:
        return replace(weights, integers=array.reshape(shape))
    before = product(array.shape[: weights.axis])
    places = [at for at in range(len(shape)) if product(shape[:at]) == before]
    fitting = [at for at in places if shape[at] == weights.scales.size]
    if not fitting:
        raise ModelError(
            f"{list(array.shape)} to {list(shape)} with scales on axis {weights.axis}, supported: views that "
            "keep this axis; store the weights as they are used"
        )
    return replace(weights, integers=array.reshape(shape), axis=fitting[0])


def _order(given: Given, rank: int) -> list[int]:
    given.account.use(0)
    order = given.node.integers("perm", range(rank)[::-1])
    if sorted(order) != list(range(rank)):
        raise ModelError(f"order {order} of {rank} dimensions; the file is damaged")
    return order
