"""Float models for tests: weights and BatchNorm statistics drawn so that activations have ordinary ranges."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from rnnpool_mcu.zoo import create


def randomised(model: nn.Module, seed: int = 0) -> nn.Module:
    """The model with random BatchNorm parameters and statistics, in evaluation mode."""
    generator = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            size = (module.num_features,)
            module.weight.data = 0.5 + torch.rand(size, generator=generator)
            module.bias.data = torch.rand(size, generator=generator) - 0.3
            module.running_mean = (torch.rand(size, generator=generator) - 0.5) * 0.2
            module.running_var = 0.05 + torch.rand(size, generator=generator) * 0.3
    return model.eval()


def face_m4(hidden: int = 8, seed: int = 0) -> nn.Module:
    """A detector of the zoo with random weights."""
    torch.manual_seed(seed)
    return randomised(create("face-m4", hidden=hidden), seed)


class Lambda(nn.Module):
    """Submodules and a function of them and the input as one module."""

    def __init__(self, function: Callable[..., Tensor | tuple[Tensor, ...]], **modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, ...]:
        return self.function(self, x)
