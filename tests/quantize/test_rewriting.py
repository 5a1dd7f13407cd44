"""Graphs rewritten before they are quantized: values stay, and what cannot be kept is refused by name."""

from __future__ import annotations

from collections.abc import Callable

import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

from torch import Tensor, nn  # noqa: E402

from rnnpool_mcu.errors import ModelError  # noqa: E402
from rnnpool_mcu.nn.aten import aten  # noqa: E402
from rnnpool_mcu.quantize.post_training import export, float_graph  # noqa: E402
from tests.torch_models import Lambda, randomised  # noqa: E402

IMAGE, SIGNAL, VECTOR = (1, 3, 8, 12), (1, 3, 20), (1, 12)


def norm(seed: int, kind: type[nn.Module] = nn.BatchNorm2d, channels: int = 6) -> nn.Module:
    return randomised(kind(channels), seed)  # type: ignore[call-arg]


def tied() -> nn.Module:
    """Two convolutions with one parameter, each with a BatchNorm of its own."""
    a, b = nn.Conv2d(3, 6, 3, bias=False), nn.Conv2d(3, 6, 3, bias=False)
    b.weight = a.weight
    return Lambda(lambda m, x: (m.first(m.a(x)), m.second(m.b(x))), a=a, b=b, first=norm(1), second=norm(2))


MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "shared convolution, two norms": (
        lambda: Lambda(
            lambda m, x: (m.a(m.c(x)), m.b(m.c(x[:, :, 1:]))), c=nn.Conv2d(3, 6, 3), a=norm(1), b=norm(2)
        ),
        IMAGE,
    ),
    "shared convolution, one norm": (
        lambda: Lambda(
            lambda m, x: (m.c(x[:, :, 1:]), m.a(m.c(x))), c=nn.Conv2d(3, 6, 3, bias=False), a=norm(1)
        ),
        IMAGE,
    ),
    "one result, two norms": (
        lambda: Lambda(
            lambda m, x: (lambda y: m.a(y) + m.b(y))(m.c(x)), c=nn.Conv2d(3, 6, 3), a=norm(1), b=norm(2)
        ),
        IMAGE,
    ),
    "one result, a norm and itself": (
        lambda: Lambda(lambda m, x: (lambda y: (y, m.a(y)))(m.c(x)), c=nn.Conv2d(3, 6, 3), a=norm(1)),
        IMAGE,
    ),
    "tied parameter": (tied, IMAGE),
    "one channel": (
        lambda: Lambda(
            lambda m, x: (lambda y: (y, m.a(y)))(m.c(x)), c=nn.Conv2d(3, 1, 3), a=norm(1, channels=1)
        ),
        IMAGE,
    ),
    "one channel behind a function": (
        lambda: nn.Sequential(nn.Conv2d(3, 1, 3), nn.ReLU(), norm(1, channels=1)),
        IMAGE,
    ),
    "transposed": (lambda: nn.Sequential(nn.ConvTranspose2d(3, 6, 3, 2, bias=False), norm(1)), IMAGE),
    "without affine": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, affine=False), nn.ReLU(), nn.BatchNorm2d(6, affine=False)
        ),
        IMAGE,
    ),
    "signal": (
        lambda: nn.Sequential(
            nn.Conv1d(3, 6, 3), norm(1, nn.BatchNorm1d), nn.ReLU(), norm(2, nn.BatchNorm1d)
        ),
        SIGNAL,
    ),
    "linear": (
        lambda: Lambda(
            lambda m, x: (m.a(m.l(x)), m.b(m.l(x + 1))),
            l=nn.Linear(12, 6),
            a=norm(1, nn.BatchNorm1d),
            b=norm(2, nn.BatchNorm1d),
        ),
        VECTOR,
    ),
    "linear behind a function": (
        lambda: nn.Sequential(nn.Linear(12, 6), nn.ReLU(), norm(1, nn.BatchNorm1d), nn.Linear(6, 2)),
        VECTOR,
    ),
    "linear of tokens": (  # the linear layer works along the last dimension, the norm along the second
        lambda: nn.Sequential(nn.Linear(20, 3), norm(1, nn.BatchNorm1d, 3)),
        SIGNAL,
    ),
    "grouped transposed": (
        lambda: nn.Sequential(nn.ConvTranspose2d(3, 6, 3, 2, 1, groups=3, bias=False), norm(1)),
        IMAGE,
    ),
    "dilated transposed": (lambda: nn.ConvTranspose2d(3, 4, (2, 3), dilation=(2, 3)), IMAGE),
    "dilated transposed with more behind": (
        lambda: nn.Sequential(
            nn.ConvTranspose2d(3, 4, 3, 1, 1, output_padding=1, dilation=2), norm(1, channels=4)
        ),
        IMAGE,
    ),
    "grouped, dilated, transposed signal": (
        lambda: nn.Sequential(nn.Conv1d(3, 4, 1), nn.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2, dilation=2)),
        SIGNAL,
    ),
    "normalised weights": (
        lambda: nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 6, 3)), norm(1)),
        IMAGE,
    ),
}


