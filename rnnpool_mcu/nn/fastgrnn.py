"""FastGRNN cell and its sweep over a sequence, with a hand-written backward pass.

One step, for input x and state h (Kusupati et al., "FastGRNN", NeurIPS 2018):

    a  = W.x + U.h
    z  = sigmoid(a + bias_gate)
    c  = tanh(a + bias_update)
    h' = z.h + (sigmoid(zeta).(1 - z) + sigmoid(nu)).c

RNNPool fixes zeta = 100 and nu = -100, so that sigmoid(zeta) = 1 and sigmoid(nu) = 0 and
h' = z.h + (1 - z).c, a mean of two values inside (-1, 1). Only this form is computed here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

SMOOTH = 0
PIECEWISE_LINEAR = 1
NONLINEARITIES = {"tanh/sigmoid": SMOOTH, "quantTanh/quantSigmoid": PIECEWISE_LINEAR}

FIXED_ZETA = 100.0
FIXED_NU = -100.0

StepInput = Callable[[int, Tensor], None]
"""Writes W.x of step t into a [sequences, hidden] buffer."""
StepGradient = Callable[[int, Tensor], None]
"""Takes the gradient of W.x of step t, [sequences, hidden]; the buffer is reused afterwards."""


class SweepTrace:
    """What a sweep's backward pass needs: gate z and candidate c of every step, and all states.

    z and c are [steps, sequences, hidden]; h is [steps + 1, sequences, hidden] with h[0] = 0.
    """

    def __init__(self, steps: int, sequences: int, hidden: int, like: Tensor) -> None:
        self.z = like.new_empty(steps, sequences, hidden)
        self.c = like.new_empty(steps, sequences, hidden)
        self.h = like.new_empty(steps + 1, sequences, hidden)
        self.h[0].zero_()


def sweep_forward(
    step_input: StepInput,
    trace: SweepTrace,
    u: Tensor,
    bias_gate: Tensor,
    bias_update: Tensor,
    nonlinearity: int,
) -> Tensor:
    """Run the cell over all steps, filling `trace`; returns the last state [sequences, hidden]."""
    steps, sequences, hidden = trace.z.shape
    a = trace.z.new_empty(sequences, hidden)
    double_bias = 2 * bias_update
    for t in range(steps):
        z, c, h = trace.z[t], trace.c[t], trace.h[t]
        step_input(t, a)
        if t > 0:
            a.addmm_(h, u)
        torch.add(a, bias_gate, out=z)
        if nonlinearity == SMOOTH:
            z.sigmoid_()
            # tanh(v) = 2.sigmoid(2v) - 1 takes half the time of torch's tanh on a CPU
            torch.add(double_bias, a, alpha=2, out=c).sigmoid_().mul_(2).sub_(1)
        else:
            torch.add(a, bias_update, out=c)
            z.add_(1).mul_(0.5).clamp_(0, 1)
            c.clamp_(-1, 1)
        torch.lerp(c, h, z, out=trace.h[t + 1])
    return trace.h[steps]


def sweep_backward(
    grad_state: Tensor, step_gradient: StepGradient, trace: SweepTrace, u: Tensor, nonlinearity: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Backward of `sweep_forward` from the gradient of the last state.

    Calls `step_gradient` for every step, last to first; returns the gradients of U [hidden, hidden] and of
    the two biases [1, hidden].
    """
    steps, sequences, hidden = trace.z.shape
    dh = grad_state.clone(memory_format=torch.contiguous_format)
    gate, update = torch.empty_like(dh), torch.empty_like(dh)
    ones = dh.new_ones(1, sequences)
    grad_u = dh.new_zeros(hidden, hidden)
    grad_gate, grad_update = dh.new_zeros(1, hidden), dh.new_zeros(1, hidden)
    for t in range(steps - 1, -1, -1):
        z, c, h = trace.z[t], trace.c[t], trace.h[t]
        torch.sub(h, c, out=gate).mul_(dh)
        torch.addcmul(dh, dh, z, value=-1, out=update)
        if nonlinearity == SMOOTH:
            torch.ops.aten.sigmoid_backward.grad_input(gate, z, grad_input=gate)
            torch.ops.aten.tanh_backward.grad_input(update, c, grad_input=update)
        else:
            gate.mul_(((z > 0) & (z < 1)).to(gate.dtype)).mul_(0.5)
            update.mul_((c.abs() < 1).to(update.dtype))
        grad_gate.addmm_(ones, gate)
        grad_update.addmm_(ones, update)
        da = gate.add_(update)
        if t > 0:
            grad_u.addmm_(h.t(), da)
            dh.mul_(z).addmm_(da, u.t())
        step_gradient(t, da)
    return grad_u, grad_gate, grad_update


