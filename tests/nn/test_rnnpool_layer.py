"""The float RNNPool against an independent implementation of the equations, its gradient and its export."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
sys.path.insert(0, str(Path(__file__).parent))

import reference_rnnpool as reference  # noqa: E402

from rnnpool_mcu.nn import FastGRNNCell, L2Norm, MaxOut, RNNPool  # noqa: E402
from rnnpool_mcu.nn import rnnpool as rnnpool_file  # noqa: E402

# images, channels, height, width, patch, stride, h1, h2
SHAPES = [
    (1, 4, 8, 8, 8, 4, 16, 16),
    (2, 4, 20, 28, 8, 4, 16, 16),
    (1, 3, 13, 17, 6, 4, 8, 8),  # two pixels left over below, three on the right
    (1, 2, 9, 7, 3, 2, 5, 3),
    (1, 2, 9, 11, 4, 4, 4, 6),  # stride = patch: nothing to share
    (1, 1, 11, 8, 3, 5, 4, 4),  # stride > patch: pixels that no patch covers
    (3, 2, 6, 6, 2, 1, 3, 3),
    (1, 2, 5, 6, 1, 1, 3, 2),
]


def double_layer(shape: tuple[int, ...], nonlinearity: str = "tanh/sigmoid") -> RNNPool:
    torch.manual_seed(sum(shape))
    _, channels, _, _, patch, stride, hidden1, hidden2 = shape
    layer = RNNPool(channels, hidden1, hidden2, patch, stride, nonlinearity).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, std=0.6)
    return layer


def cell_of(cell: FastGRNNCell) -> reference.Cell:
    return {name: value.detach().numpy() for name, value in cell.named_parameters()}


def expected(layer: RNNPool, x: torch.Tensor, piecewise_linear: bool = False) -> np.ndarray:
    cells = cell_of(layer.rnn1), cell_of(layer.rnn2)
    return reference.rnnpool(x.numpy(), *cells, layer.patch, layer.stride, piecewise_linear)


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("training", [False, True])
def test_equals_the_equations(shape: tuple[int, ...], training: bool) -> None:
    layer = double_layer(shape).train(training)
    x = torch.randn(shape[:4], dtype=torch.float64)
    out = layer(x).detach().numpy()
    np.testing.assert_allclose(out, expected(layer, x), rtol=0, atol=1e-12)


def test_equals_the_equations_with_piecewise_linear_functions() -> None:
    shape = (1, 3, 13, 17, 6, 4, 8, 8)
    layer = double_layer(shape, "quantTanh/quantSigmoid").eval()
    x = torch.randn(shape[:4], dtype=torch.float64)
    np.testing.assert_allclose(layer(x).detach().numpy(), expected(layer, x, True), rtol=0, atol=1e-12)


def test_float32_stays_close_to_the_equations() -> None:
    shape = (2, 4, 20, 28, 8, 4, 16, 16)
    layer = double_layer(shape).eval()
    x = torch.randn(shape[:4], dtype=torch.float64)
    wanted = expected(layer, x)
    np.testing.assert_allclose(layer.float()(x.float()).detach().numpy(), wanted, rtol=0, atol=5e-6)


def test_chunks_of_images_do_not_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = double_layer((3, 2, 6, 6, 2, 1, 3, 3)).train()
    x = torch.randn(5, 2, 6, 6, dtype=torch.float64)
    whole = layer(x)
    whole.sum().backward()
    gradients = [p.grad.clone() for p in layer.parameters()]
    layer.zero_grad()
    monkeypatch.setattr(rnnpool_file, "TRACE_FLOATS_PER_CHUNK", 1)
    parts = layer(x)
    parts.sum().backward()
    torch.testing.assert_close(parts, whole, rtol=0, atol=1e-14)  # a matrix product may round otherwise
    for gradient, parameter in zip(gradients, layer.parameters(), strict=True):
        torch.testing.assert_close(parameter.grad, gradient, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("nonlinearity", [0, 1])
@pytest.mark.parametrize("path", ["training", "operator"])
def test_gradient(nonlinearity: int, path: str) -> None:
    torch.manual_seed(3)
    shapes = [(2, 2, 7, 8), (2, 3), (3, 3), (1, 3), (1, 3), (3, 2), (2, 2), (1, 2), (1, 2)]
    inputs = [torch.randn(s, dtype=torch.float64).mul_(0.4).requires_grad_() for s in shapes]

    def run(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        if path == "operator":
            return torch.ops.rnnpool_mcu.rnnpool(x, *weights, 3, 2, nonlinearity)
        return rnnpool_file._RNNPoolFunction.apply(x, 3, 2, nonlinearity, *weights)

    assert torch.autograd.gradcheck(run, inputs)


@pytest.mark.parametrize("nonlinearity", ["tanh/sigmoid", "quantTanh/quantSigmoid"])
def test_cell_equals_a_plain_loop_and_its_gradient(nonlinearity: str) -> None:
    torch.manual_seed(5)
    cell = FastGRNNCell(3, 4, nonlinearity).double()
    x = torch.randn(5, 2, 3, dtype=torch.float64)
    wanted = [
        reference.sweep(cell_of(cell), list(x[:, n].numpy()), "quant" in nonlinearity) for n in range(2)
    ]
    np.testing.assert_allclose(cell(x).detach().numpy(), np.stack(wanted), rtol=0, atol=1e-12)

    def run(x: torch.Tensor, *weights: torch.Tensor) -> torch.Tensor:
        return torch.func.functional_call(cell, dict(zip("WU", weights, strict=True)), x)

    assert torch.autograd.gradcheck(run, (x.requires_grad_(), cell.W, cell.U))


def test_operator_checks() -> None:
    layer = double_layer((1, 2, 9, 7, 3, 2, 5, 3)).float()
    first, second = layer.rnn1, layer.rnn2
    weights = [w.detach() for c in (first, second) for w in (c.W, c.U, c.bias_gate, c.bias_update)]
    torch.library.opcheck(torch.ops.rnnpool_mcu.rnnpool.default, (torch.randn(2, 2, 9, 7), *weights, 3, 2, 0))
    torch.library.opcheck(torch.ops.rnnpool_mcu.l2_norm.default, (torch.randn(2, 3, 4, 5), torch.randn(3)))
    torch.library.opcheck(torch.ops.rnnpool_mcu.max_out.default, (torch.randn(2, 4, 3, 5), 3))


def test_input_smaller_than_the_patch_is_refused() -> None:
    with pytest.raises(ValueError, match="7x9 is smaller than its patch 8x8"):
        double_layer((1, 4, 8, 8, 8, 4, 16, 16))(torch.zeros(1, 4, 7, 9, dtype=torch.float64))


@pytest.mark.parametrize(("name", "value"), [("zeta", 1.0), ("nu", -4.0)])
def test_trainable_zeta_and_nu_are_refused(name: str, value: float) -> None:
    layer = RNNPool(2, 3, 3, 2, 2)
    state = layer.state_dict()
    state[f"rnn1.{name}"] = torch.full((1, 1), value)
    with pytest.raises(ValueError, match=f"rnn1.{name}.*supported only"):
        layer.load_state_dict(state)


def test_unknown_nonlinearity_is_refused() -> None:
    with pytest.raises(ValueError, match="'relu' is not known"):
        FastGRNNCell(2, 3, "relu")


def test_l2_norm_and_max_out() -> None:
    torch.manual_seed(7)
    norm, x = L2Norm(3, 10).double(), torch.randn(2, 3, 4, 5, dtype=torch.float64, requires_grad=True)
    wanted = x / x.norm(dim=1, keepdim=True) * 10
    torch.testing.assert_close(norm(x), wanted, rtol=1e-9, atol=1e-9)
    assert torch.autograd.gradcheck(torch.ops.rnnpool_mcu.l2_norm, (x, norm.weight))
    scores = torch.randn(2, 4, 3, 2, dtype=torch.float64, requires_grad=True)
    out = MaxOut(3)(scores)
    assert torch.equal(out[:, 0], scores[:, :3].max(dim=1).values)
    assert torch.equal(out[:, 1], scores[:, 3])
    assert torch.autograd.gradcheck(lambda s: torch.ops.rnnpool_mcu.max_out(s, 3), (scores,))


def test_l2_norm_of_zeros_is_zero() -> None:
    assert torch.equal(L2Norm(3, 10)(torch.zeros(1, 3, 2, 2)), torch.zeros(1, 3, 2, 2))
