"""Recurrent layers as one operator for each layer and direction, batch first, states from zeros."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.nn.aten import GETITEM, aten, call_arguments, place_of, stored_tensor
from rnnpool_mcu.nn.recurrent import GRU_GATES, LSTM_GATES
from rnnpool_mcu.quantize.rewriting.stored import new_call, stored
from rnnpool_mcu.quantize.rewriting.written_out import Rule

own = torch.ops.rnnpool_mcu
_ZEROS = {aten.new_zeros.default, aten.zeros_like.default}
_GATES = {aten.sigmoid.default, aten.tanh.default}
_MODULES = "torch.nn.modules.rnn."
_WITH_BIASES = 4  # parameters of a layer in one direction: two matrices, two biases


def one_layer_each(module: fx.GraphModule) -> None:
    """Rewrite the operators of `RULES`; ModelError for those whose meaning has no other form."""
    for node in list(module.graph.nodes):
        rule = RULES.get(node.target)
        if rule is not None:
            rule(module, node)
            _erase(node)
        elif node.target in _GATES and (kind := _recurrent_kind(node)):
            raise ModelError(
                f"{place_of(node)}: nn.{kind} written out step by step, supported: as torch.export leaves "
                "it; export it without run_decompositions"
            )
    module.graph.eliminate_dead_code()


def _recurrent_kind(node: Any) -> str:
    """`GRU` where torch's module of that name made a node; "" for modules that are not recurrent."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    kind = stack[-1][1] if stack else ""
    path = kind if isinstance(kind, str) else f"{kind.__module__}.{kind.__qualname__}"
    return path.removeprefix(_MODULES) if path.startswith(_MODULES) else ""


def _erase(node: Any) -> None:
    """Take a call, which torch counts as random, and its results out of the graph."""
    for reader in list(node.users):
        node.graph.erase_node(reader)
    node.graph.erase_node(node)


def _gru(module: fx.GraphModule, node: Any) -> None:
    arguments = call_arguments(node)
    _check_zeros(node, arguments["hx"])
    _take(module, node, _Layers.of(module, node, arguments, GRU_GATES))


def _lstm(module: fx.GraphModule, node: Any) -> None:
    arguments = call_arguments(node)
    for state in arguments["hx"]:
        _check_zeros(node, state)
    if any(reader.users for reader in _readers(node, 2)):
        raise ModelError(
            f"{place_of(node)}: its last cell c_n is read, supported: its output and h_n; leave c_n out"
        )
    _take(module, node, _Layers.of(module, node, arguments, LSTM_GATES))


def _cell(module: fx.GraphModule, node: Any) -> None:
    """A cell from zeros is a layer over one step."""
    arguments, is_gru = call_arguments(node), node.target is aten.gru_cell.default
    for state in [arguments["hx"]] if is_gru else arguments["hx"]:
        _check_zeros(node, state)
    if not is_gru and any(reader.users for reader in _readers(node, 1)):
        raise ModelError(f"{place_of(node)}: its cell is read, supported: its state only; use nn.LSTM")
    biases = [arguments["b_ih"], arguments["b_hh"]]
    given = [arguments["w_ih"], arguments["w_hh"], *(bias for bias in biases if bias is not None)]
    x, gates = arguments["input"], GRU_GATES if is_gru else LSTM_GATES
    with module.graph.inserting_before(node):
        step = new_call(module, aten.unsqueeze.default, (x, 1), x)
        made = _layer(module, node, step, given, gates, reverse=False)
        state = new_call(module, aten.select.int, (made, 1, 0), node)
    for reader in [node] if is_gru else _readers(node, 0):
        reader.replace_all_uses_with(state)


@dataclass(frozen=True, eq=False)
class _Layers:
    """What layers give: all steps of the last one, and each state h_n holds, in its order."""

    output: fx.Node  # as the call has it, batch first or not
    finals: Sequence[tuple[fx.Node, int]]  # sequence [1, steps, units] and the step that is its last

    @classmethod
    def of(cls, module: fx.GraphModule, node: Any, arguments: Mapping[str, Any], gates: int) -> _Layers:
        """The layers of a call, written before it."""
        parameters, per = list(arguments["params"]), _WITH_BIASES if arguments["has_biases"] else 2
        directions = (False, True) if arguments["bidirectional"] else (False,)
        layers = int(arguments["num_layers"])
        if len(parameters) != per * layers * len(directions):
            raise ModelError(f"{place_of(node)}: proj_size, supported: 0; put a linear layer behind it")
        if arguments["train"] and arguments["dropout"] and layers > 1:
            raise ModelError(
                f"{place_of(node)}: dropout in training mode, random at every call; call module.eval() and "
                "export it again"
            )
        x, first = arguments["input"], bool(arguments["batch_first"])
        with module.graph.inserting_before(node):
            steps = x if first else new_call(module, aten.transpose.int, (x, 0, 1), x)
            if steps.meta["val"].shape[0] != 1:
                count = steps.meta["val"].shape[0]
                raise ModelError(
                    f"{place_of(node)}: {count} sequences at once (batch_first={first}), "
                    "supported: 1; export it for a batch of one"
                )
            finals = []
            for _ in range(layers):
                made = []
                for reverse in directions:
                    given, parameters = parameters[:per], parameters[per:]
                    made.append(_layer(module, node, steps, given, gates, reverse=reverse))
                    finals.append((made[-1], 0 if reverse else -1))
                steps = made[0] if len(made) == 1 else new_call(module, aten.cat.default, (made, 2), node)
            output = steps if first else new_call(module, aten.transpose.int, (steps, 0, 1), node)
        return cls(output, finals)


