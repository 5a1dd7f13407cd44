"""The tensors of a TFLite model that were walked so far, and the integer graph that is made of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.builder import INPUT_NAME, Builder
from rnnpool_mcu.frontends.node_names import input_names
from rnnpool_mcu.frontends.quantized_layers import tensor_type
from rnnpool_mcu.frontends.tflite.call import HOW_TO_QUANTIZE, Call, int8_quantization
from rnnpool_mcu.frontends.tflite.forms.folding import with_tensor
from rnnpool_mcu.frontends.tflite.kinds import VIEWS
from rnnpool_mcu.frontends.tflite.reader import StoredModel, StoredOperator, StoredTensor
from rnnpool_mcu.frontends.tflite.shapes import (
    aligned_shape,
    check_batch,
    elements,
    image_shape,
    node_names,
    rank_fits,
    shifted,
    squeezed,
)
from rnnpool_mcu.ir.graph import Node
from rnnpool_mcu.ir.operator import Int8Array, Operator
from rnnpool_mcu.ir.tensor_type import Quantization
from rnnpool_mcu.ops.lookup import Reals
from rnnpool_mcu.ops.reshape import Reshape
from rnnpool_mcu.ops.stored import Stored

MAX_VIEWS = 16
"""One behind the other, of an input: a damaged file's may go round."""
_FREE = ("QUANTIZE", *(kind for kind in VIEWS if kind != "TRANSPOSE"))


@dataclass(frozen=True)
class Viewed:
    """A tensor as a value of the graph, in the shape its readers see."""

    name: str
    shape: tuple[int, ...]


@dataclass(frozen=True)
class Floating:
    """A float tensor as functions of a value of the graph, one after the other."""

    name: str
    function: Callable[[Reals], Reals]
    labels: tuple[str, ...]


def _as_held(held: Int8Array) -> Int8Array:
    return held


@dataclass(frozen=True)
class Kept:
    """The variable tensors that together hold a state between runs, and the state of their bytes."""

    tensors: tuple[int, ...]
    arranged: Callable[[Int8Array], Int8Array] = _as_held


