"""Plan -> the model's C sources, as text by file name."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rnnpool_mcu import __version__
from rnnpool_mcu.codegen.c_literals import c_array, c_float, c_string
from rnnpool_mcu.codegen.kernels import kernel_files
from rnnpool_mcu.codegen.layers import (
    Call,
    Layer,
    make_layer,
    needed_body,
    slot_expression,
)
from rnnpool_mcu.codegen.naming import Naming, make_naming
from rnnpool_mcu.codegen.render import render
from rnnpool_mcu.ir.graph import Graph, Input, State
from rnnpool_mcu.ir.operator import Absorber, CArray
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.ir.source import ModelInput
from rnnpool_mcu.ir.tensor_type import DetectionsType, TensorType

PLAIN_INPUT = ModelInput()


@dataclass(frozen=True)
class NamedArray:
    """A constant array of the weights file."""

    name: str
    note: str
    array: CArray

    @property
    def ctype(self) -> str:
        return self.array.ctype

    @property
    def size(self) -> int:
        return int(self.array.values.size)

    @property
    def text(self) -> str:
        return c_array(self.name, self.array)


def emit(
    plan: Plan, *, name: str, title: str, labels: Sequence[str] = (), given: ModelInput = PLAIN_INPUT
) -> dict[str, str]:
    """C sources below the project's src/ folder: file name -> text.

    `name` prefixes every symbol, `labels` are the names of the classes, `given` is what the header says of
    the way from a picture to the input's bytes.
    """
    beside, naming = _beside_and_naming(plan.graph, name)
    layers = [make_layer(plan, node, i, naming) for i, node in enumerate(plan.graph.nodes, start=1)]
    common: dict[str, Any] = {"name": name, "upper": name.upper(), "title": title, "version": __version__}
    arrays = _arrays(plan, naming)
    files = {
        f"{name}.h": render("model.h.j2", **common, **_header_context(plan, naming, labels, given)),
        f"{name}.c": render("model.c.j2", **common, **_source_context(plan, naming, layers)),
        f"{name}_weights.h": render("weights.h.j2", **common, arrays=arrays),
        f"{name}_weights.c": render(
            "weights.c.j2", **common, arrays=arrays, total_bytes=sum(a.array.bytes for a in arrays)
        ),
    }
    return files | beside


def input_fields(graph: Graph, name: str) -> tuple[str, ...]:
    """The C name of each input, in order."""
    _, naming = _beside_and_naming(graph, name)
    return tuple(naming.value(given.name) for given in graph.inputs)


def _beside_and_naming(graph: Graph, name: str) -> tuple[dict[str, str], Naming]:
    """The sources that do not depend on the plan, and names that do not meet theirs."""
    beside = kernel_files(graph)
    return beside, make_naming(graph, name, _identifiers(beside.values()))


def _identifiers(texts: Iterable[str]) -> frozenset[str]:
    """Names that C sources use, and that of the one variable of generated functions which has a `_`."""
    return frozenset(["out_row"]).union(*(re.findall(r"\b[a-z]\w*", text) for text in texts))


def _arrays(plan: Plan, naming: Naming) -> list[NamedArray]:
    graph, arrays = plan.graph, []
    for node in graph.nodes:
        for field, array in node.op.c_params(graph.input_types(node)).arrays():
            note = f"{node.name}: {field}, {' x '.join(str(n) for n in array.values.shape)}"
            arrays.append(NamedArray(f"{naming.symbol(node.name)}_{field}", note, array))
    for state in graph.states:
        if (state.initial != state.type.zero_point).any():
            note = f"{state.name}: before the first run, {state.type}"
            arrays.append(NamedArray(naming.initial(state.name), note, CArray("int8_t", state.initial)))
    for zero_point, size in sorted(_outside_rows(plan).items()):
        note = f"what lies above and below maps with zero point {zero_point}"
        arrays.append(NamedArray(naming.outside(zero_point), note, _constant_row(zero_point, size)))
    return arrays


def _constant_row(value: int, size: int) -> CArray:
    return CArray("int8_t", np.full(size, value, np.int8))


def _reads_outside(graph: Graph, value: str) -> bool:
    """Whether some consumer's windows leave the rows of a value."""
    source = graph.types[value]
    assert isinstance(source, TensorType)
    for node in graph.consumers[value]:
        out, types = graph.types[node.name], graph.input_types(node)
        if isinstance(node.op, Absorber) or not isinstance(out, TensorType):
            continue
        for row in {0, out.height - 1}:
            for name, window in zip(node.inputs, node.op.input_windows(row, types), strict=True):
                if name == value and (window.first < 0 or window.stop > source.height):
                    return True
    return False