def outputs(module: Callable[[Tensor], Tensor | tuple[Tensor, ...]], x: Tensor) -> tuple[Tensor, ...]:
    with torch.no_grad():
        made = module(x)
    return made if isinstance(made, tuple) else (made,)


@pytest.mark.parametrize("name", MODELS)
def test_the_rewritten_graph_computes_what_the_module_does(name: str) -> None:
    build, shape = MODELS[name]
    torch.manual_seed(3)
    model, x = build().eval(), torch.rand(shape)
    graph = float_graph(export(model, torch.zeros(shape)))
    for made, wanted in zip(outputs(graph, x), outputs(model, x), strict=True):
        torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-5)
    assert not any(node.target is aten.batch_norm.default for node in graph.graph.nodes)


def test_the_module_itself_keeps_its_weights() -> None:
    model = MODELS["tied parameter"][0]().eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    float_graph(export(model, torch.zeros(IMAGE)))
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def poked(path: str, value: float) -> nn.Module:
    model = randomised(nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 2, 1)))
    dict([*model.named_parameters(), *model.named_buffers()])[path].data.view(-1)[1] = value
    return model


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("path", ["0.weight", "1.running_var", "1.bias", "3.bias"])
def test_parameters_that_are_not_finite_are_named(path: str, value: float) -> None:
    with pytest.raises(ModelError, match=rf"'{path}' \(1 of .*finite"):
        float_graph(export(poked(path, value), torch.zeros(IMAGE)))


def in_training(module: nn.Module) -> nn.Module:
    """A module that stays in training mode."""
    module.eval = lambda: module  # type: ignore[method-assign]
    return module.train()


REFUSED: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "no statistics": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), nn.BatchNorm2d(6, track_running_stats=False)),
        "batch_norm.*'1'.*without running statistics",
    ),
    "norm in training": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), in_training(nn.BatchNorm2d(6))),
        "batch_norm.*'1'.*training mode",
    ),
    "dropout in training": (
        lambda: nn.Sequential(nn.Conv2d(3, 6, 3), in_training(nn.Dropout(0.5))),
        r"dropout.*'1'.*training mode.*module\.eval\(\)",
    ),
    "functional dropout": (
        lambda: Lambda(lambda _, x: nn.functional.dropout(x, 0.5)),
        r"dropout.*training mode.*module\.eval\(\)",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_layers_that_differ_from_call_to_call_are_refused(name: str) -> None:
    build, expected = REFUSED[name]
    with torch.no_grad():
        program = torch.export.export(build(), (torch.zeros(IMAGE),))
    with pytest.raises(ModelError, match=expected):
        float_graph(program)


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_become_float32(precision: torch.dtype) -> None:
    torch.manual_seed(3)
    model = Lambda(
        lambda m, x: torch.softmax(
            m.c(x).float().to(precision) + torch.ones(1, dtype=precision), 1, precision
        ),
        c=nn.Sequential(nn.Conv2d(3, 6, 3), norm(1), nn.ReLU()),
    ).to(precision)
    x = torch.rand(IMAGE)
    graph = float_graph(export(model.eval(), torch.zeros(IMAGE, dtype=precision)))
    (made,), (wanted,) = outputs(graph, x), outputs(model, x.to(precision))
    assert made.dtype == torch.float32
    torch.testing.assert_close(made, wanted.float(), rtol=3e-2, atol=1e-2)
    assert next(model.parameters()).dtype == precision


class Decomposable(nn.Module):
    """Layers that `run_decompositions` writes out."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1, bias=False), norm(1, channels=8), nn.ReLU6())
        self.slopes = nn.Sequential(nn.PReLU(8), nn.PReLU(), nn.MaxPool2d(2, 1), nn.Softplus())
        self.up = nn.Sequential(nn.ConvTranspose2d(8, 4, 2, 2), nn.PixelShuffle(2), nn.PixelUnshuffle(2))
        self.head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(4, 5))
        self.signal = nn.Sequential(nn.Conv1d(4, 4, 3), nn.MaxPool1d(2), nn.Linear(5, 2, bias=False))

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        y = self.up(self.slopes(self.stem(x)))
        padded = nn.functional.pad(y, (1, 2, 0, 1), mode="reflect")
        return self.head(y).softmax(1), self.signal(y.flatten(2)[:, :, :12]), padded


def test_decomposed_programs_have_the_operators_of_exported_ones() -> None:
    torch.manual_seed(3)
    model, x = Decomposable().eval(), torch.rand(IMAGE)
    program = export(model, torch.zeros(IMAGE)).run_decompositions()
    graph = float_graph(program)
    for made, wanted in zip(outputs(graph, x), outputs(model, x), strict=True):
        torch.testing.assert_close(made, wanted, rtol=1e-4, atol=1e-5)
    targets = {node.target for node in graph.graph.nodes}
    assert targets >= {
        aten.conv2d.default,
        aten.conv_transpose2d.input,
        aten.linear.default,
        aten.max_pool2d.default,
        aten.pixel_shuffle.default,
        aten.pixel_unshuffle.default,
        aten.prelu.default,
        aten.softmax.int,
        aten.softplus.default,
    }
    assert not targets & {aten.convolution.default, aten.addmm.default, aten.where.self}
