"""The TFLite interpreter with its reference kernels, for comparison with the integer graph."""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.builder import INPUT_NAME
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.tensor_type import TensorType


class TfliteRuntime:
    """A .tflite file in the interpreter; every tensor is kept, no delegate is used."""

    def __init__(self, path: Path, graph: Graph, indices: Mapping[str, int]) -> None:
        """`indices`: tensor of each value of the graph. ModelError when the interpreter refuses the file."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.name = f"TFLite interpreter (ai-edge-litert {version('ai-edge-litert')}), reference kernels"
        try:
            self._interpreter = Interpreter(
                model_content=path.read_bytes(),
                experimental_op_resolver_type=OpResolverType.BUILTIN_REF,
                experimental_preserve_all_tensors=True,
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"{path}: the TFLite interpreter refuses it: {error}") from error
        self._graph, self._indices = graph, indices
        self._input: dict[str, Any] = self._interpreter.get_input_details()[0]

    def values(self, image: Int8Array) -> Mapping[str, Int8Array]:
        """Every int8 tensor of the file that is a value of the graph; states begin at zero."""
        self._interpreter.reset_all_variables()
        self._interpreter.set_tensor(self._input["index"], self._as_input(image))
        self._interpreter.invoke()
        found: dict[str, Int8Array] = {}
        for name, index in self._indices.items():
            if name not in self._graph.types or name == INPUT_NAME:
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

    def _as_input(self, image: Int8Array) -> NDArray[Any]:
        """The int8 image in the type that the file's input has."""
        shape, dtype = self._input["shape"], self._input["dtype"]
        if dtype == np.uint8:
            return (image.astype(np.int16) + 128).astype(np.uint8).reshape(shape)
        if dtype == np.float32:
            kind = self._graph.input_type
            real = (image.astype(np.float32) - kind.zero_point) * np.float32(kind.scale)
            return real.astype(np.float32).reshape(shape)
        return image.reshape(shape)
