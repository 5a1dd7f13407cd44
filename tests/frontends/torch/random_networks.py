"""Random small torch modules: stored operands, shared weights, odd attributes, views of every kind.

A module is a list of steps; each takes values made before it and adds one. What torch itself does not
compute is never part of a module, so that every module has a right answer.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

Step = Callable[["RandomNetwork", list[Tensor]], Tensor]
Kind = Callable[["Builder", int], Step | None]
MOST_VALUES = 4096  # of one tensor


class RandomNetwork(nn.Module):
    """Steps over the values made so far, and which of them are the outputs, in which order."""

    def __init__(self) -> None:
        super().__init__()
        self.parts = nn.ModuleList()
        self.steps: list[Step] = []
        self.names: list[str] = []
        self.outputs: tuple[int, ...] = ()

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        values = [x]
        for step in self.steps:
            values.append(step(self, values))
        made = tuple(values[at] for at in self.outputs)
        return made[0] if len(made) == 1 else made

    def stored(self, value: Tensor, as_parameter: bool) -> str:
        """Name of a new buffer or parameter."""
        name = f"stored_{len(self.names)}_{len(list(self.buffers()))}_{len(list(self.parameters()))}"
        if as_parameter:
            self.register_parameter(name, nn.Parameter(value, requires_grad=False))
        else:
            self.register_buffer(name, value)
        return name


class Builder:
    """Draws one module; the same seed gives the same module."""

    def __init__(self, seed: int, kinds: Sequence[Kind]) -> None:
        self.kinds = kinds
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.network = RandomNetwork()
        shapes = [(1, 3, 8, 10), (1, 3, 8, 10), (1, 1, 9, 6), (1, 4, 16), (1, 12)]
        self.shape = self.pick(shapes)
        self.values: list[Tensor] = [torch.rand(self.shape)]

    def network_of(self, steps: int) -> nn.Module:
        """A module of so many steps in evaluation mode."""
        tries = 0
        while len(self.network.steps) < steps and tries < 20 * steps:
            tries += 1
            self._try()
        count = int(self.rng.integers(1, 4))
        ends = [len(self.values) - 1, *self.rng.integers(1, len(self.values), count - 1).tolist()]
        ends = ends if self.chance(0.1) else sorted(set(ends))
        self.network.outputs = tuple(self.rng.permutation(ends).tolist())
        return self.network.eval()

    def pick(self, choices: Sequence[Any]) -> Any:
        return choices[int(self.rng.integers(len(choices)))]

    def chance(self, share: float) -> bool:
        return bool(self.rng.random() < share)

    def _try(self) -> None:
        """Add a step if torch computes it and its result is of a usable size."""
        kind = self.pick(self.kinds)
        at = len(self.values) - 1 if self.chance(0.7) else int(self.rng.integers(len(self.values)))
        before = len(self.network.parts)
        step = kind(self, at)
        if step is None:
            return
        try:
            with torch.no_grad():
                made = step(self.network.eval(), self.values)
        except (RuntimeError, ValueError, IndexError, TypeError):
            del self.network.parts[before:]
            return
        usable = isinstance(made, Tensor) and made.dtype == torch.float32 and 0 < made.numel() <= MOST_VALUES
        if (
            usable
            and 2 <= made.ndim <= (5 if self.chance(0.2) else 4)
            and made.shape[0] == 1
            and bool(torch.isfinite(made).all())
            and made.abs().max() < 50
        ):
            self.network.steps.append(step)
            self.network.names.append(kind.__name__)
            self.values.append(made)

    def tensor(self, shape: Sequence[int]) -> Tensor:
        return torch.from_numpy(self.rng.normal(0, 0.7, tuple(shape)).astype(np.float32))

    def operand(self, like: Tensor) -> str:
        """A stored tensor that broadcasts to another: per channel, per row, one value, or the whole map."""
        shape = list(like.shape)
        keep = self.pick([range(len(shape)), [1], [len(shape) - 1], [], range(1, len(shape))])
        sides = [side if axis in keep else 1 for axis, side in enumerate(shape)]
        while len(sides) > 1 and sides[0] == 1 and self.chance(0.4):
            sides = sides[1:]
        return self.network.stored(self.tensor(sides), self.chance(0.5))

    def module(self, part: nn.Module) -> int:
        self.network.parts.append(randomised_part(part, self.rng))
        return len(self.network.parts) - 1

    def same_shape(self, at: int) -> int:
        found = [n for n, value in enumerate(self.values) if value.shape == self.values[at].shape]
        return int(self.pick(found))


def randomised_part(part: nn.Module, rng: np.random.Generator) -> nn.Module:
    """BatchNorm statistics that are anything but neutral."""
    if isinstance(part, nn.modules.batchnorm._BatchNorm):
        size = (part.num_features,)
        part.running_mean = torch.from_numpy(rng.normal(0, 0.4, size).astype(np.float32))
        part.running_var = torch.from_numpy(rng.uniform(0.2, 2.0, size).astype(np.float32))
        if part.affine:
            part.weight.data = torch.from_numpy(rng.uniform(0.4, 2.0, size).astype(np.float32))
            part.bias.data = torch.from_numpy(rng.normal(0, 0.5, size).astype(np.float32))
    return part
