"""Shapes that ONNX's own rules give the tensors of a model, against those that were found here."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import onnx

from rnnpool_mcu.frontends.channels_first import Shape
from rnnpool_mcu.frontends.onnx.reader import OnnxModel, sides_of
from rnnpool_mcu.frontends.problems import Problem


def check_shapes(model: OnnxModel, found: Mapping[str, Shape]) -> list[Problem]:
    """Operators whose results were taken for another shape than ONNX's rules give.

    For a model that was converted as a whole: the rules' own program ends this one at some damaged files.
    """
    told = _inferred(model.proto, found)
    problems = []
    for node in model.nodes:
        for name in node.outputs:
            if name in found and not same_sides(told.get(name), found[name]):
                what = f"'{name}' would be {list(found[name])}, by ONNX's rules it is {list(told[name])}"
                problems.append(Problem(str(node), f"{what}; correct the file"))
    return problems


def same_sides(told: Shape | None, shape: Shape) -> bool:
    """Whether a shape is what was told, of which sides of -1, and perhaps all, are not known."""
    if told is None:
        return True
    return len(told) == len(shape) and all(a in (-1, b) for a, b in zip(told, shape, strict=True))


def _inferred(model: Any, found: Mapping[str, Shape]) -> dict[str, tuple[int, ...]]:
    """Shapes of computed tensors by ONNX's own rules, not by what the file says of them.

    Of a pool with ceil_mode the rules count a window that starts behind the image, which no runtime makes:
    its result is given as it was found.
    """
    bare = onnx.ModelProto()
    bare.CopyFrom(model)
    del bare.graph.value_info[:]
    for node in [node for node in bare.graph.node if _is_ceiled(node) and node.output[0] in found]:
        made = node.output[0]
        bare.graph.input.append(onnx.helper.make_tensor_value_info(made, onnx.TensorProto.FLOAT, found[made]))
        bare.graph.node.remove(node)
    for value in bare.graph.output:
        if value.type.HasField("tensor_type"):
            value.type.tensor_type.ClearField("shape")
    try:
        graph = onnx.shape_inference.infer_shapes(bare, data_prop=True).graph
    except Exception:  # a graph that it cannot take is compared with nothing
        return {}
    told = ((v.name, sides_of(v)) for v in (*graph.value_info, *graph.output))
    return {name: sides for name, sides in told if sides is not None}


def _is_ceiled(node: Any) -> bool:
    return node.op_type in ("MaxPool", "AveragePool") and any(
        a.name == "ceil_mode" and a.i for a in node.attribute
    )
