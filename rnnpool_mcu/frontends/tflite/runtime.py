"""The TFLite interpreter with its reference kernels, for comparison with the integer graph."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.tflite.front import ImportedTflite
from rnnpool_mcu.ir.evaluate import Inputs
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.tensor_type import TensorType


class TfliteRuntime:
    """A .tflite file in the interpreter; every tensor is kept, no delegate is used."""

    def __init__(self, path: Path, imported: ImportedTflite) -> None:
        """ModelError when the interpreter refuses the file."""
        self.name = f"TFLite interpreter (ai-edge-litert {version('ai-edge-litert')}), reference kernels"
        self._path, self._graph = path, imported.graph
        self._indices, self._kept = imported.indices, imported.kept
        self.reset()

    def reset(self) -> None:
        """A new interpreter, whose variables begin as the file has them."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        try:
            self._interpreter = Interpreter(
                model_content=self._path.read_bytes(),
                experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
                experimental_preserve_all_tensors=True,
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{self._path}: the TFLite interpreter refuses it: {error}") from error
        self._inputs: list[dict[str, Any]] = self._interpreter.get_input_details()  # in the file's order

    def values(self, image: Inputs) -> Mapping[str, Int8Array]:
        """Every int8 tensor of the file that is a value of the graph; states as they were before."""
        found = {name: self._state(name, tensors) for name, tensors in self._kept.items()}
        given = image if isinstance(image, Mapping) else {self._graph.input_name: image}
        for one, told in zip(self._graph.inputs, self._inputs, strict=True):
            self._interpreter.set_tensor(told["index"], _as_input(given[one.name], one.type, told))
        self._interpreter.invoke()
        for name, index in self._indices.items():
            if name not in self._graph.types or name in self._graph.input_names:
                continue
            kind = self._graph.types[name]
            tensor: NDArray[Any] = self._interpreter.get_tensor(index)
            if not isinstance(kind, TensorType):
                continue
            if tensor.dtype == np.int8:
                found[name] = tensor.reshape(kind.shape)
            elif tensor.dtype in (np.int32, np.int64):  # an index of the largest channel
                found[name] = (tensor + kind.zero_point).astype(np.int8).reshape(kind.shape)
        return found

    def _state(self, name: str, tensors: tuple[int, ...]) -> Int8Array:
        """The bytes of the variable tensors that together are a state."""
        kind = self._graph.types[name]
        assert isinstance(kind, TensorType)
        held = [np.ascontiguousarray(self._interpreter.get_tensor(index)) for index in tensors]
        return np.concatenate([array.reshape(-1).view(np.int8) for array in held]).reshape(kind.shape)


def _as_input(image: Int8Array, kind: TensorType, told: Mapping[str, Any]) -> NDArray[Any]:
    """An int8 input in the type that the file has for it."""
    shape, dtype = told["shape"], told["dtype"]
    if dtype == np.uint8:
        return (image.astype(np.int16) + 128).astype(np.uint8).reshape(shape)
    if dtype == np.float32:
        real = (image.astype(np.float32) - kind.zero_point) * np.float32(kind.scale)
        return real.astype(np.float32).reshape(shape)
    return image.reshape(shape)
