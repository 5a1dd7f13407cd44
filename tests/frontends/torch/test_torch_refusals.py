"""Torch models that are refused: by the operator's name, with its place and what is supported."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from rnnpool_mcu.errors import ModelError  # noqa: E402
from tests.frontends.torch.test_torch_export import conv, imported  # noqa: E402
from tests.torch_models import Lambda  # noqa: E402

REFUSED = {
    "pool": (lambda: nn.Sequential(conv(), nn.MaxPool2d(3, dilation=2)), ["max_pool2d", "'1'", "dilation"]),
    "unknown": (lambda: nn.Sequential(conv(), nn.GLU(1)), ["glu", "'1'", "not supported"]),
    "rms_norm": (lambda: nn.Sequential(conv(), nn.RMSNorm(16)), ["rms_norm", "'1'", "supported-ops"]),
    "bins": (lambda: nn.Sequential(conv(), nn.AdaptiveAvgPool2d(4)), ["'1'", "11x16x8 to 4x4"]),
    "cumsum": (lambda: Lambda(lambda m, x: m.c(x).cumsum(1), c=conv()), ["aten.cumsum"]),
    "masked_attention": (
        lambda: Lambda(
            lambda m, x: F.scaled_dot_product_attention(m.c(x), m.c(x), m.c(x), is_causal=True), c=conv()
        ),
        ["scaled_dot_product_attention", "is_causal"],
    ),
    "quotient": (lambda: Lambda(lambda m, x: m.a(x) / m.b(x), a=conv(), b=conv()), ["div", "multiply"]),
    "same_output": (
        lambda: Lambda(lambda m, x: (lambda y: (y, y))(m.c(x)), c=conv()),
        ["same tensor", "leave one"],
    ),
    "five_dimensions": (
        lambda: Lambda(lambda m, x: torch.stack([m.c(x), m.c(x) + 1], 1), c=conv()),
        ["cat", "at most 4 dimensions"],
    ),
    "indices": (
        lambda: Lambda(lambda m, x: m.c(x).max(1)[1].float(), c=conv()),
        ["to.dtype", "not supported"],
    ),
    "stored_batch": (
        lambda: Lambda(lambda m, x: torch.cat([m.c(x)[:, :, :3, :3], m.c.weight], 0), c=nn.Conv2d(3, 3, 3)),
        ["cat", "batch 3"],
    ),
    "transposed_stride": (
        lambda: nn.Sequential(conv(), nn.ConvTranspose2d(8, 4, 65, 65)),
        ["conv_transpose2d", "'1'", "stride (65, 65)", "1..64"],
    ),
    "stored_matrices": (
        lambda: Lambda(
            lambda m, x: m.c(x) @ m.c.weight.view(8, 3, 9)[:, :, :4].mT[:, :, :].repeat(1, 4, 1)[:, :16],
            c=conv(),
        ),
        ["matmul", "batch of stored matrices"],
    ),
    "matrices_for_one": (
        lambda: Lambda(lambda m, x: m.c(x).mean(1, keepdim=True) @ m.c(x).transpose(2, 3), c=conv()),
        ["matmul", "[1, 1, 11, 16] times [1, 8, 16, 11]", "one second for all"],
    ),
    "in_place": (
        lambda: Lambda(lambda m, x: (lambda y: torch.cat([y[:, :4].relu_(), y], 1))(m.c(x)), c=conv()),
        ["relu_", "in place"],
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_unsupported_models_are_refused_by_operator_and_place(name: str) -> None:
    build, expected = REFUSED[name]
    with pytest.raises(ModelError) as error:
        imported(build())
    assert all(part in str(error.value) for part in expected), error.value