def _layer(
    module: fx.GraphModule, node: Any, steps: fx.Node, given: Sequence[Any], gates: int, *, reverse: bool
) -> fx.Node:
    """One layer in one direction; its parameters are the weights, and perhaps the biases."""
    tensors = [stored_tensor(each) for each in given]
    if any(tensor is None for tensor in tensors):
        raise ModelError(f"{place_of(node)}: its weights are computed, supported: stored; fold them")
    weights, recurrent, *biases = [tensor for tensor in tensors if tensor is not None]
    if not biases:
        biases = [weights.new_zeros(weights.shape[0])] * 2
    if recurrent.shape != (weights.shape[0], weights.shape[0] // gates):
        raise ModelError(f"{place_of(node)}: proj_size, supported: 0; put a linear layer behind it")
    if gates == LSTM_GATES:
        biases = [biases[0] + biases[1]]
    stored_biases = [stored(module, f"{node.name}_bias", bias) for bias in biases]
    target = own.gru.default if gates == GRU_GATES else own.lstm.default
    return new_call(module, target, (steps, *given[:2], *stored_biases, reverse), node)


def _take(module: fx.GraphModule, node: Any, layers: _Layers) -> None:
    """Let the readers of a call read its layers."""
    for reader in _readers(node, 0):
        reader.replace_all_uses_with(layers.output)
    for reader in _readers(node, 1):
        for user in list(reader.users):
            _final(module, node, reader, user, layers.finals)


def _final(
    module: fx.GraphModule, node: Any, states: Any, user: Any, finals: Sequence[tuple[fx.Node, int]]
) -> None:
    """Let a reader of h_n [layers x directions, 1, units] read the state it takes, or the only one."""
    picks = user.target is aten.select.int and user.args[1] % 3 == 0
    if not picks and len(finals) > 1:
        raise ModelError(
            f"{place_of(node)}: h_n of {len(finals)} layers and directions is read whole by {user}, "
            "supported: each by its number; take h_n[-1], or join h_n[-2] and h_n[-1] by torch.cat"
        )
    steps, at = finals[int(user.args[2])] if picks else finals[0]
    with module.graph.inserting_before(states):
        state = new_call(module, aten.select.int, (steps, 1, at), node)
        whole = state if picks else new_call(module, aten.unsqueeze.default, (state, 0), state)
    if picks:
        user.replace_all_uses_with(whole)
        module.graph.erase_node(user)
    else:
        user.replace_input_with(states, whole)


def _readers(node: Any, result: int) -> list[Any]:
    """The `getitem`s of one of a call's results."""
    return [user for user in node.users if user.target is GETITEM and user.args[1] == result]


def _check_zeros(node: Any, state: Any) -> None:
    """ModelError for a first state that is not 0."""
    if getattr(state, "target", None) in _ZEROS:
        return
    tensor = stored_tensor(state)
    if tensor is None or bool(tensor.any()):
        found = "computed" if tensor is None else "stored, not 0"
        raise ModelError(
            f"{place_of(node)}: its first state is {found}, supported: zeros; give the whole sequence to "
            "nn.GRU or nn.LSTM at once, without a state"
        )


def _refused(reason: str) -> Rule:
    def refuse(_: fx.GraphModule, node: Any) -> None:
        raise ModelError(f"{place_of(node)}: {reason}")

    return refuse


_PACKED = "packed sequences, supported: one whole sequence; call it with a tensor [1, steps, inputs]"
_PLAIN = "a plain recurrent layer without gates, supported: nn.GRU and nn.LSTM; train one of these"
RULES: Mapping[Any, Rule] = {
    aten.gru.input: _gru,
    aten.lstm.input: _lstm,
    aten.gru_cell.default: _cell,
    aten.lstm_cell.default: _cell,
    aten.gru.data: _refused(_PACKED),
    aten.lstm.data: _refused(_PACKED),
    aten.rnn_tanh.input: _refused(_PLAIN),
    aten.rnn_relu.input: _refused(_PLAIN),
    aten.rnn_tanh.data: _refused(_PLAIN),
    aten.rnn_relu.data: _refused(_PLAIN),
    aten.rnn_tanh_cell.default: _refused(_PLAIN),
    aten.rnn_relu_cell.default: _refused(_PLAIN),
}
"""Rule of each operator."""
