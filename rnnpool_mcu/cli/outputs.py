"""What a model without boxes gave: its output bytes as values by name, and the class if there is one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.arg_max import is_index

_SHOWN_VALUES = 16  # of an output in text


@dataclass(frozen=True, eq=False)
class _Output:
    """One output; of an ArgMax the values are indices, from 0."""

    name: str
    kind: TensorType
    values: NDArray[np.int64]  # [H, W, C]
    is_index: bool

    @property
    def zero_point(self) -> int:
        return 0 if self.is_index else self.kind.zero_point

    @property
    def line(self) -> str:
        what = "indices" if self.is_index else "int8"
        shown = f": {self.values.ravel().tolist()}" if self.values.size <= _SHOWN_VALUES else ""
        return f"{self.name}: {self.kind} {what}{shown}"


def tensor_outputs(graph: Graph, data: bytes, labels: Sequence[str] = ()) -> tuple[dict[str, Any], str]:
    """The output structure `data` of `graph` as JSON values and as text.

    Every output has its name, shape [H, W, C], values, and the scale and zero point that make them real. A
    single output has its `top1` too: of 1x1xC scores, which are `logits` as well, or as an ArgMax gives it;
    its name, the `label`, if the model came with `labels`.
    """
    outputs = _split(graph, data)
    value: dict[str, Any] = {"outputs": [_as_json(output) for output in outputs]}
    first = outputs[0]
    if len(outputs) == 1 and first.is_index and first.values.size == 1:
        top1 = int(first.values.item())
        return value | _class(top1, labels), class_text(top1, labels)
    if (
        len(outputs) == 1
        and not first.is_index
        and first.kind.shape == (1, 1, first.values.size) != (1, 1, 1)
    ):
        top1 = int(np.argmax(first.values))
        scores = {"logits": first.values.ravel().tolist()}
        return value | scores | _class(top1, labels), class_text(top1, labels)
    return value, "\n".join(output.line for output in outputs)


def class_text(index: int, labels: Sequence[str]) -> str:
    """A class by its number, and by its name where it has one."""
    return f"class {index} ({labels[index]})" if index < len(labels) else f"class {index}"


def _class(index: int, labels: Sequence[str]) -> dict[str, Any]:
    return {"top1": index} | ({"label": labels[index]} if index < len(labels) else {})


def _split(graph: Graph, data: bytes) -> list[_Output]:
    outputs, start = [], 0
    for name in graph.outputs:
        kind = graph.types[name]
        assert isinstance(kind, TensorType)  # lists of boxes make a detector
        part = np.frombuffer(data, np.int8, kind.bytes, start).reshape(kind.shape).astype(np.int64)
        start += kind.bytes
        index = is_index(graph, name)
        outputs.append(_Output(name, kind, part - kind.zero_point if index else part, index))
    return outputs


def _as_json(output: _Output) -> dict[str, Any]:
    return {
        "name": output.name,
        "shape": list(output.kind.shape),
        "scale": output.kind.scale,
        "zero_point": output.zero_point,
        "values": output.values.tolist(),
    }