class Tensors(Builder):
    """Values by the index of their tensor; `model` changes as shapes become known."""

    def __init__(self, model: StoredModel) -> None:
        """The model's input taken, nothing computed so far."""
        super().__init__()
        self.model = model
        self.indices: dict[str, int] = {}  # of the tensor that a value of the graph is
        self.values: dict[int, Viewed] = {}
        self.floats: dict[int, Floating] = {}  # float tensors, until they are quantized
        self.kept: dict[str, Kept] = {}  # of each state
        self._check_inputs()
        told = [model.tensors[index].name.partition(":")[0] for index in model.inputs]
        self.inputs = input_names(told, INPUT_NAME)
        self.names = node_names(model, taken=self.inputs)
        for name, index in zip(self.inputs, model.inputs, strict=True):
            self._take_input(name, model.tensors[index])

    def readers(self, index: int) -> list[StoredOperator]:
        """The operators that read a tensor."""
        return [op for op in self.model.operators if index in op.inputs]

    def is_stored(self, op: StoredOperator, position: int) -> bool:
        """Whether the file holds the input at `position`."""
        index = op.inputs[position] if position < len(op.inputs) else -1
        return index >= 0 and self.model.tensors[index].data is not None

    def add(self, index: int, op: Operator, inputs: tuple[str, ...], *, reshapes: bool = False) -> None:
        """Append a node that computes a tensor; ModelError when its shape is not the file's.

        With `reshapes` the file's may lack sides of 1.
        """
        node = Node(self.names[index], op, inputs)
        if node.name in self.types or index in self.values:
            raise ModelError(f"'{self.model.tensors[index].name}' is made twice; the file is damaged")
        made = self.append(node)
        tensor = self._settled(index, made.shape)
        told = tensor_type(image_shape(tensor, tensor.shape), made.quantization)
        if made.shape != told.shape and not (reshapes and squeezed(made.shape) == squeezed(told.shape)):
            raise ModelError(
                f"its output is {made}, the file says {list(tensor.shape)}; the file is damaged, or an "
                "input's shape was changed without the rest"
            )
        self.values[index] = Viewed(node.name, tensor.shape)
        self.indices[node.name] = index

    def read(self, op: StoredOperator, position: int) -> str:
        """Name of a computed input in the shape that its reader sees."""
        index = op.inputs[position] if position < len(op.inputs) else -1
        if index < 0:
            raise ModelError(f"input {position} is missing; the file is damaged")
        tensor = self.model.tensors[index]
        if index not in self.values:
            problem = "a constant" if tensor.data is not None else "made by no operator before it"
            raise ModelError(f"input {position} ('{tensor.name}') is {problem}, a computed tensor is needed")
        value = self.values[index]
        shape = image_shape(tensor, value.shape)
        if self.types[value.name].shape == shape:
            return value.name
        return self.copied(value.name, Reshape(shape))

    def shape(self, call: Call, position: int) -> tuple[int, ...]:
        """The whole shape of an input, computed or stored, in which its reader sees it."""
        index = self._index(call, position)
        if index in self.values:
            return self.values[index].shape
        return self.model.tensors[index].shape

    def named(self, call: Call, position: int) -> str:
        """Name of a computed input, in whatever shape the graph has it; its elements are in order."""
        index = self._index(call, position)
        call.account.use(position)
        tensor = self.model.tensors[index]
        if index not in self.values:
            problem = "a constant" if tensor.data is not None else "made by no operator before it"
            raise ModelError(f"input {position} ('{tensor.name}') is {problem}, a computed tensor is needed")
        return self.values[index].name

    def reshaped(self, name: str, image: tuple[int, int, int]) -> str:
        """Name of a value as height, width and channels of other sides."""
        return name if self.types[name].shape == image else self.copied(name, Reshape(image))

    def shaped(self, call: Call, position: int, image: tuple[int, int, int]) -> str:
        """Name of a computed input as height, width and channels that its reader wants."""
        return self.reshaped(self.named(call, position), image)

    def operands(
        self, call: Call, positions: Sequence[int], images: Sequence[tuple[int, int, int]] = ()
    ) -> tuple[str, ...]:
        """Names of inputs of which some may be stored, in their readers' shape, or in `images`."""
        computed = [at for at in positions if not self.is_stored(call.op, at)]
        if not computed:
            raise ModelError("all its inputs are stored in the file, a computed one is needed; fold it")
        beside = self.named(call, computed[0])
        found = []
        for number, at in enumerate(positions):
            call.account.use(at)
            if at not in computed:
                found.append(self.stored(call, at, beside, images[number] if images else None))
            elif images:
                found.append(self.shaped(call, at, images[number]))
            else:
                found.append(self.read(call.op, at))
        return tuple(found)

    def stored(
        self, call: Call, position: int, beside: str, image: tuple[int, int, int] | None = None
    ) -> str:
        """A map of the file as a value of the graph, whose rows are wanted with those of `beside`."""
        tensor = self.model.tensors[self._index(call, position)]
        quantization = int8_quantization(tensor)
        assert tensor.data is not None
        height, width, channels = image or aligned_shape(tensor)
        values = tensor.data.astype(np.int8).reshape(height, width, channels)
        return self._made(tensor.index, Stored(values, quantization, height), (beside,))

    def between(self, call: Call, op: Operator, inputs: tuple[str, ...]) -> str:
        """Name of a new value on the way to the call's result, which is no tensor of the file."""
        return self._made(call.op.outputs[call.result], op, inputs)

    def add_shaped(self, call: Call, op: Operator, inputs: tuple[str, ...], shape: tuple[int, ...]) -> None:
        """Append the call's result, whose elements are those of `shape` in order; ModelError for others."""
        index = call.op.outputs[call.result]
        tensor = self.model.tensors[index]
        if tensor.dynamic or (tensor.open_batch and tensor.shape[1:] == shape[1:]):
            tensor = replace(tensor, shape=shape, dynamic=False)
            self.model = with_tensor(self.model, tensor)
        if tensor.shape != shape:
            raise ModelError(
                f"its output is {list(shape)}, the file says {list(tensor.shape)}; the file is damaged, or "
                "an input's shape was changed without the rest"
            )
        node = Node(self.names[index], op, inputs)
        if node.name in self.types or index in self.values:
            raise ModelError(f"'{tensor.name}' is made twice; the file is damaged")
        made = self.append(node)
        if made.bytes != elements(shape):
            raise ModelError(f"makes {made}, the file says {list(shape)}; the file is damaged")
        self.values[index] = Viewed(node.name, shape)
        self.indices[node.name] = index

    def _made(self, index: int, op: Operator, inputs: tuple[str, ...]) -> str:
        """Name of a new node that is no tensor of the file, called after one that is."""
        count, base = 1, self.names.get(index, f"stored_{index}")
        taken = {*self.types, *self.names.values()}
        while (name := f"{base}_part_{count}") in taken:
            count += 1
        self.append(Node(name, op, inputs))
        return name

    def _index(self, call: Call, position: int) -> int:
        index = call.op.inputs[position] if position < len(call.op.inputs) else -1
        if index < 0:
            raise ModelError(f"input {position} is missing; the file is damaged")
        return index

    def assume(self, index: int) -> bool:
        """Take a tensor's type from the file, as what makes it was refused; whether it tells one."""
        tensor = self.model.tensors[index]
        try:
            kind = tensor_type(image_shape(tensor, tensor.shape), int8_quantization(tensor))
        except (ModelError, ValueError, OverflowError):
            return False
        self.types[self.names[index]] = kind
        self.values[index] = Viewed(self.names[index], tensor.shape)
        return True

    def _check_inputs(self) -> None:
        inputs = self.model.inputs
        if not inputs or len(set(inputs)) != len(inputs):
            names = ", ".join(f"'{self.model.tensors[i].name}'" for i in inputs) or "none"
            raise ModelError(f"inputs: {names}, allowed: at least one, each once; the file is damaged")

    def _take_input(self, name: str, tensor: StoredTensor) -> None:
        """An input of the model: int8, or what a quantize operator makes of it."""
        check_batch(tensor, tensor.shape)
        if tensor.dtype not in ("INT8", "UINT8", "FLOAT32"):
            raise ModelError(f"input '{tensor.name}' is {tensor.dtype}, supported: INT8; {HOW_TO_QUANTIZE}")
        readers = self.readers(tensor.index)
        if tensor.dtype != "FLOAT32" and [op.kind for op in readers] == ["CAST"]:  # its bytes as they are
            raw = Quantization(1.0, -128 if tensor.dtype == "UINT8" else 0)
            self._set_input(name, tensor, raw, tensor.index)
            return
        if tensor.dtype == "INT8":
            self._set_input(name, tensor, int8_quantization(tensor), tensor.index)
            return
        made = self._quantized(tensor)
        quantization = int8_quantization(made)
        if tensor.dtype == "UINT8":
            quantization = shifted(tensor)  # a byte b enters as b - 128
        self._set_input(name, tensor, quantization, made.index)

    def _quantized(self, tensor: StoredTensor, views: int = MAX_VIEWS) -> StoredTensor:
        """What a QUANTIZE makes of a float tensor or a view of it; ModelError where any other reads it."""
        found: StoredTensor | None = None
        for op in self.readers(tensor.index):
            if len(op.outputs) != 1 or op.kind not in ("QUANTIZE", *VIEWS) or not views:
                found = None
                break
            made = self.model.tensors[op.outputs[0]]
            found = found or (made if op.kind == "QUANTIZE" else self._quantized(made, views - 1))
        if found is None:
            raise ModelError(
                f"input '{tensor.name}' is {tensor.dtype} and not quantized first; {HOW_TO_QUANTIZE}"
            )
        return found

    def _set_input(self, name: str, tensor: StoredTensor, quantization: Quantization, index: int) -> None:
        """The type of an input; in the shape of a view, where that is all that reads it."""
        shape, last = tensor.shape, tensor.index
        for _ in range(MAX_VIEWS):
            readers = self.readers(last)
            if len(readers) != 1 or len(readers[0].outputs) != 1 or readers[0].kind not in _FREE:
                break
            last = readers[0].outputs[0]
            shape = self.model.tensors[last].shape if rank_fits(self.model.tensors[last]) else shape
        self.types[name] = tensor_type(image_shape(tensor, shape), quantization)
        self.values[tensor.index] = Viewed(name, tensor.shape)
        self.indices[name] = index

    def _settled(self, index: int, image: tuple[int, int, int]) -> StoredTensor:
        """A tensor with the sides it was found to have, where the file leaves some open."""
        tensor = self.model.tensors[index]
        if tensor.dynamic:
            shape = (1, *image[4 - len(tensor.shape) :]) if 2 <= len(tensor.shape) <= 4 else tensor.shape
            tensor = replace(tensor, shape=shape, dynamic=False)
            self.model = with_tensor(self.model, tensor)
        rows = image[3 - len(tensor.shape) :] if len(tensor.shape) in (2, 3) else tensor.shape
        if tensor.open_batch and rows[1:] == tensor.shape[1:] and elements(rows) == elements(image):
            tensor = replace(tensor, shape=rows)  # as many rows as a layer over a sequence has
            self.model = with_tensor(self.model, tensor)
        return tensor
