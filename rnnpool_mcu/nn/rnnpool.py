"""RNNPool: pool a patch into a vector with two small recurrent cells, as one torch operator.

RNN1 summarises every row (left to right) and every column (top to bottom) of a patch; RNN2 summarises the
row summaries forwards and backwards and the column summaries forwards and backwards. Source: Saha et al.,
"RNNPool: Efficient Non-linear Pooling for RAM Constrained Inference", NeurIPS 2020.

Output channels, in this order (the paper's), h2 each:

    rows forwards, rows backwards, columns forwards, columns backwards

Overlapping patches share their RNN1 sweeps: a row sweep depends only on (row, patch column) and a column
sweep only on (column, patch row), so each is run once. W.x is computed once per pixel and once per summary.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.amp import is_autocast_available

from rnnpool_mcu.nn.fastgrnn import FastGRNNCell, SweepTrace, sweep_backward, sweep_forward

SWEEPS = 4
"""Rows forwards, rows backwards, columns forwards, columns backwards."""
TRACE_FLOATS_PER_CHUNK = 1 << 20
"""Images are handled in chunks whose per-step state fits a core's cache."""
LARGER_ON_GPU = 256
"""Chunks of a GPU are larger by this: each of its steps should have much to do."""


@dataclass(frozen=True)
class PatchGrid:
    """Where the patches of one activation map lie; all sizes in pixels of that map."""

    patch: int
    stride: int
    out_height: int
    out_width: int

    @property
    def height(self) -> int:
        """Rows of the map that some patch covers."""
        return (self.out_height - 1) * self.stride + self.patch

    @property
    def width(self) -> int:
        """Columns of the map that some patch covers."""
        return (self.out_width - 1) * self.stride + self.patch

    def rows(self, t: int) -> slice:
        """Row t of every patch."""
        return slice(t, t + (self.out_height - 1) * self.stride + 1, self.stride)

    def columns(self, t: int) -> slice:
        """Column t of every patch."""
        return slice(t, t + (self.out_width - 1) * self.stride + 1, self.stride)


