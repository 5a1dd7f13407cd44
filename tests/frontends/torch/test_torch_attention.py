"""What transformers are made of, from torch: matrix products, attention, normalizations, encoder layers."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

import torch.nn.functional as F  # noqa: E402
from torch import nn  # noqa: E402

from rnnpool_mcu.ops.layer_norm import LayerNorm  # noqa: E402
from rnnpool_mcu.ops.mat_mul import MatMul  # noqa: E402
from rnnpool_mcu.quantize.rewriting.canonical import canonical  # noqa: E402
from tests.frontends.torch.test_torch_export import assert_as_torch, conv, imported  # noqa: E402
from tests.torch_models import Lambda  # noqa: E402


class Patches(nn.Module):
    """Rows of 8 values from a map, as vision transformers begin, and what reads them."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.embed, self.layer = nn.Conv2d(3, 8, 4, 4), layer

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.layer(self.embed(x).flatten(2).transpose(1, 2))


class Packed(nn.Module):
    """Attention of two heads whose three layers are one, as timm has it."""

    def __init__(self, unbound: bool) -> None:
        super().__init__()
        self.qkv, self.out, self.unbound = nn.Linear(8, 24), nn.Linear(8, 8), unbound

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        parts = self.qkv(x).unflatten(2, (3, 2, 4)).permute(2, 0, 3, 1, 4)
        q, k, v = parts.unbind(0) if self.unbound else (parts[0], parts[1], parts[-1])
        return self.out(F.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class Itself(nn.Module):
    """torch's own attention, of rows to themselves; some expect the batch second."""

    def __init__(self, batch_first: bool) -> None:
        super().__init__()
        self.attend, self.batch_first = nn.MultiheadAttention(8, 2, batch_first=batch_first), batch_first

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = x if self.batch_first else x.transpose(0, 1)
        found = self.attend(x, x, x, need_weights=False)[0]
        return found if self.batch_first else found.transpose(0, 1)


MODELS = {
    "products": lambda: Lambda(
        lambda m, x: (
            m.c(x).flatten(2).transpose(1, 2) @ m.c(x).flatten(2) * 0.1,
            m.c(x) @ m.c(x).transpose(2, 3),
            m.c(x) @ m.c(x).amax(1, keepdim=True).transpose(2, 3),
            m.l(m.c(x)).flatten(2) @ m.l(m.c(x)).flatten(2).transpose(-1, -2),
        ),
        c=conv(),
        l=nn.Linear(16, 11),
    ),
    "products_with_stored_matrices": lambda: Lambda(
        lambda m, x: (m.c(x) @ m.k.weight.t(), m.k.weight[None] @ m.c(x).transpose(2, 3)),
        c=conv(),
        k=nn.Linear(16, 5),
    ),
    "heads": lambda: Lambda(
        lambda m, x: (
            lambda h: (
                (torch.softmax(h(m.q) @ h(m.k).transpose(-1, -2) / 2, -1) @ h(m.v)).transpose(1, 2).flatten(2)
            )
        )(lambda f: f(m.c(x).flatten(2).transpose(1, 2)).unflatten(2, (2, 4)).transpose(1, 2)),
        c=conv(stride=3),
        q=nn.Linear(8, 8),
        k=nn.Linear(8, 8),
        v=nn.Linear(8, 8),
    ),
    "attention": lambda: Patches(
        Lambda(
            lambda m, x: F.scaled_dot_product_attention(m.q(x), m.k(x), x),
            q=nn.Linear(8, 8),
            k=nn.Linear(8, 8),
        )
    ),
    "packed_attention": lambda: Patches(Packed(True)),
    "selected_attention": lambda: Patches(Packed(False)),
    "multihead_attention": lambda: Patches(Itself(True)),
    "multihead_attention_batch_second": lambda: Patches(Itself(False)),
    "layer_norm": lambda: Patches(nn.LayerNorm(8)),
    "layer_norms_of_other_sides": lambda: nn.Sequential(
        conv(), nn.LayerNorm(16), nn.LayerNorm((11, 16), elementwise_affine=False), nn.LayerNorm((8, 11, 16))
    ),
    "layer_norm_of_a_vector": lambda: nn.Sequential(
        conv(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.LayerNorm(8, bias=False)
    ),
    "layer_norm_of_channels_last": lambda: Lambda(
        lambda m, x: m.n(m.c(x).permute(0, 2, 3, 1)).permute(0, 3, 1, 2), c=conv(), n=nn.LayerNorm(8)
    ),
    "group_norm": lambda: nn.Sequential(
        conv(), nn.GroupNorm(2, 8), nn.ReLU(), nn.GroupNorm(1, 8, affine=False)
    ),
    "instance_norm": lambda: nn.Sequential(conv(), nn.InstanceNorm2d(8, affine=True)),
    "encoder_norm_first": lambda: Patches(
        nn.TransformerEncoderLayer(8, 2, 12, 0.0, F.gelu, batch_first=True, norm_first=True)
    ),
    "encoder_norm_last": lambda: Patches(nn.TransformerEncoderLayer(8, 2, 12, batch_first=True)),
}


@pytest.mark.parametrize("name", MODELS)
def test_every_operator_computes_what_torch_quantized_does(name: str) -> None:
    torch.manual_seed(3)
    assert_as_torch(MODELS[name]().eval())


def test_a_second_matrix_that_stands_transposed_is_read_so() -> None:
    found, _ = imported(
        Lambda(lambda m, x: m.c(x).flatten(2) @ m.d(x).flatten(2).transpose(1, 2), c=conv(), d=conv())
    )
    (product,) = (node.op for node in found.graph.nodes if isinstance(node.op, MatMul))
    assert not product.transposed  # channels first, a matrix of rows by channels is given
    found, _ = imported(
        Patches(Lambda(lambda m, x: m.q(x) @ m.k(x).mT, q=nn.Linear(8, 8), k=nn.Linear(8, 8)))
    )
    assert [node.op.transposed for node in found.graph.nodes if isinstance(node.op, MatMul)] == [True]


@pytest.mark.parametrize("name", ["layer_norm", "group_norm", "packed_attention", "encoder_norm_first"])
def test_decomposed_programs_are_the_same(name: str) -> None:
    """Core ATen's names of these operators become those that torch.export writes."""
    torch.manual_seed(3)
    model, image = MODELS[name]().eval(), torch.rand(1, 3, 13, 18)
    program = torch.export.export(model, (image,))
    graph = canonical(program.run_decompositions().module(check_guards=False))
    assert not [
        node for node in graph.graph.nodes if node.op == "call_function" and "native_" in str(node.target)
    ]
    assert torch.allclose(graph(image), model(image), atol=1e-5)


def test_normalized_values_are_scaled_with_the_layer() -> None:
    found, _ = imported(Patches(nn.LayerNorm(8)).eval())
    assert isinstance(found.graph.nodes[-1].op, LayerNorm)
    assert found.graph.nodes[-1].op.epsilon == 1e-5
