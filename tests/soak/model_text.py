"""The C around many models in one program: how the runner calls each, and the bytes it is given."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rnnpool_mcu.codegen.emit import input_fields
from rnnpool_mcu.ir.plan import Plan
from tests.soak.networks.network import Network


def model_text(name: str, network: Network, plan: Plan) -> str:
    """A model's sources by inclusion, its trace, and its entry `soak_NAME`.

    Included one behind another, models share nothing but the headers of kernels: every name of theirs has
    the model's prefix.
    """
    graph, upper = plan.graph, name.upper()
    fields = input_fields(graph, name)
    if len(fields) > 1:
        sources = ", ".join(f".{field} = {{soak_row, &streams[{i}]}}" for i, field in enumerate(fields))
        lines, given = [f"    const {name}_inputs in = {{{sources}}};"], "&in"
    else:
        lines, given = [], "soak_row, &streams[0]"
    state = "state, " if graph.states else ""
    call = f"(int){name}_run(arena, {state}{given}, out)"
    lines = [
        f"#define {upper}_TRACE 1",
        f'#include "{name}.c"',
        f'#include "{name}_weights.c"',
        "#undef TRACE_ROW",
        f"void {name}_trace(int32_t layer, int32_t row, const int8_t *data, int32_t bytes)",
        "{",
        "    soak_trace(layer, row, data, bytes);",
        "}",
        f"static int run_{name}(uint8_t *arena, void *state, soak_stream *streams, void *out)",
        "{",
        "    (void)state;",
        *lines,
        f"    return {call};",
        "}",
    ]
    reset = "NULL"
    if graph.states:
        reset = f"reset_{name}"
        lines += [f"static void {reset}(void *state)", "{", f"    {name}_reset(state);", "}"]
    return "\n".join([*lines, *_entry(name, network, plan, reset)])


def _entry(name: str, network: Network, plan: Plan, reset: str) -> list[str]:
    graph = plan.graph
    inputs = []
    lines = [f"extern const uint8_t {name}_starts[];"]
    for i, given in enumerate(graph.inputs):
        offset = plan.pixels_offset(given.name)
        lines.append(f"extern const uint8_t {name}_in{i}[];")
        place = -1 if offset is None else offset
        inputs.append(f"{{{name}_in{i}, {given.type.height}, {given.type.row_bytes}, {place}}}")
    output_bytes = sum(graph.types[output].bytes for output in graph.outputs)
    sizes = (f"{name.upper()}_ARENA_BYTES", output_bytes, plan.state_bytes, len(graph.nodes))
    numbers = ", ".join(str(size) for size in (*sizes, len(network.batch), len(inputs)))
    fields = f"{numbers}, {name}_given, {name}_starts, run_{name}, {reset}"
    return [
        *lines,
        f"typedef char {name}_output_size[sizeof({name}_output) == {output_bytes} ? 1 : -1];",
        f"static const soak_input {name}_given[] = {{{', '.join(inputs)}}};",
        f"static const soak_model soak_{name} = {{{fields}}};",
    ]


def write_inputs(name: str, network: Network, folder: Path) -> list[str]:
    """A model's inputs and resets as files below `folder`; the assembler's lines that take them in."""
    arrays = {f"{name}_in{i}": array for i, array in enumerate(network.batch.inputs)}
    lines = []
    for label, array in {**arrays, f"{name}_starts": network.batch.starts.astype(np.uint8)}.items():
        (folder / f"{label}.bin").write_bytes(array.tobytes())
        lines += [".balign 4", f".global {label}", f"{label}:", f'.incbin "{label}.bin"']
    return lines
