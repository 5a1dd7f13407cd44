"""torch's recurrent layers as operators that know no more than one layer in one direction.

`nn.GRU` and `nn.LSTM` are one call each for all layers, directions and states; what is quantized is one
matrix product with its gates. Their equations and their order of gates are torch's. States that gates read
stay within limits, which are those of int8 once a layer is quantized; a state never leaves -1..1.
"""

from __future__ import annotations

import torch
from torch import Tensor

GRU_GATES, LSTM_GATES = 3, 4
"""Reset, update, new; input, forget, cell, output: blocks of rows of the weights."""


@torch.library.custom_op("rnnpool_mcu::gru", mutates_args=())
def gru(
    x: Tensor,
    weights: Tensor,
    recurrent: Tensor,
    bias: Tensor,
    recurrent_bias: Tensor,
    reverse: bool,
    low: float = -1.0,
    high: float = 1.0,
) -> Tensor:
    """States [N, steps, units] of x [N, steps, inputs], from zeros; with `reverse` from the last step on.

    weights [3 * units, inputs], recurrent [3 * units, units], biases [3 * units].
    """
    units, found = recurrent.shape[1], []
    h = x.new_zeros(x.shape[0], units)
    for of_input in torch.nn.functional.linear(_in_order(x, reverse), weights, bias).unbind(1):
        of_state = torch.nn.functional.linear(h.clamp(low, high), recurrent, recurrent_bias)
        reset, update = torch.sigmoid((of_input + of_state)[:, : 2 * units]).chunk(2, 1)
        new = torch.tanh(of_input[:, 2 * units :] + reset * of_state[:, 2 * units :])
        h = (1 - update) * new + update * h
        found.append(h)
    return _in_order(torch.stack(found, 1), reverse).contiguous()


@torch.library.custom_op("rnnpool_mcu::lstm", mutates_args=())
def lstm(
    x: Tensor,
    weights: Tensor,
    recurrent: Tensor,
    bias: Tensor,
    reverse: bool,
    low: float = -1.0,
    high: float = 1.0,
    cell_bits: int = 0,
) -> Tensor:
    """States [N, steps, units] of x [N, steps, inputs], from zeros; with `reverse` from the last step on.

    weights [4 * units, inputs], recurrent [4 * units, units], bias [4 * units], the sum of torch's two.
    `cell_bits` are the fraction bits of the cell where it is an int16, 0 before that is known.
    """
    del cell_bits
    states, _ = lstm_states(x, weights, recurrent, bias, reverse, low, high)
    return states


def lstm_states(
    x: Tensor,
    weights: Tensor,
    recurrent: Tensor,
    bias: Tensor,
    reverse: bool,
    low: float = -1.0,
    high: float = 1.0,
) -> tuple[Tensor, float]:
    """What `lstm` gives, and the largest absolute value of any cell on the way."""
    found, largest = [], 0.0
    h = c = x.new_zeros(x.shape[0], recurrent.shape[1])
    for of_input in torch.nn.functional.linear(_in_order(x, reverse), weights, bias).unbind(1):
        i, f, g, o = torch.addmm(of_input, h.clamp(low, high), recurrent.t()).chunk(LSTM_GATES, 1)
        c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        h = torch.sigmoid(o) * torch.tanh(c)
        found.append(h)
        largest = max(largest, float(c.detach().abs().max()))
    return _in_order(torch.stack(found, 1), reverse).contiguous(), largest


@gru.register_fake
def _(
    x: Tensor, weights: Tensor, recurrent: Tensor, bias: Tensor, recurrent_bias: Tensor, reverse: bool,
    low: float = -1.0, high: float = 1.0,
) -> Tensor:  # fmt: skip
    del weights, bias, recurrent_bias, reverse, low, high
    return x.new_empty(x.shape[0], x.shape[1], recurrent.shape[1])


@lstm.register_fake
def _(
    x: Tensor, weights: Tensor, recurrent: Tensor, bias: Tensor, reverse: bool,
    low: float = -1.0, high: float = 1.0, cell_bits: int = 0,
) -> Tensor:  # fmt: skip
    del weights, bias, reverse, low, high, cell_bits
    return x.new_empty(x.shape[0], x.shape[1], recurrent.shape[1])


def _in_order(x: Tensor, reverse: bool) -> Tensor:
    return x.flip(1) if reverse else x
