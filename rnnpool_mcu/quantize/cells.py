"""Recurrent layers of a quantized graph: their weights rounded gate by gate, their cells' range measured."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import fx

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.nn.aten import place_of, stored_tensor
from rnnpool_mcu.nn.recurrent import GRU_GATES, LSTM_GATES, lstm_states
from rnnpool_mcu.numerics.gates import cell_bits_for, quantized_gates
from rnnpool_mcu.quantize.rewriting.stored import stored

own = torch.ops.rnnpool_mcu
GATES: Mapping[Any, int] = {own.gru.default: GRU_GATES, own.lstm.default: LSTM_GATES}
_MATRICES = (1, 2)  # arguments of both operators
_QUANTIZE = torch.ops.quantized_decomposed.quantize_per_tensor.default


class Cells(fx.Interpreter):
    """Runs a float graph and notes the largest cell of each LSTM, by its node's name."""

    def __init__(self, module: fx.GraphModule) -> None:
        super().__init__(module)
        self.largest: dict[str, float] = {}

    def run_node(self, n: fx.Node) -> Any:
        """The node's value; of an LSTM the cells too."""
        if n.target is own.lstm.default:
            arguments, _ = self.fetch_args_kwargs_from_env(n)
            found, largest = lstm_states(*arguments)
            self.largest[n.name] = max(largest, self.largest.get(n.name, 0.0))
            return found
        return super().run_node(n)


def settle_recurrent(module: fx.GraphModule, largest: Mapping[str, float]) -> None:
    """Round the weights of recurrent layers to what int8 holds, and tell them its limits of their states;
    LSTMs also the bits of their cells.
    """
    for node in list(module.graph.nodes):
        gates = GATES.get(node.target)
        if gates is None:
            continue
        arguments = list(node.args)
        for at in _MATRICES:
            matrices = stored_tensor(arguments[at])
            assert matrices is not None
            blocks = matrices.double().numpy().reshape(gates, -1, matrices.shape[1])
            steps, scales = quantized_gates(blocks)
            rounded = torch.from_numpy(steps * scales[:, None, None]).reshape(matrices.shape)
            with module.graph.inserting_before(node):
                arguments[at] = stored(module, f"{node.name}_matrix_{at}", rounded.to(matrices.dtype))
        arguments += _limits(node)
        if node.name in largest:
            arguments.append(cell_bits_for(largest[node.name]))
        node.args = tuple(arguments)
    module.graph.eliminate_dead_code()
    module.recompile()


def _limits(node: fx.Node) -> list[float]:
    """The lowest and the highest state that the quantization behind a layer holds."""
    edges = [user for user in node.users if user.target is _QUANTIZE]
    if len(edges) != 1:
        raise ModelError(f"{place_of(node)}: its states are not quantized; read its output or h_n")
    scale, zero_point, least, most = (float(each) for each in edges[0].args[1:5])  # type: ignore[arg-type]
    return [(least - zero_point) * scale, (most - zero_point) * scale]
