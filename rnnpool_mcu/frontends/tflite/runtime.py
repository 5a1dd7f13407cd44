"""The TFLite interpreter with its reference kernels, for comparison with the integer graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.tflite.forms.details import acceptable
from rnnpool_mcu.frontends.tflite.front import ImportedTflite
from rnnpool_mcu.frontends.tflite.reader import StoredModel, StoredTensor, read_tflite
from rnnpool_mcu.frontends.tflite.shapes import where
from rnnpool_mcu.frontends.tflite.tensors import Kept
from rnnpool_mcu.ir.evaluate import Inputs
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.source import InputForm, Normalisation
from rnnpool_mcu.ir.tensor_type import TensorType

REFERENCE, OPTIMIZED = "BUILTIN_REF", "BUILTIN_WITHOUT_DEFAULT_DELEGATES"
WRONG_IN_REFERENCE = frozenset({"SUM"})
"""Operators whose reference kernel is wrong: that of SUM leaves every output at its zero point."""


def check_runnable(model: StoredModel) -> None:
    """ModelError for a file that the interpreter runs into memory that is not its own."""
    for op in model.operators:
        if op.kind == "SVDF" and any(at >= 0 and _is_narrow_state(model.tensors[at]) for at in op.inputs):
            raise ModelError(
                f"{where(op, model)}: an int8 state, which the TFLite interpreter reads as int16; TFLite "
                "Micro alone runs it, and the C is compared with numpy"
            )


def _is_narrow_state(tensor: StoredTensor) -> bool:
    return tensor.variable and tensor.dtype == "INT8"


class TfliteRuntime:
    """A .tflite file in the interpreter; every tensor is kept, no delegate is used."""

    def __init__(self, path: Path, imported: ImportedTflite) -> None:
        """ModelError when the interpreter refuses the file."""
        model = read_tflite(path)
        check_runnable(model)
        reference = WRONG_IN_REFERENCE.isdisjoint(op.kind for op in model.operators)
        self._take_kernels(REFERENCE if reference else OPTIMIZED)
        self._path, self._graph = path, imported.graph
        self._indices, self._kept = imported.indices, imported.kept
        self.reset()

    def _take_kernels(self, resolver: str) -> None:
        kernels = "reference" if resolver == REFERENCE else "optimized"
        self.name = f"TFLite interpreter (ai-edge-litert {version('ai-edge-litert')}), {kernels} kernels"
        self._resolver = resolver

    def reset(self) -> None:
        """A new interpreter, whose variables begin as the file has them."""
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        try:
            self._interpreter = Interpreter(
                model_content=acceptable(self._path.read_bytes()),
                experimental_op_resolver_type=OpResolverType[self._resolver],
                experimental_preserve_all_tensors=True,
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            if self._resolver == REFERENCE and "Didn't find op" in str(error):
                self._take_kernels(OPTIMIZED)  # which know newer versions of some operators
                self.reset()
                return
            raise ModelError(f"{self._path}: the TFLite interpreter refuses it: {error}") from error
        self._inputs: list[dict[str, Any]] = self._interpreter.get_input_details()  # in the file's order

    def values(self, image: Inputs) -> Mapping[str, Int8Array]:
        """Every int8 tensor of the file that is a value of the graph; states as they were before."""
        found = {name: self._state(name, kept) for name, kept in self._kept.items()}
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
            elif tensor.dtype == np.uint8:
                found[name] = (tensor.astype(np.int16) - 128).astype(np.int8).reshape(kind.shape)
            elif tensor.dtype == np.float32:
                steps = np.rint(tensor / np.float64(kind.scale)) + kind.zero_point
                found[name] = np.clip(steps, -128, 127).astype(np.int8).reshape(kind.shape)
            elif tensor.dtype in (np.int32, np.int64):  # an index of the largest channel
                found[name] = (tensor + kind.zero_point).astype(np.int8).reshape(kind.shape)
        return found

    def _state(self, name: str, kept: Kept) -> Int8Array:
        """The bytes of the variable tensors that together are a state."""
        kind = self._graph.types[name]
        assert isinstance(kind, TensorType)
        held = [np.ascontiguousarray(self._interpreter.get_tensor(index)) for index in kept.tensors]
        bytes_ = np.concatenate([array.reshape(-1).view(np.int8) for array in held])
        return kept.arranged(bytes_).reshape(kind.shape)


def _as_input(image: Int8Array, kind: TensorType, told: Mapping[str, Any]) -> NDArray[Any]:
    """An int8 input in the type that the file has for it."""
    shape, dtype = told["shape"], told["dtype"]
    if dtype == np.uint8:
        return (image.astype(np.int16) + 128).astype(np.uint8).reshape(shape)
    if dtype == np.float32:
        real = (image.astype(np.float32) - kind.zero_point) * np.float32(kind.scale)
        return real.astype(np.float32).reshape(shape)
    return image.reshape(shape)


class FloatTfliteRuntime:
    """A float file whose tensors are called as those of the int8 file that was made of it."""

    def __init__(
        self,
        data: bytes,
        graph: Graph,
        sources: Mapping[str, str],
        form: InputForm,
        normalisation: Normalisation,
        made_by: str = "",
    ) -> None:
        """`sources`: name of each value's tensor; the graph's outputs are the file's, in its order.

        ModelError when the interpreter refuses the file.
        """
        from ai_edge_litert.interpreter import Interpreter, OpResolverType

        self.name = f"{made_by or 'TFLite interpreter'}, float (ai-edge-litert {version('ai-edge-litert')})"
        try:
            self._interpreter = Interpreter(
                model_content=data,
                experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
                experimental_preserve_all_tensors=True,
            )
            self._interpreter.allocate_tensors()
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"the TFLite interpreter refuses the float model: {error}") from error
        self._form, self._normalisation, self._graph = form, normalisation, graph
        details = {tensor["name"]: tensor["index"] for tensor in self._interpreter.get_tensor_details()}
        self._indices = {
            name: details[source]
            for name, source in sources.items()
            if source in details and name in graph.types and name != graph.input_name
        }
        outputs = [tensor["index"] for tensor in self._interpreter.get_output_details()]
        if len(outputs) == len(graph.outputs):
            self._indices |= dict(zip(graph.outputs, outputs, strict=True))
        self._input = self._interpreter.get_input_details()[0]

    def values(self, samples: NDArray[Any]) -> Iterator[Mapping[str, NDArray[Any]]]:
        """Every float tensor of the file that is a value of the graph."""
        for sample in samples:
            real = self._normalisation.real(sample) if sample.dtype == np.uint8 else sample
            given = self._form.from_graph(real.astype(np.float32)).reshape(self._input["shape"])
            self._interpreter.reset_all_variables()  # Keras begins each call anew
            self._interpreter.set_tensor(self._input["index"], given)
            self._interpreter.invoke()
            yield dict(self._found())

    def _found(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        for name, index in self._indices.items():
            kind, tensor = self._graph.types[name], self._interpreter.get_tensor(index)
            if isinstance(kind, TensorType) and tensor.size == kind.bytes:
                yield name, tensor.astype(np.float64).reshape(kind.shape)
