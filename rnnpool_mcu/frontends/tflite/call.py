"""What a TFLite converter is given: the operator, its constants, and the types of its computed inputs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.account import Operands
from rnnpool_mcu.frontends.quantized_layers import clamp_of, quantization_of, summary
from rnnpool_mcu.frontends.tflite.reader import StoredModel, StoredOperator, StoredTensor
from rnnpool_mcu.ir.operator import Operator
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.log_softmax import LOG_PROBABILITY
from rnnpool_mcu.ops.softmax import PROBABILITY

UNBOUNDED = (float("-inf"), float("inf"))
_BOUNDS = {
    0: UNBOUNDED,
    1: (0.0, float("inf")),  # RELU
    2: (-1.0, 1.0),  # RELU_N1_TO_1
    3: (0.0, 6.0),  # RELU6
}
ALL = None
FLOAT_TAILS = {
    "LOGISTIC": PROBABILITY,
    "LOG_SOFTMAX": LOG_PROBABILITY,
    "SOFTMAX": PROBABILITY,
    "TANH": Quantization(1 / 128, 0),
}
"""Operators that may end a model in float, behind a DEQUANTIZE, and the quantization of their int8 result."""
HARMLESS = (
    *("DepthMultiplier", "NumSplits"),  # shapes tell
    *("KeepDims", "OutputType"),  # the file's shape and type of the result are compared
    *("AsymmetricQuantizeInputs", "PotScaleInt16", "QuantizedBiasType"),  # of other number formats
)
"""Options that change nothing of what is supported of an operator."""


@dataclass(frozen=True, eq=False)
class Call:
    """One operator to convert, with the types of its computed inputs."""

    model: StoredModel
    op: StoredOperator
    inputs: tuple[TensorType, ...]  # of computed tensors, constants left out
    result: int = 0  # which of the operator's outputs is wanted
    account: Operands = field(default_factory=lambda: Operands(()))  # which inputs were used

    @property
    def output(self) -> Quantization:
        """Quantization of the wanted output; of a float one at the model's end, that of its operator."""
        index = self.op.outputs[self.result]
        tensor = self.model.tensors[index]
        is_read = any(index in op.inputs for op in self.model.operators)
        if tensor.dtype == "FLOAT32" and index in self.model.outputs and not is_read:
            return FLOAT_TAILS.get(self.op.kind) or int8_quantization(tensor)
        return int8_quantization(tensor)

    @property
    def clamp(self) -> tuple[int, int]:
        """The fused activation's bounds as int8 values."""
        activation = int(self.option("FusedActivationFunction"))
        if activation not in _BOUNDS:
            raise ModelError(
                f"fused activation {activation}, supported: none, relu, relu6, relu -1..1; "
                "make it a layer of its own"
            )
        return clamp_of(*_BOUNDS[activation], self.output)

    def option(self, name: str) -> int | float:
        """A scalar of the options table."""
        if name not in self.op.options:
            raise ModelError(f"its option {name} is missing; the file is damaged, export it again")
        value: int | float = self.op.options[name]
        return value

    def constant(self, position: int) -> StoredTensor:
        """The input at `position`, which must be stored in the file."""
        found = self.optional(position)
        if found is None:
            raise ModelError(f"input {position} is missing; the file is damaged, export it again")
        return found

    def integers(self, position: int) -> list[int]:
        """Values of the stored int32 input at `position`."""
        tensor = self.constant(position)
        assert tensor.data is not None
        if tensor.dtype not in ("INT32", "INT64"):
            raise ModelError(f"input {position} ('{tensor.name}') is {tensor.dtype}, allowed: INT32")
        return [int(value) for value in tensor.data.reshape(-1)]

    def of_result(self, result: int) -> Call:
        """The same call, another of its outputs wanted."""
        return replace(self, result=result)

    def rank(self, position: int) -> int:
        """Dimensions of the input at `position`, batch included."""
        return len(self.model.tensors[self.op.inputs[position]].shape)

    def optional(self, position: int) -> StoredTensor | None:
        """The stored input at `position`; None where the operator has none."""
        self.account.use(position)
        if position >= len(self.op.inputs) or self.op.inputs[position] < 0:
            return None
        tensor = self.model.tensors[self.op.inputs[position]]
        if tensor.data is None:
            raise ModelError(
                f"input {position} ('{tensor.name}') is computed, supported: stored in the file; "
                "fold it before export"
            )
        return tensor


@dataclass(frozen=True)
class Converter:
    """How one TFLite operator becomes an integer operator.

    `inputs` are the positions of its computed inputs; ALL takes as many as there are.
    """

    inputs: tuple[int, ...] | None
    convert: Callable[[Call], Operator]
    constants: bool = False  # whether stored tensors may stand at these positions
    reshapes: bool = False  # whether the output may have lost sides of 1
    broadcast: bool = False  # whether inputs of other sizes are repeated first
    maps: bool = False  # whether stored tensors may be whole maps: they become values of the graph
    single: bool = False  # whether a stored tensor that is no map is one value, not one per channel

    @property
    def limits(self) -> str:
        """What is supported, in one line."""
        return summary(self.convert)


def int8_quantization(tensor: StoredTensor) -> Quantization:
    """Scale and zero point of a computed int8 tensor; ModelError for any other."""
    if tensor.dtype != "INT8":
        raise ModelError(f"'{tensor.name}' is {tensor.dtype}, supported: INT8; {HOW_TO_QUANTIZE}")
    stored = tensor.quantization
    if stored is None:
        raise ModelError(f"'{tensor.name}' has no quantization; {HOW_TO_QUANTIZE}")
    if stored.scales.size != 1:
        raise ModelError(
            f"'{tensor.name}' has {stored.scales.size} scales, supported: 1 for a computed tensor; "
            "quantize activations per tensor"
        )
    try:
        return quantization_of(float(stored.scales[0]), int(stored.zero_points[0]))
    except ModelError as error:
        raise ModelError(f"'{tensor.name}': {error}") from error


HOW_TO_QUANTIZE = (
    "quantize the whole model to int8: optimizations = [tf.lite.Optimize.DEFAULT], a representative_dataset, "
    "target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]"
)


def real_constant(call: Call) -> tuple[int, NDArray[np.float64]]:
    """Position and real values, one per channel or one in all, of the stored one of two operands."""
    position = 0 if call.model.tensors[call.op.inputs[0]].data is not None else 1
    tensor = call.constant(position)
    stored, data = tensor.quantization, tensor.data
    if tensor.dtype != "INT8" or stored is None or data is None or stored.scales.size != 1:
        raise ModelError(f"constant '{tensor.name}' is {tensor.dtype}, supported: INT8 with one scale")
    if data.ndim and data.size not in (1, data.shape[-1]):
        raise ModelError(
            f"constant '{tensor.name}' of shape {list(data.shape)}, supported: one value, or one per channel"
        )
    quantization = quantization_of(float(stored.scales[0]), int(stored.zero_points[0]))
    return position, quantization.scale * (data.reshape(-1).astype(np.float64) - quantization.zero_point)


def check_same_quantization(call: Call) -> None:
    if call.output != call.inputs[0].quantization:
        raise ModelError(
            f"input {call.inputs[0].quantization}, output {call.output}, allowed: the same; put a QUANTIZE "
            "operator between"
        )
