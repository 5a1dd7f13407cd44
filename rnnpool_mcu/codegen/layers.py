"""What the model template prints for each layer: comment, parameters, and the body of its functions."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rnnpool_mcu.codegen.c_literals import c_params
from rnnpool_mcu.codegen.naming import Naming
from rnnpool_mcu.codegen.windows import WindowExpression, first_rows_read, window_expressions
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.operator import Absorber
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.ir.tensor_type import TensorType


@dataclass(frozen=True)
class Call:
    """One generated function and the condition under which it may run."""

    function: str
    body: tuple[str, ...]
    condition: str
    more: tuple[tuple[str, str], ...]  # parameters but arena and progress: type and name
    absorbs: tuple[str, ...] = ()  # values it takes rows of; it runs in the cascade that makes them
    waits: tuple[tuple[str, str], ...] = ()  # value, and the condition under which it waits for a row of it

    @property
    def parameters(self) -> str:
        """Behind arena and progress, in the function's definition."""
        return "".join(f", {kind} *{name}" for kind, name in self.more)

    @property
    def action(self) -> str:
        return f"{self.function}(arena, &made{''.join(f', {name}' for _, name in self.more)});"


@dataclass(frozen=True)
class Layer:
    """One node of the graph as C."""

    node: str
    comment: tuple[str, ...]
    params: str
    calls: tuple[Call, ...]


def make_layer(plan: Plan, node: Node, index: int, naming: Naming) -> Layer:
    """The C of one node; `index` counts layers from 1 (0 is the image)."""
    types = plan.graph.input_types(node)
    params = c_params(f"{node.op.kernel}_params", naming.symbol(node.name), node.op.c_params(types))
    if isinstance(node.op, Absorber):
        calls = _absorber_calls(plan, node, node.op, index, naming)
    else:
        out = plan.graph.types[node.name]
        assert isinstance(out, TensorType), f"{node.name}: a row operator makes a tensor"
        windows = window_expressions(plan.graph, node, out.height, naming.symbol(node.name))
        params += "".join(window.declaration for window in windows)
        calls = (_row_call(plan, node, index, naming, windows),)
    return Layer(node.name, _comment(plan, node, index), params, calls)


def _comment(plan: Plan, node: Node, index: int) -> tuple[str, ...]:
    graph, types = plan.graph, plan.graph.input_types(node)
    out = graph.types[node.name]
    sources = ", ".join(f"{name} {t}" for name, t in zip(node.inputs, types, strict=True))
    lines = [f"{index}. {node.name}: {type(node.op).__name__}, {sources} -> {out}"]
    if isinstance(out, TensorType):
        kept = plan.buffers[node.name].rows
        lines.append(
            f"scale {out.scale:.6g}, zero point {out.zero_point}; {node.op.macs(types)} MACs; "
            f"{'row' if kept == 1 else 'rows'} kept: {kept} of {out.height}"
        )
    else:
        lines.append(f"{node.op.macs(types)} MACs")
    return tuple(lines)


def _row_call(
    plan: Plan, node: Node, index: int, naming: Naming, windows: tuple[WindowExpression, ...]
) -> Call:
    graph = plan.graph
    out = graph.types[node.name]
    assert isinstance(out, TensorType)
    body = [
        f"const int32_t row = made->{naming.value(node.name)};",
        f"const int8_t *in[{sum(w.count for w in windows)}];",
        *_output_slot(plan, node.name, naming),
        "",
        *_window_lines(plan, node, windows, naming),
        f"{node.op.kernel}({', '.join(_arguments(plan, node, naming))});",
        *_row_done(plan, node.name, index, naming),
        *_settle_lines(plan, node.inputs, naming),
    ]
    made = f"made.{naming.value(node.name)}"
    ready, waits = [f"{made} < {out.height}"], []
    for name, window in zip(node.inputs, windows, strict=True):
        source = graph.types[name]
        assert isinstance(source, TensorType)
        if name in graph.state_names:
            continue
        stop = _stop_at(window, made, source.height, out.height)
        ready.append(f"made.{naming.value(name)} >= {stop}")
        waits.append((name, f"{ready[0]} && made.{naming.value(name)} < {stop}"))
    return Call(
        f"{naming.symbol(node.name)}_row",
        tuple(body),
        " && ".join(dict.fromkeys(ready)),
        _more_parameters(plan, node.inputs, node.name, naming),
        waits=tuple(waits),
    )


