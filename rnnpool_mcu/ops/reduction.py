"""What reductions over any axes share: their result in numpy, and the fixed point of means and sums."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.operator import Int8Array, Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.numerics.fixed_point import Requantization, requantize
from rnnpool_mcu.numerics.means import mean_multipliers

Kind = Literal["mean", "sum", "max", "min"]
KINDS: tuple[Kind, ...] = ("mean", "sum", "max", "min")
C_KINDS = {"mean": 0, "sum": 0, "max": 1, "min": 2}  # of the kernels; a mean's divisor is in its factor
HEIGHT, WIDTH, CHANNELS = 0, 1, 2


@dataclass(frozen=True)
class Reduction(Operator):
    """Mean, sum, maximum or minimum over axes, whose sides become 1.

    mean, sum: requantize(sum of (in - zero_point) [/ how many]), half up. max, min: the quantization stays.
    """

    kind: Kind
    axes: tuple[int, ...]  # 0 height, 1 width, 2 channels
    output: Quantization

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        (image,) = inputs
        if self.kind not in KINDS:
            raise ModelError(f"{type(self).__name__}: kind {self.kind}, allowed: {', '.join(KINDS)}")
        if not self._is_extreme:
            self._requantization(image)
        elif self.output != image.quantization:
            raise ModelError(
                f"{type(self).__name__}: a {self.kind} of {image.quantization} to {self.output}, allowed: "
                "the same; requantize by a Lookup"
            )
        height, width, channels = (1 if i in self.axes else side for i, side in enumerate(image.shape))
        return TensorType(height, width, channels, self.output)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        (image,) = inputs
        if self._is_extreme:
            best = np.max if self.kind == "max" else np.min
            found: Int8Array = best(values[0], axis=self.axes, keepdims=True)
            return found
        r = self._requantization(image)
        acc = values[0].astype(np.int64).sum(axis=self.axes, keepdims=True) + self._bias(image)
        multiplier = int(r.multipliers[0])
        shifted = (acc << r.left_shift) + 1  # as mean_multipliers wants it
        return requantize(shifted, multiplier, r.shift, self.output.zero_point, -128, 127)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return inputs[0].bytes

    @property
    def _is_extreme(self) -> bool:
        return self.kind in ("max", "min")

    @property
    def _loop(self) -> str:
        """Name of the kernel's loop, for its cost."""
        return f"{self.kernel} {'comparisons' if self._is_extreme else 'sums'}"

    def _count(self, image: TensorType) -> int:
        """How many values become one."""
        return int(np.prod([image.shape[axis] for axis in self.axes], dtype=np.int64))

    def _bias(self, image: TensorType) -> int:
        return -image.zero_point * self._count(image)

    def _requantization(self, image: TensorType) -> Requantization:
        name, count = f"{type(self).__name__} ({self.kind})", self._count(image)
        factor = image.scale / self.output.scale / (count if self.kind == "mean" else 1)
        try:
            return mean_multipliers(np.array([factor]), np.array([count]))
        except ValueError as error:
            raise ModelError(f"{name}: {error}; use a larger output scale") from error

    def _scaling_fields(self, image: TensorType) -> dict[str, int]:
        """Of the kernels, under their C names; all zero for a maximum or minimum."""
        nothing = Requantization(np.zeros(1, np.int32), 0, 0)
        r = nothing if self._is_extreme else self._requantization(image)
        return {
            "kind": C_KINDS[self.kind],
            "bias": 0 if self._is_extreme else self._bias(image),
            "multiplier": int(r.multipliers[0]),
            "left_shift": r.left_shift,
            "shift": r.shift,
            "out_zero_point": self.output.zero_point,
        }
