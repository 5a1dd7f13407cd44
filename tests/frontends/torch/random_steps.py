"""The kinds of steps that random torch modules are made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tests.frontends.torch.random_networks import Builder, Kind, RandomNetwork, Step

FUNCTIONS: tuple[Callable[[Tensor], Tensor], ...] = (
    F.relu,
    F.relu6,
    F.hardtanh,
    F.hardswish,
    F.hardsigmoid,
    F.silu,
    F.elu,
    F.gelu,
    F.mish,
    F.softplus,
    torch.sigmoid,
    torch.tanh,
    torch.abs,
    torch.square,
    lambda x: F.leaky_relu(x, 0.2),
    lambda x: x.clamp(0.1, 0.7),
    lambda x: x.clamp(max=0.3),
    lambda x: torch.clamp(x, min=-0.2),
    lambda x: x * F.relu6(x + 3) / 6,
    lambda x: 1 - x,
    lambda x: -x,
    lambda x: 0.5 * x - 0.25,
    lambda x: F.relu(x) + x,
    lambda x: x.add(0.5, alpha=2),
)


def convolution(b: Builder, at: int) -> Step | None:
    rank, channels = b.values[at].ndim, b.values[at].shape[1]
    if rank not in (3, 4):
        return None
    used = [n for n, p in enumerate(b.network.parts) if isinstance(p, nn.modules.conv._ConvNd)]
    if used and b.chance(0.4):  # the same module again, or another with its weights
        index = b.pick(used)
        if b.chance(0.3):
            other = type(b.network.parts[index])(1, 1, 1)
            other.__dict__.update({k: v for k, v in b.network.parts[index].__dict__.items() if k[0] != "_"})
            other.weight, other.bias = b.network.parts[index].weight, b.network.parts[index].bias
            if not isinstance(other, (nn.ConvTranspose1d, nn.ConvTranspose2d)):
                other._reversed_padding_repeated_twice = b.network.parts[
                    index
                ]._reversed_padding_repeated_twice
            index = b.module(other)
        return lambda m, v: m.parts[index](v[at])
    groups = b.pick([1, 1, channels, 2 if channels % 2 == 0 else 1])
    out = groups * int(b.rng.integers(1, 5))
    settings = {
        "kernel_size": b.pick([1, 2, 3, 3, 5]) if rank == 3 or b.chance(0.7) else b.pick([(1, 3), (3, 2)]),
        "stride": b.pick([1, 1, 2, 3, 5]),
        "padding": b.pick([0, 1, 1, 2, "same"]),
        "dilation": b.pick([1, 1, 2]),
        "groups": groups,
        "bias": b.chance(0.5),
        "padding_mode": b.pick(["zeros", "zeros", "reflect", "replicate", "circular"]),
    }
    if settings["padding"] == "same":
        settings["stride"] = 1
    if b.chance(0.2):
        kind: Any = nn.ConvTranspose1d if rank == 3 else nn.ConvTranspose2d
        settings["padding"] = b.pick([0, 1])
        settings["padding_mode"] = "zeros"
        settings["output_padding"] = b.pick([0, 0, 1])
    else:
        kind = nn.Conv1d if rank == 3 else nn.Conv2d
    try:
        index = b.module(kind(channels, out, **settings))
    except ValueError:
        return None
    return lambda m, v: m.parts[index](v[at])


def batch_norm(b: Builder, at: int) -> Step | None:
    kinds = {2: nn.BatchNorm1d, 3: nn.BatchNorm1d, 4: nn.BatchNorm2d}
    kind = kinds.get(b.values[at].ndim)
    if kind is None:
        return None
    index = b.module(kind(b.values[at].shape[1], affine=b.chance(0.7)))
    return lambda m, v: m.parts[index](v[at])


def function(b: Builder, at: int) -> Step:
    chosen = b.pick(FUNCTIONS)
    return lambda _, v: chosen(v[at])


def in_place(b: Builder, at: int) -> Step:
    chosen = b.pick([F.relu_, lambda x: x.add_(0.5), lambda x: x.mul_(0.5), lambda x: x.clamp_(0, 1)])
    return lambda _, v: chosen(v[at] * 1.5)


def prelu(b: Builder, at: int) -> Step:
    index = b.module(nn.PReLU(b.pick([1, b.values[at].shape[1]]), init=0.3))
    return lambda m, v: m.parts[index](v[at])


def pair(b: Builder, at: int) -> Step:
    other = b.same_shape(at)
    chosen = b.pick(
        [
            torch.add,
            torch.sub,
            torch.mul,
            lambda x, y: torch.add(x, y, alpha=0.5),
            lambda x, y: torch.sub(x, y, alpha=2),
            torch.maximum,
            torch.minimum,
            lambda x, y: x + y.mean(tuple(range(2, y.ndim)), keepdim=True) if y.ndim > 2 else x * y,
            lambda x, y: x * torch.sigmoid(y.mean(1, keepdim=True)),
        ]
    )
    return lambda _, v: chosen(v[at], v[other])


def with_stored(b: Builder, at: int) -> Step:
    name = b.operand(b.values[at])
    chosen = b.pick(
        [
            torch.add,
            torch.mul,
            torch.sub,
            lambda x, y: y - x,
            lambda x, y: y + x,
            lambda x, y: torch.add(x, y, alpha=2),
            lambda x, y: torch.sub(y, x, alpha=0.5),
            lambda x, y: x / (1.5 + y.abs()),
            lambda x, y: torch.maximum(x, y),
            lambda x, y: torch.where(y > 0, x, torch.zeros(())),
        ]
    )
    return lambda m, v: chosen(v[at], getattr(m, name))


def joined(b: Builder, at: int) -> Step:
    x = b.values[at]
    axis = int(b.rng.integers(1, x.ndim)) if x.ndim > 1 else 0
    axis = axis - x.ndim if b.chance(0.5) else axis
    parts: list[Any] = [at, b.same_shape(at)]
    if b.chance(0.4):
        shape = list(x.shape)
        shape[axis] = int(b.rng.integers(1, 4))
        parts.insert(int(b.rng.integers(3)), b.network.stored(b.tensor(shape), b.chance(0.5)))
    if b.chance(0.15):
        return lambda m, v: torch.stack([_value(m, v, part) for part in parts], axis)
    return lambda m, v: torch.cat([_value(m, v, part) for part in parts], axis)


def _value(network: RandomNetwork, values: list[Tensor], part: int | str) -> Tensor:
    return values[part] if isinstance(part, int) else getattr(network, part)


def pad(b: Builder, at: int) -> Step:
    rank = b.values[at].ndim
    sides = b.rng.integers(-1, 3, 2 * int(b.rng.integers(1, max(2, rank)))).tolist()
    mode = b.pick(["constant", "constant", "constant", "reflect", "replicate", "circular"])
    value = b.pick([0.0, 0.0, -1.0, 0.5, 3.0])
    if mode != "constant":
        sides = [abs(side) for side in sides[: 2 * (rank - 2)]]
        return lambda _, v: F.pad(v[at], sides, mode)
    return lambda _, v: F.pad(v[at], sides, value=value)


def pool(b: Builder, at: int) -> Step | None:
    rank = b.values[at].ndim
    if rank not in (3, 4):
        return None
    kernel, stride, padding = b.pick([1, 2, 3, 4]), b.pick([None, 1, 2, 3]), b.pick([0, 0, 1])
    ceil, counted = b.chance(0.4), b.chance(0.5)
    average: Any = F.avg_pool1d if rank == 3 else F.avg_pool2d
    largest: Any = F.max_pool1d if rank == 3 else F.max_pool2d
    if b.chance(0.5):
        return lambda _, v: average(v[at], kernel, stride, padding, ceil, counted)
    dilation = b.pick([1, 1, 2])
    return lambda _, v: largest(v[at], kernel, stride, padding, dilation, ceil)


def adaptive(b: Builder, at: int) -> Step | None:
    size = b.pick([1, 1, 2, 3])
    if b.values[at].ndim == 4:
        chosen: Any = b.pick([F.adaptive_avg_pool2d, F.adaptive_max_pool2d])
    elif b.values[at].ndim == 3:
        chosen = b.pick([F.adaptive_avg_pool1d, F.adaptive_max_pool1d])
    else:
        return None
    return lambda _, v: chosen(v[at], size)


def reduced(b: Builder, at: int) -> Step:
    rank = b.values[at].ndim
    count = int(b.rng.integers(1, max(2, rank)))
    axes = [int(axis) for axis in b.rng.permutation(np.arange(1, rank))[:count]]
    axes = [axis - rank if b.chance(0.5) else axis for axis in axes]
    keep = b.chance(0.5)
    chosen = b.pick([torch.mean, torch.sum, torch.amax, torch.amin])
    scale = 0.1 if chosen is torch.sum else 1.0
    if b.chance(0.2):
        return lambda _, v: v[at].max(axes[0], keep).values
    return lambda _, v: chosen(v[at], axes, keep) * scale if scale != 1 else chosen(v[at], axes, keep)


def view(b: Builder, at: int) -> Step:
    x = b.values[at]
    rank = x.ndim
    order = [0, *(1 + b.rng.permutation(rank - 1)).tolist()] if rank > 1 else [0]
    axis = int(b.rng.integers(1, max(2, rank)))
    sides = list(x.shape)
    merged = [*sides[:axis], -1] if axis < rank else sides
    half = max(1, sides[min(axis, rank - 1)] // 2)
    chosen = b.pick(
        [
            lambda x: x.permute(order),
            lambda x: x.transpose(axis, -1),
            lambda x: x.flatten(axis),
            lambda x: x.reshape(merged),
            lambda x: x.unsqueeze(axis),
            lambda x: x.squeeze(axis),
            lambda x: x.squeeze(),
            lambda x: x.narrow(axis, 0, half),
            lambda x: x.chunk(2, axis)[-1],
            lambda x: torch.split(x, half, axis)[0],
            lambda x: x.select(axis, -1),
            lambda x: x.select(axis, half - 1),
            lambda x: x.flip(axis),
            lambda x: x.roll(1, axis),
            lambda x: x.index_select(axis, torch.tensor([half - 1, 0])),
            lambda x: x[:, [half - 1, 0, 0]] if axis == 1 else x[..., ::2],
            lambda x: x[:, :, 0],
            lambda x: x[..., 1:-1],
            lambda x: x.contiguous().view(x.shape[0], -1, x.shape[-1]),
            lambda x: x.unflatten(1, (2, -1)),
            lambda x: x.expand(*x.shape[:-1], 3),
            lambda x: x.repeat(*[1] * (x.ndim - 1), 2),
            lambda x: x.mT,
        ]
    )
    return lambda _, v: chosen(v[at])


def resized(b: Builder, at: int) -> Step | None:
    x = b.values[at]
    if x.ndim not in (3, 4):
        return None
    modes = ["nearest", "nearest-exact", *(["linear"] if x.ndim == 3 else ["bilinear"])]
    mode, corners = b.pick(modes), b.pick([None, False, True])
    corners = corners if mode.endswith("linear") else None
    if b.chance(0.5):
        factor = b.pick([2, 3, 1.5, 0.5])
        return lambda _, v: F.interpolate(v[at], scale_factor=factor, mode=mode, align_corners=corners)
    size = b.rng.integers(1, 14, x.ndim - 2).tolist()
    return lambda _, v: F.interpolate(v[at], size, mode=mode, align_corners=corners)


def linear(b: Builder, at: int) -> Step:
    index = b.module(nn.Linear(b.values[at].shape[-1], int(b.rng.integers(1, 8)), bias=b.chance(0.7)))
    used = [n for n, p in enumerate(b.network.parts) if isinstance(p, nn.Linear)]
    index = b.pick(used) if b.chance(0.3) else index
    return lambda m, v: m.parts[index](v[at])


def normalised(b: Builder, at: int) -> Step:
    axis = int(b.rng.integers(1, max(2, b.values[at].ndim)))
    axis = axis - b.values[at].ndim if b.chance(0.5) else axis
    kinds = [F.softmax, F.log_softmax, lambda x, dim: F.normalize(x, dim=dim)]
    # The unit vector of one value is its sign, which one step of the input may turn; its softmax is constant.
    chosen = b.pick(kinds) if b.values[at].shape[axis] > 2 else torch.tanh
    if chosen is torch.tanh:
        return lambda _, v: torch.tanh(v[at])
    return lambda _, v: chosen(v[at], dim=axis)


def shuffled(b: Builder, at: int) -> Step:
    chosen = b.pick([F.pixel_shuffle, F.pixel_unshuffle, F.channel_shuffle])
    return lambda _, v: chosen(v[at], 2)


KINDS: tuple[Kind, ...] = (
    *(convolution,) * 4,
    *(batch_norm,) * 2,
    *(function,) * 2,
    in_place,
    prelu,
    *(pair,) * 2,
    *(with_stored,) * 2,
    *(joined,) * 2,
    *(pad,) * 2,
    pool,
    adaptive,
    reduced,
    *(view,) * 3,
    resized,
    linear,
    normalised,
    shuffled,
)


def random_network(seed: int) -> tuple[nn.Module, tuple[int, ...]]:
    """A module in evaluation mode and the shape of its input."""
    builder = Builder(seed, KINDS)
    return builder.network_of(int(builder.rng.integers(1, 6))), tuple(builder.shape)