def patch_grid(height: int, width: int, patch: int, stride: int) -> PatchGrid:
    """Grid of a map of height x width; ValueError if not even one patch fits."""
    if patch < 1 or stride < 1:
        raise ValueError(f"RNNPool: patch {patch} and stride {stride} must be at least 1")
    if height < patch or width < patch:
        raise ValueError(f"RNNPool: input {height}x{width} is smaller than its patch {patch}x{patch}")
    return PatchGrid(patch, stride, (height - patch) // stride + 1, (width - patch) // stride + 1)


class _Summaries:
    """RNN1 over one chunk of images: pixels' W.x [n, height, width, h1] to row and column summaries."""

    def __init__(self, wx: Tensor, grid: PatchGrid) -> None:
        n = wx.shape[0]
        self.wx, self.grid = wx, grid
        self.row_shape = (n, grid.height, grid.out_width)
        self.column_shape = (n, grid.out_height, grid.width)
        self.row_count = n * grid.height * grid.out_width
        self.count = self.row_count + n * grid.out_height * grid.width

    def split(self, flat: Tensor) -> tuple[Tensor, Tensor]:
        """Row part and column part of a [count, channels] tensor, as views."""
        channels = flat.shape[1]
        rows = flat[: self.row_count].view(*self.row_shape, channels)
        return rows, flat[self.row_count :].view(*self.column_shape, channels)

    def step_input(self, t: int, out: Tensor) -> None:
        """Pixel t of every row and of every column."""
        rows, columns = self.split(out)
        rows.copy_(self.wx[:, :, self.grid.columns(t)])
        columns.copy_(self.wx[:, self.grid.rows(t)])

    def add_gradient(self, grad_wx: Tensor, t: int, da: Tensor) -> None:
        """Add the gradient of `step_input` of step t to `grad_wx`."""
        rows, columns = self.split(da)
        grad_wx[:, :, self.grid.columns(t)] += rows
        grad_wx[:, self.grid.rows(t)] += columns


class _Pooling:
    """RNN2 over one chunk: the summaries' W.x to four final states per patch."""

    def __init__(self, rows: Tensor, columns: Tensor, grid: PatchGrid) -> None:
        self.rows, self.columns, self.grid = rows, columns, grid
        self.shape = (SWEEPS, rows.shape[0], grid.out_height, grid.out_width, rows.shape[3])
        self.count = SWEEPS * rows.shape[0] * grid.out_height * grid.out_width

    def _sources(self, rows: Tensor, columns: Tensor, t: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        last = self.grid.patch - 1
        return (
            rows[:, self.grid.rows(t)],
            rows[:, self.grid.rows(last - t)],
            columns[:, :, self.grid.columns(t)],
            columns[:, :, self.grid.columns(last - t)],
        )

    def step_input(self, t: int, out: Tensor) -> None:
        """Summary t of every patch in each of the four sweeps."""
        for target, source in zip(
            out.view(self.shape), self._sources(self.rows, self.columns, t), strict=True
        ):
            target.copy_(source)

    def add_gradient(self, grad_rows: Tensor, grad_columns: Tensor, t: int, da: Tensor) -> None:
        """Add the gradient of `step_input` of step t to the summaries' gradients."""
        for target, source in zip(
            self._sources(grad_rows, grad_columns, t), da.view(self.shape), strict=True
        ):
            target += source


Weights = tuple[Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor, Tensor]
"""w1, u1, bias_gate1, bias_update1 of RNN1, then the same four of RNN2."""


@dataclass(frozen=True)
class _Chunk:
    """The sweeps of one chunk of images, kept for the backward pass."""

    pixels: Tensor
    summaries: _Summaries
    trace1: SweepTrace
    pooling: _Pooling
    trace2: SweepTrace


def _forward_chunk(
    pixels: Tensor, weights: Weights, grid: PatchGrid, nonlinearity: int
) -> tuple[Tensor, _Chunk]:
    """pixels [n, height, width, C] to states [n, out_height, out_width, 4, h2]."""
    w1, u1, gate1, update1, w2, u2, gate2, update2 = weights
    summaries = _Summaries(pixels @ w1, grid)
    trace1 = SweepTrace(grid.patch, summaries.count, u1.shape[0], pixels)
    last1 = sweep_forward(summaries.step_input, trace1, u1, gate1, update1, nonlinearity)
    pooling = _Pooling(*summaries.split(last1 @ w2), grid)
    trace2 = SweepTrace(grid.patch, pooling.count, u2.shape[0], pixels)
    last2 = sweep_forward(pooling.step_input, trace2, u2, gate2, update2, nonlinearity)
    return last2.view(pooling.shape).permute(1, 2, 3, 0, 4), _Chunk(
        pixels, summaries, trace1, pooling, trace2
    )


def _backward_chunk(
    grad: Tensor, chunk: _Chunk, weights: Weights, grid: PatchGrid, nonlinearity: int
) -> tuple[Tensor, list[Tensor]]:
    """Gradients of the chunk's pixels and of the eight weights, from that of its states."""
    w1, u1, _, _, w2, u2, _, _ = weights
    last2 = grad.permute(3, 0, 1, 2, 4).reshape(chunk.pooling.count, u2.shape[0])
    grad_projected = grad.new_zeros(chunk.summaries.count, u2.shape[0])
    grad_rows, grad_columns = chunk.summaries.split(grad_projected)
    grads2 = sweep_backward(
        last2,
        lambda t, da: chunk.pooling.add_gradient(grad_rows, grad_columns, t, da),
        chunk.trace2,
        u2,
        nonlinearity,
    )
    grad_w2 = chunk.trace1.h[grid.patch].t() @ grad_projected
    grad_wx = torch.zeros_like(chunk.summaries.wx)
    grads1 = sweep_backward(
        grad_projected @ w2.t(),
        lambda t, da: chunk.summaries.add_gradient(grad_wx, t, da),
        chunk.trace1,
        u1,
        nonlinearity,
    )
    flat = grad_wx.flatten(0, 2)
    grad_w1 = chunk.pixels.reshape(-1, w1.shape[0]).t() @ flat
    return grad_wx @ w1.t(), [grad_w1, *grads1, grad_w2, *grads2]


def _images_per_chunk(grid: PatchGrid, hidden: int, device: torch.device) -> int:
    per_image = grid.height * grid.out_width + grid.out_height * grid.width
    floats = TRACE_FLOATS_PER_CHUNK * (LARGER_ON_GPU if device.type == "cuda" else 1)
    return max(1, floats // (per_image * hidden * grid.patch))


def _used_pixels(x: Tensor, grid: PatchGrid) -> Tensor:
    """[N, C, H, W] to the covered part, [N, height, width, C]."""
    return x[:, :, : grid.height, : grid.width].permute(0, 2, 3, 1)


class _RNNPoolFunction(torch.autograd.Function):
    """Training path: keeps the sweeps of all chunks, instead of running them again in backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, patch: int, stride: int, nonlinearity: int, *weights: Tensor) -> Tensor:
        grid = patch_grid(x.shape[2], x.shape[3], patch, stride)
        pixels = _used_pixels(x, grid)
        outputs, chunks = [], []
        for part in pixels.split(_images_per_chunk(grid, weights[1].shape[0], x.device)):
            states, chunk = _forward_chunk(part, weights, grid, nonlinearity)  # type: ignore[arg-type]
            outputs.append(states.flatten(3))
            chunks.append(chunk)
        ctx.save_for_backward(*weights)
        ctx.grid, ctx.nonlinearity, ctx.chunks, ctx.shape = grid, nonlinearity, chunks, x.shape
        return torch.cat(outputs).permute(0, 3, 1, 2)

    @staticmethod
    def backward(ctx: Any, *grad_outputs: Any) -> Any:
        grid, weights = ctx.grid, ctx.saved_tensors
        grad = grad_outputs[0].permute(0, 2, 3, 1).unflatten(3, (SWEEPS, -1))
        grad_x = grad.new_zeros(ctx.shape[0], *ctx.shape[2:], ctx.shape[1])
        totals = [torch.zeros_like(weight) for weight in weights]
        first = 0
        for chunk in ctx.chunks:
            n = chunk.pixels.shape[0]
            part = grad[first : first + n]
            grad_pixels, grads = _backward_chunk(part, chunk, weights, grid, ctx.nonlinearity)
            grad_x[first : first + n, : grid.height, : grid.width] = grad_pixels
            totals = [a + b for a, b in zip(totals, grads, strict=True)]
            first += n
        return (grad_x.permute(0, 3, 1, 2), None, None, None, *totals)


@torch.library.custom_op("rnnpool_mcu::rnnpool", mutates_args=())
def rnnpool(
    x: Tensor,
    w1: Tensor,
    u1: Tensor,
    bias_gate1: Tensor,
    bias_update1: Tensor,
    w2: Tensor,
    u2: Tensor,
    bias_gate2: Tensor,
    bias_update2: Tensor,
    patch: int,
    stride: int,
    nonlinearity: int,
) -> Tensor:
    """RNNPool of x [N, C, H, W] without padding, [N, 4*h2, out(H), out(W)].

    out(n) = (n - patch) // stride + 1.
    w1 [C, h1], u1 [h1, h1], w2 [h1, h2], u2 [h2, h2], biases [1, hidden]; nonlinearity is a value of
    `fastgrnn.NONLINEARITIES`. Channel order: rows forwards, rows backwards, columns forwards, columns
    backwards.
    """
    grid = patch_grid(x.shape[2], x.shape[3], patch, stride)
    weights = (w1, u1, bias_gate1, bias_update1, w2, u2, bias_gate2, bias_update2)
    parts = _used_pixels(x, grid).split(_images_per_chunk(grid, u1.shape[0], x.device))
    outputs = [_forward_chunk(part, weights, grid, nonlinearity)[0].flatten(3) for part in parts]
    return torch.cat(outputs).permute(0, 3, 1, 2).contiguous()


@rnnpool.register_fake
def _(
    x: Tensor, w1: Tensor, u1: Tensor, bias_gate1: Tensor, bias_update1: Tensor,
    w2: Tensor, u2: Tensor, bias_gate2: Tensor, bias_update2: Tensor,
    patch: int, stride: int, nonlinearity: int,
) -> Tensor:  # fmt: skip
    del w1, u1, bias_gate1, bias_update1, w2, bias_gate2, bias_update2, nonlinearity
    height, width = (x.shape[2] - patch) // stride + 1, (x.shape[3] - patch) // stride + 1
    return x.new_empty(x.shape[0], SWEEPS * u2.shape[0], height, width)


def _setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ARG001
    ctx.save_for_backward(*inputs[:9])
    ctx.sizes = inputs[9:]


def _op_backward(ctx: Any, grad: Tensor) -> Any:
    """Runs the sweeps again: the operator keeps nothing, so that inference costs no memory."""
    with torch.enable_grad():
        inputs = [tensor.detach().requires_grad_() for tensor in ctx.saved_tensors]
        output = _RNNPoolFunction.apply(inputs[0], *ctx.sizes, *inputs[1:])
        grads = torch.autograd.grad(output, inputs, grad)
    return (*grads, None, None, None)


rnnpool.register_autograd(_op_backward, setup_context=_setup_context)


class RNNPool(nn.Module):
    """RNNPool layer over [N, C, H, W]; see `rnnpool` for shapes and channel order."""

    def __init__(
        self,
        in_channels: int,
        hidden1: int,
        hidden2: int,
        patch: int,
        stride: int,
        nonlinearity: str = "tanh/sigmoid",
    ) -> None:
        super().__init__()
        self.patch, self.stride = patch, stride
        self.rnn1 = FastGRNNCell(in_channels, hidden1, nonlinearity)
        self.rnn2 = FastGRNNCell(hidden1, hidden2, nonlinearity)

    @property
    def out_channels(self) -> int:
        """Four states of RNN2."""
        return SWEEPS * self.rnn2.U.shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Pool every patch; one `rnnpool_mcu::rnnpool` node under torch.export; float32 under autocast."""
        if is_autocast_available(x.device.type) and torch.is_autocast_enabled(x.device.type):
            with torch.autocast(x.device.type, enabled=False):
                return self.forward(x.float())
        first, second = self.rnn1, self.rnn2
        weights = (
            first.W, first.U, first.bias_gate, first.bias_update,
            second.W, second.U, second.bias_gate, second.bias_update,
        )  # fmt: skip
        if self.training and torch.is_grad_enabled() and not torch.compiler.is_compiling():
            return _RNNPoolFunction.apply(x, self.patch, self.stride, first.nonlinearity, *weights)
        return torch.ops.rnnpool_mcu.rnnpool(x, *weights, self.patch, self.stride, first.nonlinearity)