def _stop_at(window: WindowExpression, row: str, in_height: int, out_height: int) -> str:
    """Rows of an input of `in_height` rows that output row `row` waits for."""
    stop = window.stop(row)
    if window.table:
        return f"at_most({stop}, {in_height})" if window.table[-1] + window.count > in_height else stop
    last = window.stride * (out_height - 1) + window.offset + window.count
    return f"at_most({stop}, {in_height})" if window.limit is None and last > in_height else stop


def _window_lines(plan: Plan, node: Node, windows: tuple[WindowExpression, ...], naming: Naming) -> list[str]:
    lines, at = [], 0
    margins = node.op.margins(plan.graph.input_types(node))
    for name, window, margin in zip(node.inputs, windows, margins, strict=True):
        buffer = plan.buffers[name]
        skip = (buffer.margin.left - margin.left) * buffer.channels
        rows = "in" if at == 0 else f"&in[{at}]"
        lines.append(_window_line(plan, name, window.first("row"), window.count, skip, rows, naming))
        at += window.count
    return lines


def _window_line(plan: Plan, value: str, first: str, count: int, skip: int, rows: str, naming: Naming) -> str:
    """The call that sets pointers to `count` rows of a value."""
    if not plan.buffers[value].staged:
        memory = naming.state_bytes(value) if value in plan.graph.state_names else "arena"
        return f"row_buffer_window(&{naming.rows(value)}, {memory}, {first}, {count}, {skip}, {rows});"
    where = f"&{naming.rows(value)}, arena, made->{naming.settled(value)}"
    return f"row_buffer_window_staged({where}, {first}, {count}, {skip}, {rows});"


def slot_expression(plan: Plan, value: str, row: str, naming: Naming) -> str:
    """C expression of where a new row is written."""
    if not plan.buffers[value].staged:
        return f"row_buffer_slot(&{naming.rows(value)}, arena, {row})"
    needed, settled = f"{naming.needed(value)}(made)", f"&made->{naming.settled(value)}"
    return f"row_buffer_place(&{naming.rows(value)}, arena, {row}, {needed}, {settled})"


def _settle_lines(plan: Plan, inputs: Iterable[str], naming: Naming) -> list[str]:
    """After a step that read rows of these values."""
    return [
        f"row_buffer_settle(&{naming.rows(name)}, arena, made->{naming.value(name)}, "
        f"{naming.needed(name)}(made), &made->{naming.settled(name)});"
        for name in dict.fromkeys(inputs)
        if plan.buffers[name].staged
    ]


def needed_body(graph: Graph, value: str, naming: Naming) -> tuple[str, ...]:
    """Body of the function that gives the first row of a value which has yet to be read."""
    lines = [f"int32_t row = made->{naming.value(value)};"]
    for node in graph.consumers[value]:
        if isinstance(node.op, Absorber):
            groups = (g for g, m in enumerate(node.op.groups()) if value in (node.inputs[i] for i in m))
            lines += [f"row = at_most(row, made->{naming.absorbed(node.name, g)});" for g in groups]
            continue
        made, height = f"made->{naming.value(node.name)}", height_of(graph, node.name)
        first = first_rows_read(graph, node, value, height, made, naming.symbol(node.name))
        lines += [f"if ({made} < {height}) {{", f"    row = at_most(row, {first});", "}"]
    return (*lines, "return row;")


def height_of(graph: Graph, value: str) -> int:
    """Rows of a value; a list of detections counts as one row."""
    found = graph.types[value]
    return found.height if isinstance(found, TensorType) else 1


def _output_slot(plan: Plan, value: str, naming: Naming) -> list[str]:
    """Declarations of `slot` (where the margins are) and `out` (where the row goes)."""
    buffer = plan.buffers[value]
    slot = slot_expression(plan, value, "row", naming)
    if not _has_margin(plan, value):
        return [f"int8_t *out_row = {slot};"]
    left = buffer.margin.left * buffer.channels
    return [f"int8_t *slot = {slot};", f"int8_t *out_row = slot + {left};"]


def _has_margin(plan: Plan, value: str) -> bool:
    margin = plan.buffers[value].margin
    return margin.left + margin.right > 0


def _arguments(plan: Plan, node: Node, naming: Naming) -> list[str]:
    arguments = [f"&{naming.symbol(node.name)}", "in", "out_row"]
    if f"{node.name}.state" in plan.blocks:
        arguments += ["row", _address(plan, f"{node.name}.state")]
    elif node.op.takes_row:
        arguments += ["row", "NULL"]
    if f"{node.name}.scratch" in plan.blocks:
        arguments.append(_address(plan, f"{node.name}.scratch"))
    return arguments


def _address(plan: Plan, block: str) -> str:
    return f"arena + {plan.placement.offsets[block]}"