def _outside_rows(plan: Plan) -> dict[int, int]:
    """Bytes of the longest row read outside its map, by zero point."""
    sizes: dict[int, int] = {}
    for value, buffer in plan.buffers.items():
        if _reads_outside(plan.graph, value):
            source = plan.graph.types[value]
            assert isinstance(source, TensorType)
            sizes[source.zero_point] = max(sizes.get(source.zero_point, 0), buffer.row_bytes)
    return sizes


def _header_context(plan: Plan, naming: Naming, labels: Sequence[str], given: ModelInput) -> dict[str, Any]:
    graph, headers = plan.graph, []
    outputs: list[dict[str, Any]] = []
    for value in graph.outputs:
        out = graph.types[value]
        if isinstance(out, DetectionsType):
            outputs.append({"max_detections": out.max_detections, "labelled": out.labelled})
            outputs[-1]["unused"] = out.unused_bytes
            headers.append(f"{graph.node(value).op.kernel}.h")
            continue
        note = f"{value}, {out}: real = {out.scale:.9g} * (q - {out.zero_point})"
        field = naming.output_field(value)
        outputs.append(
            {"max_detections": 0, "field": field, "bytes": out.bytes, "note": note}
            | {"macro": field.upper(), "scale": c_float(out.scale), "zero_point": out.zero_point}
        )
    return {
        "outputs": outputs,
        "api_headers": headers,
        "labels": [c_string(label) for label in labels],
        "input": graph.input_type,
        "input_scale": c_float(graph.input_type.scale),
        "input_zero_point": graph.input_type.zero_point + 128,
        "input_notes": given.notes(),
        "arena_bytes": plan.arena_bytes,
        "image_offset": plan.image_offset,
        **_given_context(plan, naming),
    }


def _given_context(plan: Plan, naming: Naming) -> dict[str, Any]:
    """Inputs, where they are several, and states."""
    graph = plan.graph
    inputs = [_input_context(plan, given, naming) for given in graph.inputs]
    return {
        "inputs": inputs if len(inputs) > 1 else [],
        "states": [_state_context(plan, state, naming) for state in graph.states],
        "state_bytes": plan.state_bytes,
    }


def _input_context(plan: Plan, given: Input, naming: Naming) -> dict[str, Any]:
    kind, field = given.type, naming.value(given.name)
    return {
        "field": field,
        "upper": f"{naming.model}_{field}".upper(),
        "type": kind,
        "scale": c_float(kind.scale),
        "zero_point": kind.zero_point + 128,
        "offset": plan.pixels_offset(given.name),
        "note": f"{kind}: byte b is q = b - 128, real = {kind.scale:.9g} * (q - {kind.zero_point})",
    }


def _state_context(plan: Plan, state: State, naming: Naming) -> dict[str, Any]:
    old, new, kind = plan.buffers[state.name], plan.buffers[state.next], state.type
    added = plan.graph.types[state.next]
    assert isinstance(added, TensorType)
    return {
        "field": naming.value(state.name),
        "note": f"{kind}: real = {kind.scale:.9g} * (q - {kind.zero_point})",
        "bytes": old.bytes,
        "words": old.bytes // 4,
        "zero_point": kind.zero_point & 0xFF,
        "rows": naming.rows(state.name),
        "memory": naming.state_bytes(state.name),
        "initial": naming.initial(state.name) if (state.initial != kind.zero_point).any() else None,
        "height": kind.height,
        "row_bytes": kind.row_bytes,
        "skip": old.margin.left * old.channels,
        "kept": kind.height - added.height,
        "kept_bytes": (kind.height - added.height) * old.row_bytes,
        "gone_bytes": added.height * old.row_bytes,
        "new_height": added.height,
        "new_rows": naming.rows(state.next),
        "new_skip": new.margin.left * new.channels,
    }


def _source_context(plan: Plan, naming: Naming, layers: list[Layer]) -> dict[str, Any]:
    graph = plan.graph
    return {
        "layers": [_wrapped(layer) for layer in layers],
        "counters": _counters(plan, naming),
        "staged": [
            {"function": naming.needed(name), "body": needed_body(graph, name, naming)}
            for name in _staged(plan)
        ],
        "buffers": [_buffer_context(plan, value, naming) for value in plan.buffers],
        "images": [_image_context(plan, given, naming) for given in graph.inputs],
        **_given_context(plan, naming),
        "kernels": sorted({node.op.kernel for node in graph.nodes}),
        "cascades": [_cascade_context(plan, values, layers, naming) for values in plan.cascades],
        "macs": sum(node.op.macs(graph.input_types(node)) for node in graph.nodes),
        "arena_bytes": plan.arena_bytes,
    }


