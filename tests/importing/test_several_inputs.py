"""torch modules of several inputs: quantized with tuples or an .npz, compared with torch, compiled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("torchao")

import torch
from torch import Tensor, nn

from rnnpool_mcu.api import CompiledModel, import_torch, quantize_module
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.importing import load_graph, source_runtime
from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.evaluate import evaluate_batch
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.pipeline import Target, generate
from rnnpool_mcu.run import host
from rnnpool_mcu.validate.source import compare_with_source

NAMES = ("picture", "small", "vector")
SHAPES = ((3, 12, 10), (2, 6, 5), (7,))


class Net(nn.Module):
    """A picture, a map of another size, and a vector."""

    def __init__(self) -> None:
        super().__init__()
        self.large = nn.Conv2d(3, 8, 3, 2, 1)
        self.little = nn.Conv2d(2, 8, 3, padding=1)
        self.sensor, self.classes = nn.Linear(7, 6), nn.Linear(14, 4)

    def forward(self, picture: Tensor, small: Tensor, vector: Tensor) -> Tensor:
        x = torch.relu(self.large(picture)) + torch.relu(self.little(small))
        return self.classes(torch.cat([x.mean((2, 3)), torch.relu(self.sensor(vector))], 1))


@pytest.fixture(scope="module")
def net() -> Net:
    torch.manual_seed(3)
    return Net().eval()


def _values(count: int, seed: int) -> tuple[Tensor, ...]:
    made = torch.Generator().manual_seed(seed)
    picture, small, vector = (torch.randn((count, *shape), generator=made) for shape in SHAPES)
    return torch.sigmoid(picture), small, 3 * vector


CALIBRATION = [_values(4, seed) for seed in range(4)]


def test_outputs_are_the_modules(net: Net) -> None:
    found = import_torch(net, _values(1, 9), CALIBRATION)
    assert found.floating is not None and found.floating.compare().cosine > 0.99
    graph = run_passes(found.graph)
    assert tuple(given.name for given in graph.inputs) == NAMES
    assert graph.inputs[0].type.scale == pytest.approx(1 / 255)
    assert graph.inputs[2].type.scale > 0.03
    model = CompiledModel(Path(), {}, graph, found.shapes, found.outputs)
    given = _values(1, 20)
    with torch.no_grad():
        wanted = net(*given).numpy()
    (got,) = model.predict(*given)
    assert np.abs(got - wanted).max() < 0.06 * np.abs(wanted).max() + 0.02
    with pytest.raises(UsageError, match="1 inputs, allowed: one for each of picture, small, vector"):
        model.run(given[0])


def test_the_c_and_torch_give_the_same(net: Net, tmp_path: Path) -> None:
    path = tmp_path / "net.pt2"
    torch.export.save(quantize_module(net, _values(1, 9), CALIBRATION), path)
    imported, runtime = source_runtime(path)
    rng = np.random.default_rng(0)
    shapes = [given.type.shape for given in imported.graph.inputs]
    batch = Batch.independent(*(rng.integers(0, 256, (8, *shape), dtype=np.uint8) for shape in shapes))
    assert compare_with_source(imported.graph, runtime, imported.sources, batch).agrees
    graph = load_graph(path).graph
    target = Target("net", 1 << 18, "streamed", "mps2-an386", "test network", "none")
    generate(graph, target, tmp_path / "out", place_effort=0)
    expected = [values[graph.outputs[0]].tobytes() for values in evaluate_batch(graph, batch)]
    assert list(host.run(tmp_path / "out", batch).outputs) == expected


def test_a_float_file_is_quantized_with_an_array_for_each(net: Net, tmp_path: Path) -> None:
    path, arrays = tmp_path / "net.pt2", tmp_path / "typical.npz"
    torch.export.save(torch.export.export(net, _values(1, 9)), path)
    np.savez(arrays, **{n: v.numpy() for n, v in zip(NAMES, _values(20, 1), strict=True)})
    found = load_graph(path, calibration=arrays)
    assert found.calibration == "20 rows of typical.npz"
    assert len(found.graph.inputs) == 3


BAD: dict[str, tuple[Any, str]] = {
    "none": (None, "none given for a float model; give tuples of a float tensor of each of 'picture'"),
    "one_tensor": (torch.zeros(1, 3, 12, 10), "allowed: tuples of a tensor of each"),
    "too_few": ([(torch.zeros(1, 3, 12, 10),)], "allowed: tuples of a tensor of each"),
    "other_counts": ([(*_values(2, 0)[:2], _values(3, 0)[2])], "allowed: as many of each"),
    "other_shape": ([(*_values(2, 0)[:2], torch.zeros(2, 8))], "input 0 is float32"),
    "nan": ([(*_values(2, 0)[:2], torch.full((2, 7), float("nan")))], "holds NaN or infinity"),
    "nothing": ([], "it is empty"),
}


@pytest.mark.parametrize("name", BAD)
def test_other_calibrations_are_refused(name: str, net: Net) -> None:
    given, words = BAD[name]
    with pytest.raises(UsageError) as caught:
        import_torch(net, _values(1, 9), given)
    assert words in str(caught.value)


def test_a_file_of_other_arrays_is_refused(net: Net, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", picture=np.zeros((2, 3, 12, 10), np.float32))
    with pytest.raises(UsageError, match=r"holds 'picture' \[2, 3, 12, 10\], allowed: as many rows of each"):
        import_torch(net, _values(1, 9), tmp_path / "x.npz")
    (tmp_path / "y.npz").write_bytes(b"nothing")
    with pytest.raises(UsageError, match=r"is no \.npz file"):
        import_torch(net, _values(1, 9), tmp_path / "y.npz")
