"""torch as the runtime that validation compares with: the quantize/dequantize graph, and the float model."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, fx
from torch.utils import _pytree

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.evaluate import Inputs
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.operator import Int8Array
from rnnpool_mcu.ir.source import InputForm
from rnnpool_mcu.ir.tensor_type import FrameworkShape, TensorType
from rnnpool_mcu.quantize.torch_values import pixels_of, quantized_pixels, record_values


class TorchRuntime:
    """Float arithmetic between torch's own quantize nodes."""

    rounds_states = False  # a recurrent layer is one operator: its states are float from step to step

    def __init__(
        self,
        module: fx.GraphModule,
        graph: Graph,
        sources: Mapping[str, str],
        form: InputForm | Sequence[InputForm],
        last: frozenset[str] = frozenset(),
    ) -> None:
        """`sources` gives the torch node behind each value of the graph, `form` is the input's, or of
        several inputs each's.

        `last` are values whose torch tensor has its elements in the graph's order.
        """
        self.name = f"torch {torch.__version__}, quantize/dequantize graph"
        self._forms = (form,) if isinstance(form, InputForm) else tuple(form)
        self._module, self._last, self._inputs = module, last, graph.inputs
        self._types = {
            name: kind
            for name, kind in graph.types.items()
            if isinstance(kind, TensorType) and name in sources and name not in graph.input_names
        }
        self._sources = sources
        edges = _quantizations(module)
        self._recorded = {name: edges.get(sources[name], (sources[name], 0))[0] for name in self._types}
        self._offsets = {name: edges.get(sources[name], ("", 0))[1] for name in self._types}

    def reset(self) -> None:
        """Nothing is kept."""

    def values(self, image: Inputs) -> Mapping[str, Int8Array]:
        """Every value of the graph that a torch node computes, as torch's quantize node rounds it."""
        given = image if isinstance(image, Mapping) else {self._inputs[0].name: image}
        pairs = zip(self._inputs, self._forms, strict=True)
        batch = [_real(one.type, given[one.name], form.shape) for one, form in pairs]
        found, _ = record_values(self._module, tuple(batch), set(self._recorded.values()))
        values = {}
        for name, kind in self._types.items():
            node, made = self._sources[name], found[self._recorded[name]]
            if self._recorded[name] == node:
                values[name] = quantized_pixels(made, kind, name in self._last)
            else:
                values[name] = (pixels_of(made, kind, name in self._last) - self._offsets[name]).astype(
                    np.int8
                )
        return values


def _real(kind: TensorType, image: Int8Array, shape: tuple[int, ...]) -> Tensor:
    """What an int8 input stands for, as torch takes it."""
    steps = image.astype(np.float32) - np.float32(kind.zero_point)
    pixels = np.ascontiguousarray((steps * np.float32(kind.scale)).transpose(2, 0, 1))
    return torch.from_numpy(pixels.reshape(shape))


def _quantizations(module: fx.GraphModule) -> dict[str, tuple[str, int]]:
    """Of every node that is quantized, the first quantize node and what its integers exceed int8 by."""
    found: dict[str, tuple[str, int]] = {}
    for node in module.graph.nodes:
        if node.target is torch.ops.quantized_decomposed.quantize_per_tensor.default:
            offset = 128 if node.args[5] == torch.uint8 else 0
            found.setdefault(str(node.args[0].name), (node.name, offset))
    return found


SAME = 0.01
"""Of an output's largest value: what the graph that is quantized may differ from the model by, in float."""


class TorchFloatRuntime:
    """The model itself, and the graph that was quantized, whose nodes have the integer graph's names."""

    def __init__(
        self,
        model: Callable[..., Any],
        module: fx.GraphModule,
        graph: Graph,
        sources: Mapping[str, str],
        form: InputForm | Sequence[InputForm],
        last: frozenset[str] = frozenset(),
        normalisation: tuple[Tensor, Tensor] | None = None,
        outputs: Sequence[FrameworkShape] = (),
    ) -> None:
        """`sources` gives the node of `module` behind each value of the graph; of the values in `last` its
        tensor has its elements in the graph's order. With `normalisation`, a factor and a term for each
        channel, `module` takes pixels / 255, and the model these normalised. `outputs` are the graph's as
        torch has them.
        """
        self.name = f"torch {torch.__version__}, float"
        self._forms = (form,) if isinstance(form, InputForm) else tuple(form)
        self._model, self._module, self._last, self._graph = model, module, last, graph
        self._normalisation, self._outputs = normalisation, tuple(outputs)
        self._types = {
            name: kind
            for name, kind in graph.types.items()
            if isinstance(kind, TensorType) and name in sources and name not in graph.input_names
        }
        self._sources = {name: sources[name] for name in self._types}

    def values(self, samples: Any) -> Iterator[Mapping[str, NDArray[Any]]]:
        """Every value of the graph that a torch node computes.

        Raises ModelError where the graph that was quantized does not compute what the model does.
        """
        for sample in samples:
            arrays = sample if isinstance(sample, tuple) else (sample,)
            pairs = zip(arrays, self._forms, strict=True)
            given = tuple(torch.from_numpy(form.from_graph(_as_float(array))) for array, form in pairs)
            found, outputs = record_values(self._module, given, set(self._sources.values()))
            made = [value for value in _pytree.tree_leaves(outputs) if isinstance(value, Tensor)]
            self._check(given, made)
            values = {
                name: pixels_of(found[source], self._types[name], name in self._last)
                for name, source in self._sources.items()
                if source in found
            }
            yield values | self._true_outputs(made)

    def _true_outputs(self, made: list[Tensor]) -> dict[str, NDArray[Any]]:
        """The outputs as the user has them; some are copies in an order that no torch node stands for."""
        graph = self._graph
        if not len(made) == len(graph.outputs) == len(self._outputs):  # one value is several outputs
            return {}
        return {
            name: pixels_of(value.detach().double().numpy(), kind, form.last)
            for name, value, form in zip(graph.outputs, made, self._outputs, strict=True)
            if isinstance(kind := graph.types[name], TensorType) and value.numel() == kind.bytes
        }

    def _check(self, given: tuple[Tensor, ...], made: list[Tensor]) -> None:
        """That quantization began from the model."""
        if self._normalisation is not None:
            (pixels,) = given
            factor, term = (each.reshape(1, -1, 1, 1).to(pixels.dtype) for each in self._normalisation)
            given = (pixels * factor + term,)
        with torch.no_grad():
            wanted = [v for v in _pytree.tree_leaves(self._model(*given)) if isinstance(v, Tensor)]
        for index, (theirs, ours) in enumerate(zip(wanted, made, strict=False)):
            largest = float(theirs.double().abs().max())
            if theirs.shape != ours.shape:
                problem = f"{list(ours.shape)} for {list(theirs.shape)}"
            elif (worst := float((theirs.double() - ours.double()).abs().max())) > SAME * largest:
                problem = f"up to {worst:.4g} from the model's, whose largest value is {largest:.4g}"
            else:
                continue
            raise ModelError(
                f"output {index} of the graph that is quantized is {problem}: it would be another model; "
                "please report it with the model"
            )


def _as_float(sample: NDArray[Any]) -> NDArray[np.float32]:
    """Camera bytes / 255; real values as they are."""
    if sample.dtype == np.uint8:
        return sample.astype(np.float32) / np.float32(255)
    return sample.astype(np.float32)
