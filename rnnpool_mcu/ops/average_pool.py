"""Mean and sum of every channel over the whole image."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import Absorber, CParams, Int8Array
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.fixed_point import Requantization, requantize
from rnnpool_mcu.numerics.means import mean_multipliers


@dataclass(frozen=True)
class SpatialReduction(Absorber):
    """out[c] = requantize(sum over pixels of (in[c] - zero_point) / divisor), exact halves up."""

    kernel: ClassVar[str] = "global_average_pool_s8"

    output: Quantization

    def groups(self) -> tuple[tuple[int, ...], ...]:
        return ((0,),)

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        return TensorType(1, 1, image.channels, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        requantization = self._requantization(inputs)
        sums = values[0].astype(np.int64).sum(axis=(0, 1), keepdims=True)
        acc = ((sums + self._bias(inputs)) << requantization.left_shift) + 1  # as mean_multipliers wants it
        multiplier = int(requantization.multipliers[0])
        return requantize(acc, multiplier, requantization.shift, self.output.zero_point, -128, 127)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return inputs[0].bytes

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def state_bytes(self, inputs: Sequence[TensorType]) -> int:
        return 4 * inputs[0].channels

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        requantization = self._requantization(inputs)
        return CParams(
            {
                "bias": self._bias(inputs),
                "multiplier": int(requantization.multipliers[0]),
                "left_shift": requantization.left_shift,
                "shift": requantization.shift,
                "out_zero_point": self.output.zero_point,
                "width": inputs[0].width,
                "channels": inputs[0].channels,
            }
        )

    @staticmethod
    def _bias(inputs: Sequence[TensorType]) -> int:
        return -inputs[0].zero_point * inputs[0].height * inputs[0].width

    @abstractmethod
    def _divisor(self, image: TensorType) -> int:
        """What the sum is divided by."""

    def _requantization(self, inputs: Sequence[TensorType]) -> Requantization:
        (image,) = inputs
        factor = image.scale / (self.output.scale * self._divisor(image))
        try:
            return mean_multipliers(np.array([factor]), np.array([image.height * image.width]))
        except ValueError as error:
            raise ModelError(
                f"{type(self).__name__}: {error}; use a larger output scale or a smaller map"
            ) from error


@dataclass(frozen=True)
class GlobalAveragePool(SpatialReduction):
    """out[c] = requantize(sum over pixels of (in[c] - zero_point)), the 1 / pixels folded into the factor."""

    def _divisor(self, image: TensorType) -> int:
        return image.height * image.width


@dataclass(frozen=True)
class SpatialSum(SpatialReduction):
    """out[c] = requantize(sum over pixels of (in[c] - zero_point))."""

    def _divisor(self, image: TensorType) -> int:
        return 1
