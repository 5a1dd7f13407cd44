"""Networks from torch modules, beside the float module and torch's own quantized one."""

from __future__ import annotations

from rnnpool_mcu.errors import ModelError
from tests.frontends.torch.test_differential import differs, imported
from tests.soak.networks.network import Disagreement, Drawn, joined, network


def torch_networks(seed: int, count: int) -> Drawn:
    """So many random modules."""
    return joined([_one(seed * 1000 + i) for i in range(count)])


def _one(seed: int) -> Drawn:
    try:
        module = imported(seed)
    except ModelError as error:
        return Drawn(refused=[str(error)])
    made = [network("torch", seed, module.found.graph)]
    problem = differs(module)
    if not problem:
        return Drawn(made, compared=1)
    return Drawn(made, (), 1, [Disagreement("torch", seed, problem)])
