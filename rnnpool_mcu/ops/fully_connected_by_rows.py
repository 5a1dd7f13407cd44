"""Fully connected layer on a map that is taken row by row, so that the map never stands whole."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from rnnpool_mcu.ir.operator import Absorber, CArray, CParams, Int8Array
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.convolution import OutputStage
from rnnpool_mcu.ops.fully_connected import FullyConnected

GROUP = 4  # output channels that the kernel takes at once
WORD_BYTES = 4


@dataclass(frozen=True, eq=False)
class FullyConnectedByRows(Absorber):
    """The result of `layer`, bit for bit: each row's products go into sums of 32 bits, one per output."""

    kernel: ClassVar[str] = "fully_connected_by_rows_s8"

    layer: FullyConnected

    def groups(self) -> tuple[tuple[int, ...], ...]:
        return ((0,),)

    def infer_type(self, inputs: Sequence[TensorType]) -> TensorType:
        return self.layer.infer_type(inputs)

    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> Int8Array:
        return self.layer.eval_int8(inputs, values)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return self.layer.macs(inputs)

    def variants(self) -> tuple[str, ...]:
        return ("m4",)

    def state_bytes(self, inputs: Sequence[TensorType]) -> int:
        return 4 * self._padded_outputs

    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        (image,), layer = inputs, self.layer
        stage = OutputStage.of(
            layer.weights, layer.bias, layer.weight_scales, image, layer.output, layer.clamp
        )
        return CParams(
            {
                "weights": CArray("int8_t", self._groups_of_words(image)),
                **stage.c_fields(),
                "row_bytes": image.row_bytes,
                "out_channels": layer.weights.shape[0],
            }
        )

    @property
    def _padded_outputs(self) -> int:
        outputs: int = self.layer.weights.shape[0]
        return -(-outputs // GROUP) * GROUP

    def _groups_of_words(self, image: TensorType) -> Int8Array:
        """[rows, groups, words of a row, outputs of a group, bytes of a word], filled up with zeros."""
        weights = self.layer.weights.reshape(-1, image.height, image.row_bytes)
        fill = self._padded_outputs - weights.shape[0], -image.row_bytes % WORD_BYTES
        padded = np.pad(weights, ((0, fill[0]), (0, 0), (0, fill[1])))
        words = padded.reshape(-1, GROUP, image.height, padded.shape[2] // WORD_BYTES, WORD_BYTES)
        return np.ascontiguousarray(words.transpose(2, 0, 3, 1, 4))
