"""What an operator tells the compiler about itself; nothing dispatches on an operator's name."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.tensor_type import TensorType, ValueType

Int8Array = NDArray[np.int8]


@dataclass(frozen=True)
class RowWindow:
    """Rows first..stop-1 of an input (stop exclusive); rows outside the tensor read as its zero point."""

    first: int
    stop: int  # exclusive


@dataclass(frozen=True)
class Margin:
    """Columns of zero point that an operator reads left and right of its input rows, in pixels."""

    left: int = 0
    right: int = 0


@dataclass(frozen=True)
class CArray:
    """A constant array of the generated C; multi-dimensional values are flattened in C order."""

    ctype: str  # int8_t, int16_t, uint16_t, int32_t, uint32_t
    values: NDArray[Any]

    @property
    def bytes(self) -> int:
        return int(self.values.size) * int(self.ctype.strip("uint_")) // 8


@dataclass(frozen=True)
class CParams:
    """The constant parameter structure of one kernel call: field name -> integer, array or nested structure.

    The structure's C type is `<kernel>_params`, declared by the kernel's template; arrays become
    `static const` arrays in the weights file and pointers in the structure.
    """

    fields: dict[str, int | CArray | CParams] = field(default_factory=dict)

    def arrays(self) -> list[tuple[str, CArray]]:
        """Every array with its dotted field path joined by underscores."""
        found: list[tuple[str, CArray]] = []
        for name, value in self.fields.items():
            if isinstance(value, CArray):
                found.append((name, value))
            elif isinstance(value, CParams):
                found.extend((f"{name}_{inner}", array) for inner, array in value.arrays())
        return found


@dataclass(frozen=True)
class Work:
    """What a kernel, or one of its loops, does over a whole inference: the features of its predicted cost."""

    kernel: str  # and the loop's name, where a kernel has several
    macs: int  # executed, recomputed ones included
    outputs: int  # elements written
    inputs: int  # elements of all windows read
    calls: int
    passes: int = 0  # times the innermost loop is entered
    products: int | None = None  # multiplied: padding included, what neighbours share once; None: as `macs`


class Operator(ABC):
    """One integer operator. Subclasses are frozen dataclasses whose fields are its attributes.

    `inputs` is always the tuple of the input tensors' types; activations are int8 arrays of shape
    height x width x channels. An operator's C kernel computes one output row:

        void <kernel>(const <kernel>_params *p, const int8_t *const *in, int8_t *out
                      [, int32_t row, void *state]   when state_bytes() > 0: state lives for the whole run;
                                                     when takes_row: always, state NULL without any
                      [, void *scratch]);            when scratch_bytes() > 0: scratch lives for one call

    `in` holds the row pointers of the first input's window, then of the second input's, and so on. Each
    points at the first margin column the operator asked for (`margins`). state and scratch are 8-byte
    aligned. Activation rows are 4-byte aligned at their first pixel only when the channels allow it.
    """

    takes_row: ClassVar[bool] = False  # the kernel is told the output row, whether it keeps a state or not

    @property
    @abstractmethod
    def kernel(self) -> str:
        """C function name and template file name (codegen_templates/ops/<kernel>.c.j2); mostly a constant."""

    @abstractmethod
    def infer_type(self, inputs: Sequence[TensorType]) -> ValueType:
        """Type of the output; raises ModelError when the inputs are not acceptable."""

    @abstractmethod
    def eval_int8(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> NDArray[Any]:
        """The result, bit for bit: the definition every kernel must equal."""

    def exact(self, inputs: Sequence[TensorType], values: Sequence[Int8Array]) -> NDArray[np.float64] | None:
        """The result without any rounding, in steps of the output; of operators whose roundings feed back."""
        return None

    @abstractmethod
    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        """Rows of each input that output row `out_row` needs (the halo rule)."""

    def rows_read(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        """Rows of the windows that an output row really reads: fewer where a state holds the others."""
        return self.input_windows(out_row, inputs)

    @abstractmethod
    def macs(self, inputs: Sequence[TensorType]) -> int:
        """Multiply-accumulates of the whole operator, dense."""

    @abstractmethod
    def c_params(self, inputs: Sequence[TensorType]) -> CParams:
        """Constants of the kernel call."""

    def check_constants(self, inputs: Sequence[TensorType]) -> None:
        """Raise ModelError where an accumulator could overflow or a factor has no fixed-point form.

        Front ends ask once for each operator, while they still know its name in the file.
        """
        self.c_params(inputs)

    def margins(self, inputs: Sequence[TensorType]) -> tuple[Margin, ...]:
        """Zero-point columns needed beside each input's rows."""
        return tuple(Margin() for _ in inputs)

    def state_bytes(self, inputs: Sequence[TensorType]) -> int:
        """Bytes that the kernel keeps from one output row to the next."""
        return 0

    def scratch_bytes(self, inputs: Sequence[TensorType]) -> int:
        """Bytes that the kernel needs during one call only."""
        return 0

    def faster(self) -> Operator | None:
        """The same operator, to the bit, in less time for more RAM; None where there is no such way."""
        return None

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        """The kernel calls of a whole inference, summed per kernel."""
        out = self.infer_type(inputs)
        height, outputs, pixels = 1, 0, 0
        if isinstance(out, TensorType):
            height, outputs, pixels = out.height, out.bytes, out.height * out.width
        windows = self.input_windows(0, inputs)
        read = sum((w.stop - w.first) * t.row_bytes for w, t in zip(windows, inputs, strict=True))
        return (Work(self.kernel, self.macs(inputs), outputs, height * read, height, pixels),)

    def variants(self) -> tuple[str, ...]:
        """Instruction-set variants of the kernel that have a template of their own: ('m4',)."""
        return ()

    def kernels(self) -> tuple[tuple[str, tuple[str, ...]], ...]:
        """Every kernel the operator calls, with its variants; one made of others names theirs too."""
        return ((self.kernel, self.variants()),)


class RowByRow(Operator):
    """An operator whose output row needs the same row of each input; it multiplies nothing by default."""

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return tuple(RowWindow(out_row, out_row + 1) for _ in inputs)

    def macs(self, inputs: Sequence[TensorType]) -> int:
        return 0


class Absorber(Operator):
    """An operator that takes its inputs row by row as they appear and gives its result after the last.

    Inputs that are read together, row by row, form a group. The kernel is three functions:

        void <kernel>_begin(const <kernel>_params *p, void *state);
        void <kernel>_absorb(const <kernel>_params *p, int32_t group, int32_t row,
                             const int8_t *const *in, void *state);     one row of each input of the group
        void <kernel>_finish(const <kernel>_params *p, void *state, <int8_t or output structure> *out);

    The result must not depend on the order in which the groups' rows arrive.
    """

    @abstractmethod
    def groups(self) -> tuple[tuple[int, ...], ...]:
        """Indices of the inputs absorbed together; all inputs of a group have the same height."""

    def input_windows(self, out_row: int, inputs: Sequence[TensorType]) -> tuple[RowWindow, ...]:
        return tuple(RowWindow(0, t.height) for t in inputs)

    def work(self, inputs: Sequence[TensorType]) -> tuple[Work, ...]:
        read = sum(t.bytes for t in inputs)
        calls = sum(inputs[group[0]].height for group in self.groups())
        return (Work(self.kernel, self.macs(inputs), 0, read, calls),)
