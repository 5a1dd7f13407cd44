"""`rnnpool_mcu.compile`: a torch module in, a proven folder out; and what it says of wrong input."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

from torch import nn  # noqa: E402

import rnnpool_mcu  # noqa: E402
from rnnpool_mcu.api import import_torch  # noqa: E402
from rnnpool_mcu.errors import BudgetError, ModelError, UsageError, UserError  # noqa: E402
from rnnpool_mcu.importing import load_graph, source_runtime  # noqa: E402
from rnnpool_mcu.importing.imported import Normalisation, Preprocessing  # noqa: E402
from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8  # noqa: E402
from rnnpool_mcu.ir.tensor_type import Quantization  # noqa: E402
from rnnpool_mcu.nn import RNNPool  # noqa: E402
from rnnpool_mcu.run import host  # noqa: E402
from rnnpool_mcu.validate.source import compare_with_source  # noqa: E402
from tests.torch_models import randomised  # noqa: E402

EXAMPLE = torch.zeros(1, 3, 16, 16)


def small() -> nn.Module:
    """A network with dropout, in training mode."""
    torch.manual_seed(0)
    layers = [nn.Conv2d(3, 6, 3, 2), nn.BatchNorm2d(6), nn.ReLU(), nn.Dropout(0.5), nn.Conv2d(6, 5, 3)]
    return randomised(nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten())).train()


def inputs(count: int = 4) -> Any:
    return torch.rand(count, 3, 16, 16, generator=torch.Generator().manual_seed(1))


def pictures(count: int = 3) -> Any:
    return np.random.default_rng(2).integers(0, 256, (count, 16, 16, 3), np.uint8)


def picture_folder(path: Path) -> Path:
    from PIL import Image

    path.mkdir()
    for index, picture in enumerate(pictures()):
        Image.fromarray(picture).save(path / f"{index}.png")
    return path


def test_importing_the_package_imports_no_framework() -> None:
    code = "import sys, rnnpool_mcu; rnnpool_mcu.compile; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_a_module_becomes_a_folder_whose_c_gives_its_values(tmp_path: Path) -> None:
    model = small()
    compiled = rnnpool_mcu.compile(model, EXAMPLE, inputs(), ram="32k", out=tmp_path / "out", name="net")
    assert model.training and model[3].training  # as it was
    assert compiled.ram_bytes <= 32 * 1024 and (compiled.folder / "src" / "net.h").is_file()
    shown = pictures()
    given = host.run(compiled.folder, shown).outputs
    assert [b"".join(o.tobytes() for o in compiled.run(picture)) for picture in shown] == list(given)
    real = torch.from_numpy(shown[0]).permute(2, 0, 1)[None].float() / 255
    (predicted,) = compiled.predict(real)
    step = compiled.graph.types[compiled.graph.outputs[0]].scale  # type: ignore[union-attr]
    assert predicted.shape == (1, 5)
    with torch.no_grad():
        assert np.abs(predicted.ravel() - model.eval()(real).numpy().ravel()).max() < 4 * step


def test_quantized_programs_travel_through_files(tmp_path: Path) -> None:
    file = tmp_path / "net.pt2"
    torch.export.save(rnnpool_mcu.quantize_module(small(), EXAMPLE, inputs()), file)
    imported, runtime = source_runtime(file)
    compared = compare_with_source(imported.graph, runtime, imported.sources, pictures())
    assert compared.agrees and len(compared.layers) == 3 and compared.same_top1 == 3
    direct = import_torch(small(), EXAMPLE, inputs()).graph
    for picture in map(image_to_int8, pictures()):
        ours, theirs = evaluate_graph(load_graph(file).graph, picture), evaluate_graph(direct, picture)
        assert (ours[imported.graph.outputs[0]] == theirs[direct.outputs[0]]).all()


def test_float_files_are_quantized_with_normalised_pictures(tmp_path: Path) -> None:
    file, folder = tmp_path / "net.pt2", picture_folder(tmp_path / "pictures")
    torch.export.save(torch.export.export(small().eval(), (EXAMPLE,)), file)
    normalisation = Normalisation((0.4, 0.5, 0.6), (0.25,))
    loaded = load_graph(file, calibration=folder, count=3, preprocessing=Preprocessing(normalisation))
    graph = loaded.graph
    assert (graph.input_type.scale, graph.input_type.zero_point) == (float(np.float32(1 / 255)), -128)
    assert loaded.calibration == "3 images of pictures"
    picture = pictures()[0]
    real = torch.from_numpy(picture).permute(2, 0, 1)[None].float() / 255
    with torch.no_grad():
        expected = small().eval()((real - torch.tensor([0.4, 0.5, 0.6]).view(1, 3, 1, 1)) / 0.25).numpy()
    output = graph.types[graph.outputs[0]]
    found = evaluate_graph(graph, image_to_int8(picture))[graph.outputs[0]].astype(np.float64)
    assert np.abs((found - output.zero_point) * output.scale - expected).max() < 6 * output.scale  # type: ignore[union-attr]


def test_rnnpool_layers_are_taken_from_files(tmp_path: Path) -> None:
    file = tmp_path / "net.pt2"
    model = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU6(), RNNPool(4, 4, 4, patch=4, stride=4))
    torch.export.save(rnnpool_mcu.quantize_module(model, EXAMPLE, inputs()), file)
    assert [type(node.op).__name__ for node in load_graph(file).graph.nodes] == ["Conv2d", "RnnPool"]


def test_inputs_beyond_pixels_get_a_range_of_their_own() -> None:
    graph = import_torch(small(), EXAMPLE, [4 * inputs() - 1.5]).graph
    assert graph.input_type.scale == pytest.approx(4 / 255, rel=0.02)
    assert graph.input_type.zero_point == pytest.approx(-128 + 255 * 1.5 / 4, abs=3)
    assert import_torch(small(), EXAMPLE, pictures()).graph.input_type.quantization == Quantization(
        float(np.float32(1 / 255)), -128
    )


def test_a_data_loader_calibrates() -> None:
    batches = [(inputs(), torch.zeros(4)), (inputs(), torch.zeros(4))]
    assert import_torch(small(), EXAMPLE, batches, count=6).calibration == "6 inputs given"


@pytest.mark.parametrize("precision", [torch.float16, torch.bfloat16, torch.float64])
def test_modules_and_programs_of_other_precision_are_taken(precision: torch.dtype) -> None:
    model = small().eval().to(precision)
    program = torch.export.export(model, (EXAMPLE.to(precision),))
    for given, calibration in ((model, inputs()), (program, inputs().to(precision))):
        graph = import_torch(given, EXAMPLE, calibration).graph
        found = evaluate_graph(graph, image_to_int8(pictures()[0]))[graph.outputs[0]].astype(np.float64)
        output = graph.types[graph.outputs[0]]
        real = torch.from_numpy(pictures()[0]).permute(2, 0, 1)[None].to(precision) / 255
        with torch.no_grad():
            expected = model(real).float().numpy()
        assert np.abs((found - output.zero_point) * output.scale - expected).max() < 6 * output.scale  # type: ignore[union-attr]


def test_open_sides_are_those_of_the_example() -> None:
    sides = {0: torch.export.Dim("b"), 2: torch.export.Dim.DYNAMIC}
    model = small().eval()
    open_batch = torch.export.export(model, (inputs(),), dynamic_shapes=({0: sides[0]},))
    open_rows = torch.export.export(model, (inputs(),), dynamic_shapes=(sides,))
    assert import_torch(open_batch, None, inputs()).graph.input_type.shape == (16, 16, 3)
    example = torch.zeros(1, 3, 20, 16)
    graph = import_torch(open_rows, example, torch.rand(2, 3, 20, 16)).graph
    assert graph.input_type.shape == (20, 16, 3)
    with pytest.raises(ModelError, match=r"1,4,20,16: input .*\[s\d+ \(open\), 3, "):
        import_torch(open_rows, torch.zeros(1, 4, 20, 16), inputs())


def test_open_sides_of_a_file_are_told(tmp_path: Path) -> None:
    file, folder = tmp_path / "net.pt2", picture_folder(tmp_path / "pictures")
    sides = {0: torch.export.Dim("b"), 2: torch.export.Dim.DYNAMIC}
    torch.export.save(torch.export.export(small().eval(), (inputs(),), dynamic_shapes=(sides,)), file)
    found = load_graph(file, calibration=folder, count=2, input_shape=(1, 3, 12, 16))
    assert found.graph.input_type.shape == (12, 16, 3)
    with pytest.raises(ModelError, match="give --input-shape"):
        load_graph(file, calibration=folder, count=2)
    with pytest.raises(ModelError, match=r"--input-shape 1,3,12,20: .* where it is open"):
        load_graph(file, calibration=folder, count=2, input_shape=(1, 3, 12, 20))


class Turned(nn.Module):
    """Outputs of other shapes and orders than the graph's values: the last axis is the channels'."""

    def __init__(self) -> None:
        super().__init__()
        self.c = nn.Conv2d(3, 6, 3, 2)

    def forward(self, x: Any) -> Any:
        y = self.c(x)
        return (
            y.permute(0, 2, 3, 1),
            y.mean((2, 3)),
            y.relu().permute(0, 2, 3, 1).reshape(1, -1, 6),
            y[:, :, 1:2],
        )


def test_predict_gives_outputs_as_the_module_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = Turned().eval()
    compiled = rnnpool_mcu.compile(model, EXAMPLE, inputs(), ram="64k", out=tmp_path / "out")
    with torch.no_grad():
        expected = model(inputs()[:1])
    for name, made, wanted in zip(
        compiled.graph.outputs, compiled.predict(inputs()[0]), expected, strict=True
    ):
        assert made.shape == tuple(wanted.shape)
        step = compiled.graph.types[name].scale  # type: ignore[union-attr]
        assert np.abs(made - wanted.numpy()).max() < 4 * step


def quantized_graph() -> Any:
    return import_torch(small(), EXAMPLE, inputs()).module


def test_a_graph_that_was_quantized_is_taken_as_it_is() -> None:
    assert import_torch(quantized_graph(), EXAMPLE, None).calibration == "stored in the model"


class Sum(nn.Module):
    """A module with two inputs."""

    def forward(self, x: Any, y: Any) -> Any:
        return x + y


class Root(nn.Module):
    """Defined for no real number."""

    def forward(self, x: Any) -> Any:
        return (-1 - x * x).sqrt()


REFUSED: dict[str, tuple[Any, type[UserError], list[str]]] = {
    "example": (lambda: import_torch(small(), None, inputs()), UsageError, ["example", "one float tensor"]),
    "no_module": (lambda: import_torch("net.pt2", None, None), UsageError, ["str", "nn.Module"]),
    "two_examples": (
        lambda: import_torch(Sum(), (EXAMPLE, 3), inputs()),
        UsageError,
        ["Tensor, int", "a tuple of one for each input"],
    ),
    "two_inputs": (
        lambda: import_torch(torch.export.export(Sum(), (EXAMPLE, EXAMPLE)), None, inputs()),
        UsageError,
        ["allowed: tuples of a tensor of each of 'x'"],
    ),
    "batch": (lambda: import_torch(small(), inputs(), inputs()), ModelError, ["batch 4", "batch 1"]),
    "dynamic": (
        lambda: import_torch(
            torch.export.export(small().eval(), (inputs(),), dynamic_shapes=({2: torch.export.Dim.DYNAMIC},)),
            None,
            inputs(),
        ),
        ModelError,
        ["not fixed", "dynamic_shapes", "--input-shape"],
    ),
    "operator": (
        lambda: import_torch(nn.Sequential(small(), nn.RMSNorm(5)), EXAMPLE, inputs()),
        ModelError,
        ["aten.rms_norm", "'1'", "supported-ops"],
    ),
    "two_operators": (
        lambda: import_torch(nn.Sequential(nn.GLU(2), small(), nn.RMSNorm(5)), EXAMPLE, inputs()),
        ModelError,
        ["2 operators", "aten.glu", "aten.rms_norm", "supported-ops"],
    ),
    "infinity_on_the_way": (
        lambda: import_torch(nn.Sequential(small(), Root()), EXAMPLE, inputs()),
        ModelError,
        ["aten.sqrt", "NaN or infinity", "calibration input 0"],
    ),
    "no_calibration": (
        lambda: import_torch(small(), EXAMPLE, None),
        UsageError,
        ["none given", "[N, C, H, W]"],
    ),
    "empty": (lambda: import_torch(small(), EXAMPLE, []), UsageError, ["empty"]),
    "empty_tensor": (lambda: import_torch(small(), EXAMPLE, inputs(0)), UsageError, ["empty", "tensor"]),
    "shape": (lambda: import_torch(small(), EXAMPLE, [EXAMPLE[:, :1]]), UsageError, ["[1, 1, 16, 16]"]),
    "integers": (lambda: import_torch(small(), EXAMPLE, EXAMPLE.int()), UsageError, ["int32", "uint8"]),
    "not_finite": (lambda: import_torch(small(), EXAMPLE, EXAMPLE / 0), UsageError, ["input 0", "NaN"]),
    "labels": (lambda: import_torch(small(), EXAMPLE, ["a"]), UsageError, ["holds str"]),
    "name": (lambda: rnnpool_mcu.compile(small(), EXAMPLE, inputs(), name="2x"), UsageError, ["'2x'", "a-z"]),
    "image": (
        lambda: rnnpool_mcu.compile(None, image="stream"),  # type: ignore[arg-type]
        UsageError,
        ["image", "'stream'", "resident, streamed"],
    ),
    "optimize": (
        lambda: rnnpool_mcu.compile(None, optimize="fast"),  # type: ignore[arg-type]
        UsageError,
        ["optimize", "'fast'", "speed, size"],
    ),
    "objective": (
        lambda: rnnpool_mcu.compile(None, objective="RAM"),  # type: ignore[arg-type]
        UsageError,
        ["objective", "'RAM'", "cycles, ram"],
    ),
    "count": (lambda: import_torch(small(), EXAMPLE, inputs(), count=0), UsageError, ["count: 0", "least 1"]),
    "seed": (lambda: import_torch(small(), EXAMPLE, inputs(), seed=-1), UsageError, ["seed: -1", "least 0"]),
    "out": (lambda: rnnpool_mcu.compile(None, out="."), UsageError, ["current folder"]),  # type: ignore[arg-type]
    "header": (lambda: rnnpool_mcu.compile(None, name="math"), UsageError, ["name 'math'", "math.h"]),  # type: ignore[arg-type]
    "size": (lambda: rnnpool_mcu.compile(small(), EXAMPLE, inputs(), ram="lots"), UsageError, ["'lots'"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_wrong_input_is_named_with_the_next_step(name: str) -> None:
    call, kind, expected = REFUSED[name]
    with pytest.raises(kind) as error:
        call()
    assert all(part in str(error.value) for part in expected), error.value


def test_a_budget_that_is_too_small_leaves_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BudgetError):
        rnnpool_mcu.compile(small(), EXAMPLE, inputs(), ram="1k", out=tmp_path / "out")
    assert not list(tmp_path.iterdir())