class _Sweep(torch.autograd.Function):
    """Differentiable sweep over W.x given as [steps, sequences, hidden]."""

    @staticmethod
    def forward(
        ctx: Any, wx: Tensor, u: Tensor, bias_gate: Tensor, bias_update: Tensor, nonlinearity: int
    ) -> Tensor:
        trace = SweepTrace(wx.shape[0], wx.shape[1], u.shape[0], wx)

        def load(t: int, out: Tensor) -> None:
            out.copy_(wx[t])

        last = sweep_forward(load, trace, u, bias_gate, bias_update, nonlinearity)
        ctx.save_for_backward(u)
        ctx.trace, ctx.nonlinearity = trace, nonlinearity
        return last.clone()

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        (u,) = ctx.saved_tensors
        grad_wx = torch.empty_like(ctx.trace.z)

        def keep(t: int, da: Tensor) -> None:
            grad_wx[t].copy_(da)

        grads = sweep_backward(grad_outputs[0], keep, ctx.trace, u, ctx.nonlinearity)
        return (grad_wx, *grads, None)


class FastGRNNCell(nn.Module):
    """FastGRNN cell with fixed zeta and nu; parameters are named as in the reference implementation.

    W is [input, hidden], U is [hidden, hidden], biases are [1, hidden]. zeta and nu are [1, 1] buffers,
    kept for the sake of the state dict and never trained.
    """

    def __init__(self, input_size: int, hidden_size: int, nonlinearity: str = "tanh/sigmoid") -> None:
        super().__init__()
        if nonlinearity not in NONLINEARITIES:
            allowed = ", ".join(repr(name) for name in NONLINEARITIES)
            raise ValueError(f"FastGRNNCell: nonlinearity {nonlinearity!r} is not known; allowed: {allowed}")
        self.nonlinearity = NONLINEARITIES[nonlinearity]
        self.W = nn.Parameter(torch.randn(input_size, hidden_size) * (1.0 / input_size) ** 0.5)
        self.U = nn.Parameter(torch.randn(hidden_size, hidden_size) * (0.3 / hidden_size**0.5))
        self.bias_gate = nn.Parameter(torch.ones(1, hidden_size))
        self.bias_update = nn.Parameter(torch.zeros(1, hidden_size))
        self.register_buffer("zeta", torch.full((1, 1), FIXED_ZETA))
        self.register_buffer("nu", torch.full((1, 1), FIXED_NU))

    def forward(self, x: Tensor) -> Tensor:
        """Last state [sequences, hidden] of a time-major input [steps, sequences, input]."""
        return _Sweep.apply(x @ self.W, self.U, self.bias_gate, self.bias_update, self.nonlinearity)

    def _load_from_state_dict(self, state_dict: Any, prefix: str, *args: Any) -> None:
        check_fixed_gates(state_dict, prefix)
        super()._load_from_state_dict(state_dict, prefix, *args)


def check_fixed_gates(state_dict: dict[str, Tensor], prefix: str) -> None:
    """Refuse (ValueError) a zeta or nu whose sigmoid is not 1 or 0: the trained network would differ."""
    for name, wanted in (("zeta", 1.0), ("nu", 0.0)):
        value = state_dict.get(prefix + name)
        if value is None:
            continue
        actual = torch.sigmoid(value.double())
        if not bool(((actual - wanted).abs() < 1e-6).all()):
            given, became = value.flatten()[0].item(), actual.flatten()[0].item()
            raise ValueError(
                f"FastGRNN '{prefix}{name}': sigmoid({given:g}) = {became:g}, supported only {wanted:g}; "
                f"train with zeta = {FIXED_ZETA:g} and nu = {FIXED_NU:g} held fixed"
            )