def _wrapped(layer: Layer) -> dict[str, Any]:
    comment = [line for text in layer.comment for line in textwrap.wrap(text, 105)]
    return {"comment": comment, "params": layer.params, "calls": layer.calls}


def _staged(plan: Plan) -> list[str]:
    return [name for name, buffer in plan.buffers.items() if buffer.staged]


def _counters(plan: Plan, naming: Naming) -> list[str]:
    graph = plan.graph
    names = [naming.value(given.name) for given in graph.inputs]
    for node in graph.nodes:
        names.append(naming.value(node.name))
        if isinstance(node.op, Absorber):
            names += [naming.absorbed(node.name, g) for g in range(len(node.op.groups()))]
    return names + [naming.settled(name) for name in _staged(plan)]


def _buffer_context(plan: Plan, value: str, naming: Naming) -> dict[str, Any]:
    buffer, source = plan.buffers[value], plan.graph.types[value]
    assert isinstance(source, TensorType)
    outside = naming.outside(source.zero_point) if _reads_outside(plan.graph, value) else "NULL"
    held = value in plan.graph.state_names
    return {
        "note": f"{value}, {source}: {buffer.bytes} bytes{', kept by the caller' if held else ''}",
        "symbol": naming.rows(value),
        "offset": 0 if held else plan.placement.offsets[f"{value}.rows"],
        "row_bytes": buffer.row_bytes,
        "kept_rows": buffer.kept_rows,
        "staged_offset": plan.placement.offsets[f"{value}.staged"] if buffer.staged else None,
        "height": source.height,
        "left_bytes": buffer.margin.left * buffer.channels,
        "right_bytes": buffer.row_bytes - buffer.margin.left * buffer.channels - source.row_bytes,
        "zero_point": source.zero_point,
        "outside": outside,
    }


def _image_context(plan: Plan, given: Input, naming: Naming) -> dict[str, Any]:
    name, buffer = given.name, plan.buffers[given.name]
    return {
        "function": naming.pull(name),
        "symbol": naming.rows(name),
        "slot": slot_expression(plan, name, f"made->{naming.value(name)}", naming),
        "counter": naming.value(name),
        "left_bytes": buffer.margin.left * buffer.channels,
        "pixel_bytes": given.type.row_bytes,
    }


def _cascade_context(
    plan: Plan, values: tuple[str, ...], layers: list[Layer], naming: Naming
) -> dict[str, Any]:
    calls = [call for layer in reversed(layers) for call in layer.calls if _runs_in(call, layer, set(values))]
    steps = [{"condition": call.condition, "action": call.action} for call in calls]
    inputs = [given for given in plan.graph.inputs if given.name in values]
    awaited = [_pull_awaited(given, calls, naming) for given in reversed(inputs) if len(inputs) > 1]
    steps += [step for step in awaited if step is not None]
    steps += [
        {
            "condition": f"made.{naming.value(given.name)} < {given.type.height}",
            "action": _pull_action(given, naming),
        }
        for given in reversed(inputs)
    ]
    what = "the image" if len(naming.inputs) == 1 else "an input that a layer waits for"
    comment = f"The deepest layer whose input rows are there goes first; {what} only when none can."
    return {"comment": comment, "steps": steps}


def _pull_action(given: Input, naming: Naming) -> str:
    source = "rows, user"
    if len(naming.inputs) > 1:
        field = f"in->{naming.value(given.name)}"
        source = f"{field}.rows, {field}.user"
    failed = f"{naming.model.upper()}_NO_ROW"
    return f"if (!{naming.pull(given.name)}(arena, &made, {source})) {{ return {failed}; }}"


def _pull_awaited(given: Input, calls: list[Call], naming: Naming) -> dict[str, str] | None:
    """The step that takes a row of an input which some call of the cascade waits for."""
    waits = dict.fromkeys(wait for call in calls for name, wait in call.waits if name == given.name)
    if not waits:
        return None
    any_of = " || ".join(f"({wait})" for wait in waits)
    condition = f"made.{naming.value(given.name)} < {given.type.height} && ({any_of})"
    return {"condition": condition, "action": _pull_action(given, naming)}


def _runs_in(call: Call, layer: Layer, values: set[str]) -> bool:
    """Whether a call belongs to the cascade of these values."""
    return not values.isdisjoint(call.absorbs) if call.absorbs else layer.node in values