def _row_done(plan: Plan, value: str, index: int, naming: Naming) -> list[str]:
    out = plan.graph.types[value]
    assert isinstance(out, TensorType)
    lines = [f"row_buffer_pad(&{naming.rows(value)}, slot);"] if _has_margin(plan, value) else []
    if value in naming.outputs:
        field, size = naming.output_field(value), out.row_bytes
        lines.append(f"memcpy(out->{field} + row * {size}, out_row, {size});")
    lines.append(f"TRACE_ROW({index}, row, out_row, {out.row_bytes});")
    lines.append(f"made->{naming.value(value)} = row + 1;")
    return lines


def _more_parameters(
    plan: Plan, inputs: Iterable[str], value: str, naming: Naming
) -> tuple[tuple[str, str], ...]:
    """The states where one of the inputs is among them, the outputs where the value is."""
    state = [(f"{naming.model}_state", "state")] if plan.graph.state_names.intersection(inputs) else []
    return (*state, *([(f"{naming.model}_output", "out")] if value in naming.outputs else []))


def _absorber_calls(plan: Plan, node: Node, op: Absorber, index: int, naming: Naming) -> tuple[Call, ...]:
    """Deepest first, as the cascade's rule has it: finish, then the last group down to the first."""
    groups = [_absorb_call(plan, node, op, g, naming) for g in reversed(range(len(op.groups())))]
    return (_finish_call(plan, node, op, index, naming), *groups)


def _absorb_call(plan: Plan, node: Node, op: Absorber, group: int, naming: Naming) -> Call:
    graph, members = plan.graph, op.groups()[group]
    counter = naming.absorbed(node.name, group)
    symbol, state = naming.symbol(node.name), _address(plan, f"{node.name}.state")
    nothing_yet = " && ".join(f"made->{naming.absorbed(node.name, g)} == 0" for g in range(len(op.groups())))
    body = [f"const int32_t row = made->{counter};", f"const int8_t *in[{len(members)}];", ""]
    body += [f"if ({nothing_yet}) {{", f"    {op.kernel}_begin(&{symbol}, {state});", "}"]
    for at, i in enumerate(members):
        buffer = plan.buffers[node.inputs[i]]
        skip = buffer.margin.left * buffer.channels
        body.append(_window_line(plan, node.inputs[i], "row", 1, skip, f"&in[{at}]", naming))
    body += [f"{op.kernel}_absorb(&{symbol}, {group}, row, in, {state});", f"made->{counter} = row + 1;"]
    body += _settle_lines(plan, (node.inputs[i] for i in members), naming)
    source = graph.types[node.inputs[members[0]]]
    assert isinstance(source, TensorType)
    names = [node.inputs[i] for i in members]
    absorbs = tuple(name for name in names if name not in graph.state_names)
    ready = [f"made.{counter} < {source.height}"]
    ready += [f"made.{naming.value(name)} > made.{counter}" for name in absorbs]
    waits = tuple((name, f"made.{naming.value(name)} == made.{counter}") for name in absorbs)
    more = _more_parameters(plan, names, "", naming)
    condition = " && ".join(dict.fromkeys(ready))
    return Call(f"{symbol}_absorb_{group}", tuple(body), condition, more, absorbs, waits)


def _finish_call(plan: Plan, node: Node, op: Absorber, index: int, naming: Naming) -> Call:
    graph, symbol = plan.graph, naming.symbol(node.name)
    state, out = _address(plan, f"{node.name}.state"), graph.types[node.name]
    if isinstance(out, TensorType):
        body = [f"const int32_t row = made->{naming.value(node.name)};"]
        body += [*_output_slot(plan, node.name, naming), ""]
        body.append(f"{op.kernel}_finish(&{symbol}, {state}, out_row);")
        body += _row_done(plan, node.name, index, naming)
    else:
        labels = ", out->label" if out.labelled else ""
        body = [
            f"{op.kernel}_finish(&{symbol}, {state}, &out->count, out->box{labels});",
            f"TRACE_ROW({index}, 0, (const int8_t *)&out->count, {out.bytes});",
            f"made->{naming.value(node.name)} = 1;",
        ]
    ready = [f"made.{naming.value(node.name)} == 0"]
    for g, members in enumerate(op.groups()):
        source = graph.types[node.inputs[members[0]]]
        assert isinstance(source, TensorType)
        ready.append(f"made.{naming.absorbed(node.name, g)} == {source.height}")
    more = _more_parameters(plan, (), node.name, naming)
    return Call(f"{symbol}_finish", tuple(body), " && ".join(ready), more)
