"""Quantization-aware training computes what the integer graph computes, and trains the float weights."""

from __future__ import annotations

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rnnpool_mcu.frontends.torch.front import import_exported  # noqa: E402
from rnnpool_mcu.importing.checkpoint import TORCH_CONVERTERS  # noqa: E402
from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8  # noqa: E402
from rnnpool_mcu.nn import ConvBNReLU6, L2Norm, RNNPool  # noqa: E402
from rnnpool_mcu.quantize.post_training import quantize_model  # noqa: E402
from rnnpool_mcu.quantize.qat import QatModule  # noqa: E402

SIZE = (24, 32, 1)


class Small(torch.nn.Module):
    """Convolution with BatchNorm, RNNPool, normalisation, residual, a convolution without BatchNorm."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = ConvBNReLU6(1, 4, kernel=3, stride=2)
        self.pool = RNNPool(4, 4, 4, patch=4, stride=2)
        self.first, self.second = ConvBNReLU6(16, 8, kernel=3), ConvBNReLU6(8, 8, kernel=3)
        self.norm = L2Norm(8, 5.0)
        self.head = torch.nn.Conv2d(8, 3, 3, padding=1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.first(self.pool(self.stem(x)))
        return self.head(self.norm(x + self.second(x)))


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.rand(8, 1, *SIZE[:2], generator=torch.Generator().manual_seed(3))


@pytest.fixture(scope="module")
def model(images: torch.Tensor) -> Small:
    """A model whose BatchNorms have seen data, so that folding them changes weights and biases."""
    torch.manual_seed(5)
    model = Small().train()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.uniform_(module.bias, -0.3, 0.3)
            module.eps = 1e-3  # not torch's default: it has to survive the folding
    with torch.no_grad():
        for _ in range(30):
            model(images)
    return model.eval()


def test_it_computes_what_the_integer_graph_computes(model: Small, images: torch.Tensor) -> None:
    calibration = quantize_model(model, SIZE, [images]).calibration
    aware = QatModule(model, SIZE, calibration).eval()
    graph = import_exported(
        quantize_model(model, SIZE, calibration=calibration).module, SIZE, TORCH_CONVERTERS
    ).graph
    with torch.no_grad():
        found = aware(images).numpy()
    out = graph.types[graph.outputs[0]]
    steps = np.rint(found / out.scale) + out.zero_point
    differences = []
    for image, result in zip(images, steps, strict=True):
        pixels = np.rint(image.permute(1, 2, 0).numpy() * 255).astype(np.uint8)
        integer = evaluate_graph(graph, image_to_int8(pixels))[graph.outputs[0]]
        differences.append(np.abs(result.transpose(1, 2, 0) - integer))
    # rounding half up here and half to even there, and float32 sums, move a value now and then
    assert np.mean(np.concatenate(differences) > 1) < 0.01
    assert np.mean(np.concatenate(differences) > 0) < 0.2


def test_training_lowers_the_loss_and_the_weights_go_back_into_the_float_model(
    model: Small, images: torch.Tensor
) -> None:
    calibration = quantize_model(model, SIZE, [images]).calibration
    aware = QatModule(model, SIZE, calibration)
    optimizer = torch.optim.Adam(aware.parameters(), lr=0.01)
    wanted = aware(images).detach() * 0.5
    losses = []
    for _ in range(15):
        loss = (aware(images) - wanted).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.7 * losses[0]
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for p in aware.parameters())
    state = aware.float_state()
    fresh = Small()
    missing = fresh.load_state_dict(state, strict=False).missing_keys
    assert all(name.endswith(("zeta", "nu")) for name in missing)
    assert not torch.equal(fresh.pool.rnn1.W, model.pool.rnn1.W)
    for norm in (m for m in fresh.modules() if isinstance(m, torch.nn.BatchNorm2d)):
        norm.eps = 1e-3
    with torch.no_grad():
        assert torch.equal(QatModule(fresh, SIZE, calibration).eval()(images), aware.eval()(images))


def test_a_missing_range_is_named(model: Small, images: torch.Tensor) -> None:
    calibration = dict(quantize_model(model, SIZE, [images]).calibration)
    removed = next(name for name in calibration if name.startswith("head"))
    del calibration[removed]
    with pytest.raises(Exception, match=removed):
        QatModule(model, SIZE, calibration)
