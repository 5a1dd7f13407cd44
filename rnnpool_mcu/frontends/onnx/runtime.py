"""ONNX Runtime without graph optimizations, for comparison with the integer graph."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.onnx.front import ImportedOnnx
from rnnpool_mcu.ir.evaluate import Inputs
from rnnpool_mcu.ir.graph import Graph, Input
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.source import InputForm, Normalisation
from rnnpool_mcu.ir.tensor_type import TensorType


class OnnxRuntime:
    """An .onnx file in ONNX Runtime: float between each dequantization and the next quantization."""

    def __init__(self, path: Path, imported: ImportedOnnx, form: Any) -> None:
        """`form` is the model as the front end reads it. ModelError when the runtime refuses the file.

        It runs the file itself, or this form where the file has its integers nowhere.
        """
        import onnxruntime

        self.name = f"ONNX Runtime {onnxruntime.__version__}, graph optimizations off"
        self._imported = imported
        inputs = imported.graph.input_names
        self._tensors = {name: t for name, t in imported.tensors.items() if name not in inputs}
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            stored = onnx.load_model(path)
            made = {name for node in stored.graph.node for name in node.output}
            model = stored if {t.name for t in self._tensors.values()} <= made else form
            self._session = onnxruntime.InferenceSession(
                self._with_outputs(model).SerializeToString(), options, ["CPUExecutionProvider"]
            )
        except Exception as error:  # its exceptions have no common class
            raise ModelError(f"{path}: ONNX Runtime refuses it: {error}") from error
        self._shapes = {v.name: [d.dim_value for d in v.type.tensor_type.shape.dim] for v in form.graph.input}
        self._inputs: dict[str, Any] = {told.name: told for told in self._session.get_inputs()}

    def _with_outputs(self, model: Any) -> Any:
        """A copy of the model with every integer tensor as an output."""
        copy = onnx.ModelProto()
        copy.CopyFrom(model)
        have = {value.name for value in copy.graph.output}
        kinds = {0: onnx.TensorProto.INT8, 128: onnx.TensorProto.UINT8}
        for name, offset in dict.fromkeys((t.name, t.offset) for t in self._tensors.values()):
            if name not in have:
                copy.graph.output.append(onnx.helper.make_tensor_value_info(name, kinds[offset], None))
        return copy

    def reset(self) -> None:
        """Nothing is kept."""

    def values(self, image: Inputs) -> Mapping[str, Int8Array]:
        """Every integer tensor of the file that is a value of the graph."""
        wanted = list(dict.fromkeys(tensor.name for tensor in self._tensors.values()))
        graph = self._imported.graph
        given = image if isinstance(image, Mapping) else {graph.input_name: image}
        told = {one: self._inputs[self._imported.sources[one.name]] for one in graph.inputs}
        feeds = {t.name: self._as_input(one, given[one.name], t) for one, t in told.items()}
        made = self._session.run(wanted, feeds) if wanted else []  # of no names it would give all outputs
        results = dict(zip(wanted, made, strict=True))
        found: dict[str, Int8Array] = {}
        for name, tensor in self._tensors.items():
            kind = self._imported.graph.types.get(name)
            if not isinstance(kind, TensorType):
                continue
            integers = results[tensor.name].astype(np.int16) - tensor.offset
            values = integers.astype(np.int8)
            if not tensor.last:
                values = values.reshape(kind.channels, kind.height, kind.width).transpose(1, 2, 0)
            found[name] = np.ascontiguousarray(values.reshape(kind.shape))
        return found

    def _as_input(self, one: Input, image: Int8Array, told: Any) -> NDArray[Any]:
        """An int8 input in the type, shape and order that the file has for it."""
        ordered = image if one.name in self._imported.channels_last else image.transpose(2, 0, 1)
        info = one.type
        shape = self._shapes[told.name]
        if told.type == "tensor(uint8)":
            return (ordered.astype(np.int16) + 128).astype(np.uint8).reshape(shape)
        if told.type == "tensor(int8)":
            return np.ascontiguousarray(ordered).reshape(shape)
        real = (ordered.astype(np.float32) - info.zero_point) * np.float32(info.scale)
        return real.astype(np.float32).reshape(shape)


class FloatOnnxRuntime:
    """The file as the user has it; every tensor that is a value of the graph is kept."""

    def __init__(
        self,
        model: Any,
        imported: ImportedOnnx,
        forms: Sequence[InputForm],
        normalisation: Normalisation,
    ) -> None:
        """`model` is the file read by onnx; `imported` what its quantized form was taken for.

        The graph's outputs are the model's, in its order. ModelError when the runtime refuses the file.
        """
        import onnxruntime

        self.name = f"ONNX Runtime {onnxruntime.__version__}, float"
        self._forms, self._normalisation, self._graph = forms, normalisation, imported.graph
        self._last = {name for name, tensor in imported.tensors.items() if tensor.last}
        self._last |= imported.last_outputs
        self._tensors = _tensors(model, imported.graph, imported.sources)
        options = onnxruntime.SessionOptions()
        options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = 3
        try:
            self._session = onnxruntime.InferenceSession(
                _with_outputs(model, self._tensors.values()).SerializeToString(),
                options,
                ["CPUExecutionProvider"],
            )
        except Exception as error:  # its exceptions have no common class
            raise ModelError(f"ONNX Runtime refuses the float model: {error}") from error
        self._inputs = [v.name for v in self._session.get_inputs()]

    def values(self, samples: Any) -> Iterator[Mapping[str, NDArray[Any]]]:
        """Every float tensor of the file that is a value of the graph."""
        wanted = list(dict.fromkeys(self._tensors.values()))
        for sample in samples:
            arrays = sample if isinstance(sample, tuple) else (sample,)
            feeds = {
                name: form.from_graph(self._real(array))
                for name, form, array in zip(self._inputs, self._forms, arrays, strict=True)
            }
            found = dict(zip(wanted, self._session.run(wanted, feeds), strict=True))
            yield {
                name: _maps(found[tensor], kind, last=name in self._last)
                for name, tensor in self._tensors.items()
                if isinstance(kind := self._graph.types[name], TensorType)
                and found[tensor].size == kind.bytes
            }

    def _real(self, sample: NDArray[Any]) -> NDArray[np.float32]:
        """What the model takes for pixels; real values as they are."""
        real = self._normalisation.real(sample) if sample.dtype == np.uint8 else sample
        return real.astype(np.float32)


def _tensors(model: Any, graph: Graph, sources: Mapping[str, str]) -> dict[str, str]:
    """Value of the graph -> tensor of the float model that stands for it."""
    made = {name for node in model.graph.node for name in node.output if name}
    found = {name: sources[name] for name in graph.types if sources.get(name) in made}
    outputs = [value.name for value in model.graph.output]
    if len(outputs) == len(graph.outputs):
        found |= dict(zip(graph.outputs, outputs, strict=True))
    return {name: tensor for name, tensor in found.items() if name not in graph.input_names}


def _with_outputs(model: Any, names: Any) -> Any:
    """A copy of the model with every named tensor as an output."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    have = {value.name for value in copy.graph.output}
    for name in dict.fromkeys(names):
        if name not in have:
            copy.graph.output.append(onnx.ValueInfoProto(name=name))  # of a type that the runtime infers
    return copy


def _maps(values: NDArray[Any], kind: TensorType, *, last: bool) -> NDArray[np.float64]:
    """ONNX's [1, C, H, W], or its order where its channels are last, as [H, W, C]."""
    if last:
        return values.astype(np.float64).reshape(kind.shape)
    maps = values.astype(np.float64).reshape(kind.channels, kind.height, kind.width)
    return np.ascontiguousarray(maps.transpose(1, 2, 0))
