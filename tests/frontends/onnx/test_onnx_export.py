"""Checkpoints as .onnx files: the same graph again, and any ONNX runtime computes them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnx  # noqa: E402
import onnxruntime  # noqa: E402
from onnx import TensorProto, helper  # noqa: E402
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402

from rnnpool_mcu.cli import main  # noqa: E402
from rnnpool_mcu.errors import ModelError  # noqa: E402
from rnnpool_mcu.frontends.onnx.domain.bodies import OPSET, OWN_DOMAIN, own_functions  # noqa: E402
from rnnpool_mcu.frontends.onnx.domain.export import export_onnx  # noqa: E402
from rnnpool_mcu.frontends.onnx.reader import parse_onnx  # noqa: E402
from rnnpool_mcu.importing import Imported, load_graph, source_runtime  # noqa: E402
from rnnpool_mcu.importing.onnx import convert_model  # noqa: E402
from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8  # noqa: E402
from rnnpool_mcu.ir.graph import Graph, Node  # noqa: E402
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType  # noqa: E402
from rnnpool_mcu.nn import RNNPool  # noqa: E402
from rnnpool_mcu.ops.add import Add  # noqa: E402
from rnnpool_mcu.ops.arg_max import ArgMax  # noqa: E402
from rnnpool_mcu.ops.detector_decode import DetectorDecode, detections_from_bytes  # noqa: E402
from rnnpool_mcu.ops.graph_file import save_graph  # noqa: E402
from rnnpool_mcu.ops.lookup import Lookup  # noqa: E402
from rnnpool_mcu.quantize.calibration import synthetic_images  # noqa: E402
from rnnpool_mcu.validate.source import compare_with_source  # noqa: E402
from rnnpool_mcu.zoo.random_weights import random_checkpoint  # noqa: E402
from tests.torch_models import randomised  # noqa: E402

own = torch.ops.rnnpool_mcu
SHIPPED = Path(__file__).parents[3] / "examples/models/face_m4.pt"
MODELS: dict[str, dict[str, Any]] = {
    "mobilenetv2-rnnpool-0.35": {"resolution": 64, "num_classes": 5},
    "face-quant": {"height": 64, "width": 96},
}
WEIGHTS = ("w1", "u1", "bias_gate1", "bias_update1", "w2", "u2", "bias_gate2", "bias_update2")


def _run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(a) for a in arguments], catch_exceptions=False)


def _stored(graph: Graph, path: Path) -> dict[str, NDArray[Any]]:
    save_graph(graph, path)
    with np.load(path) as archive:
        return dict(archive.items())


def _assert_same(found: Imported, wanted: Imported, folder: Path) -> None:
    """Not a byte of the two graphs differs: names, attributes, weights, order."""
    a, b = _stored(found.graph, folder / "a.npz"), _stored(wanted.graph, folder / "b.npz")
    assert a.keys() == b.keys()
    for name, array in a.items():
        assert array.dtype == b[name].dtype and np.array_equal(array, b[name]), name
    assert found.kind == wanted.kind


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Of a model's name: a folder with model.pt of random weights and the model.onnx made of it."""

    @cache
    def export(name: str) -> Path:
        folder = tmp_path_factory.mktemp("exported")
        random_checkpoint(name, folder / "model.pt", **MODELS[name])
        found = _run("export", "--onnx", folder / "model.pt", "-o", folder / "model.onnx", "--count", 1)
        assert found.exit_code == 0, found.stderr
        assert "RnnPool" in found.stdout and "ranges synthetic" in found.stdout.replace("\n", " ")
        return folder

    return export


@pytest.fixture(params=MODELS)
def exported(request: pytest.FixtureRequest, folder_of: Callable[[str], Path]) -> Path:
    return folder_of(request.param)


def test_the_file_gives_the_same_graph(exported: Path, tmp_path: Path) -> None:
    wanted, found = load_graph(exported / "model.pt", count=1), load_graph(exported / "model.onnx")
    _assert_same(found, wanted, tmp_path)
    for image in map(image_to_int8, synthetic_images(found.graph.input_type.shape, 2, seed=3)):
        ours, theirs = (evaluate_graph(i.graph, image)[i.graph.outputs[0]] for i in (found, wanted))
        assert np.array_equal(ours, theirs)


def test_onnx_runtime_runs_it_without_a_plug_in(exported: Path) -> None:
    onnx.checker.check_model(onnx.load(exported / "model.onnx"), full_check=True)
    imported, runtime = source_runtime(exported / "model.onnx")
    images = synthetic_images(imported.graph.input_type.shape, 2, seed=3)
    found = compare_with_source(imported.graph, runtime, imported.sources, images)
    layers = {layer.layer: layer for layer in found.layers}
    assert found.agrees, {name: dict(layer.alone) for name, layer in layers.items()}
    assert sum(layers["pool"].alone.values()) > 0
    convolutions = [layer for layer in found.layers if layer.operator.endswith("Conv2d")]
    assert len(convolutions) > 10 and all(layer.rate_alone < 0.01 for layer in convolutions)


def test_a_quantized_program_gives_the_same_graph(tmp_path: Path) -> None:
    torch.manual_seed(1)
    layers = (nn.Conv2d(3, 4, 3, 2), nn.BatchNorm2d(4), nn.Hardswish(), RNNPool(4, 6, 5, 6, 4), nn.Flatten())
    module = randomised(nn.Sequential(*layers, nn.Linear(20 * 2 * 3, 7))).eval()
    program = torch.export.export(module, (torch.zeros(1, 3, 22, 30),))
    torch.export.save(program, tmp_path / "float.pt2")
    for index, picture in enumerate(synthetic_images((22, 30, 3), 2)):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        Image.fromarray(picture).save(tmp_path / "pictures" / f"{index}.png")
    found = _run("export", "--onnx", tmp_path / "float.pt2", "-o", tmp_path / "out.onnx")
    assert found.exit_code == 2 and "make one by `rnnpool-mcu quantize float.pt2" in found.stderr
    pictures = ("--calibration", tmp_path / "pictures", "--mean", "0.5", "--std", "0.25,0.3,0.2")
    found = _run("quantize", tmp_path / "float.pt2", *pictures, "-o", tmp_path / "int8.pt2")
    assert found.exit_code == 0, found.stderr
    found = _run("export", "--onnx", tmp_path / "int8.pt2", "-o", tmp_path / "out.onnx")
    assert found.exit_code == 0, found.stderr
    _assert_same(load_graph(tmp_path / "out.onnx"), load_graph(tmp_path / "int8.pt2"), tmp_path)


def test_the_shipped_detector_gives_the_same_graph(tmp_path: Path) -> None:
    out = tmp_path / "face.onnx"
    assert _run("export", "--onnx", SHIPPED, "-o", out, "-q").exit_code == 0
    _assert_same(load_graph(out), load_graph(SHIPPED), tmp_path)


# the operators of our domain, as any runtime computes them


def _in_runtime(
    kind: str, inputs: dict[str, NDArray[np.float32]], decode: Any = None, **attributes: Any
) -> Any:
    heads = {} if decode is None else {"anchors": decode.anchors, "variances": decode.variances}
    given = [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in inputs.items()]
    made = helper.make_tensor_value_info("y", TensorProto.FLOAT, None)
    node = helper.make_node(kind, list(inputs), ["y"], domain=OWN_DOMAIN, **attributes)
    opsets = [helper.make_opsetid("", OPSET), helper.make_opsetid(OWN_DOMAIN, 1)]
    graph = helper.make_graph([node], "one", given, [made])
    functions = own_functions({kind}, **heads)
    model = helper.make_model(graph, opset_imports=opsets, functions=functions, ir_version=8)
    found: NDArray[Any] = onnxruntime.InferenceSession(model.SerializeToString()).run(None, inputs)[0]
    return found


def _normal(*shape: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 1, shape).astype(np.float32)


def test_max_out_and_l2_norm_are_torchs() -> None:
    x, weight = _normal(1, 5, 6, 7), _normal(5, seed=1)
    x[0, :, 2, 3] = 0
    wanted = own.max_out(torch.tensor(x), 3).numpy()
    assert np.array_equal(_in_runtime("MaxOut", {"x": x}, background=3), wanted)
    wanted = own.l2_norm(torch.tensor(x), torch.tensor(weight)).numpy()
    np.testing.assert_allclose(_in_runtime("L2Norm", {"x": x, "weight": weight}), wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("height", "width", "patch", "stride"), [(20, 23, 8, 4), (9, 8, 8, 8), (7, 11, 3, 2)]
)
@pytest.mark.parametrize("nonlinearity", [0, 1])
def test_rnnpool_is_torchs(height: int, width: int, patch: int, stride: int, nonlinearity: int) -> None:
    shapes = ((5, 6), (6, 6), (1, 6), (1, 6), (6, 4), (4, 4), (1, 4), (1, 4))
    weights = {n: _normal(*s, seed=i) / 2 for i, (n, s) in enumerate(zip(WEIGHTS, shapes, strict=True))}
    x = _normal(1, 5, height, width, seed=9)
    attributes = {"patch": patch, "stride": stride, "nonlinearity": nonlinearity}
    found = _in_runtime("RNNPool", {"x": x, **weights}, **attributes)
    wanted = own.rnnpool(*map(torch.tensor, (x, *weights.values())), patch, stride, nonlinearity)
    np.testing.assert_allclose(found, wanted.numpy(), atol=1e-5)


def test_the_decode_finds_the_boxes_of_the_integer_one() -> None:
    decode = DetectorDecode(((16, 4), (32, 8)), (48, 64), 0.3, max_candidates=40, max_detections=12)
    sizes, quantization = ((12, 16), (6, 8)), Quantization(1 / 32, -3)
    values, types = [], []
    random = np.random.default_rng(2)
    for height, width in sizes:
        for channels in (4, 2):
            values.append(random.integers(-128, 128, (height, width, channels), np.int8))
            types.append(TensorType(height, width, channels, quantization))
    wanted = detections_from_bytes(decode.eval_int8(types, values))
    names = [f"{kind}_{level}" for level in (1, 2) for kind in ("loc", "conf")]
    real = [(v.transpose(2, 0, 1)[None] + np.float32(3)) / 32 for v in values]
    found = _in_runtime(
        "DetectorDecode",
        dict(zip(names, real, strict=True)),
        decode,
        anchors=[16, 4, 32, 8],
        image_size=[48, 64],
        variances=[0.1, 0.2],
        score_threshold=0.3,
        iou_threshold=0.45,
        max_candidates=40,
        max_detections=12,
    )
    assert len(wanted) == len(found) > 5
    order = [np.lexsort(boxes[:, :4].round().T) for boxes in (wanted, found)]
    np.testing.assert_allclose(found[order[1]], wanted[order[0]], atol=0.1)


# what cannot be exported or taken back


def _graph(op: Any, scale: float = 0.5, zero_point: int = 0) -> Graph:
    kind = TensorType(4, 4, 3, Quantization(scale, zero_point))
    return Graph(
        "input", kind, (Node("made", op, ("input",) * (2 if isinstance(op, Add) else 1)),), ("made",)
    )


def test_what_cannot_be_exported_is_named() -> None:
    with pytest.raises(ModelError, match="ArgMax 'made': cannot be exported, supported: Add, AveragePool2d"):
        export_onnx(_graph(ArgMax()), {}, {})
    with pytest.raises(ModelError, match="a scale has more digits than a float32"):
        export_onnx(_graph(Add(Quantization(0.1, 0))), {}, {})


def test_tables_come_back_and_run_as_they_are(tmp_path: Path) -> None:
    table = Lookup.of(np.tanh, Quantization(1 / 32, -3), Quantization(1 / 128, 5), "Tanh")
    path = tmp_path / "table.onnx"
    path.write_bytes(export_onnx(_graph(table, 1 / 32, -3), {}, {}))
    imported, runtime = source_runtime(path)
    (node,) = imported.graph.nodes
    assert isinstance(node.op, Lookup) and node.op.function == "Tanh"
    assert np.array_equal(node.op.table, table.table) and node.op.output == table.output
    image = np.random.default_rng(1).integers(-128, 128, (4, 4, 3), np.int8)
    assert np.array_equal(runtime.values(image)["made"], evaluate_graph(imported.graph, image)["made"])


@pytest.mark.parametrize("clamp", [(-128, 127), (-20, 127), (0, 50), (-128, 90), (-7, 127)])
def test_clamps_come_back(clamp: tuple[int, int]) -> None:
    op = Add(Quantization(float(np.float32(0.3)), -7), clamp)
    (node,) = convert_model(parse_onnx(export_onnx(_graph(op), {}, {}), "net")).graph.nodes
    assert node.op == op and node.name == "made"


@pytest.fixture
def detector(folder_of: Callable[[str], Path]) -> bytes:
    return (folder_of("face-quant") / "model.onnx").read_bytes()


def _attribute(kind: str, name: str, value: Any) -> Any:
    def change(model: Any) -> None:
        (node,) = [node for node in model.graph.node if node.op_type == kind]
        kept = [attribute for attribute in node.attribute if attribute.name != name]
        del node.attribute[:]
        node.attribute.extend([*kept, helper.make_attribute(name, value)])

    return change


def _rename(model: Any) -> None:
    (node,) = [node for node in model.graph.node if node.op_type == "MaxOut"]
    node.op_type = "Relu"


def _short_weights(model: Any) -> None:
    (tensor,) = [t for t in model.graph.initializer if t.name.endswith("_u1")]
    tensor.CopyFrom(onnx.numpy_helper.from_array(np.zeros((3, 2), np.float32), tensor.name))


def _missing_weights(model: Any) -> None:
    (node,) = [node for node in model.graph.node if node.op_type == "RNNPool"]
    del node.input[5:]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_attribute("RNNPool", "patch", 0), "patch 0, stride 4, nonlinearity 0, allowed: 1 and more"),
        (_attribute("RNNPool", "patch", 60), "is smaller than its patch"),
        (_attribute("RNNPool", "nonlinearity", 2), "nonlinearity 2, allowed"),
        (_attribute("RNNPool", "stride", 0.5), "attribute stride is 0.5, allowed: an integer"),
        (_short_weights, "rnnpool_mcu.RNNPool, operator"),
        (_missing_weights, "input 5 ('') is computed, supported: stored in the file"),
        (_attribute("MaxOut", "background", 9), "background 9, allowed"),
        (_attribute("DetectorDecode", "anchors", [1, 2, 3]), "allowed: pairs of prior size and stride"),
        (_attribute("DetectorDecode", "variances", [0.1]), "two numbers"),
        (_attribute("DetectorDecode", "max_detections", 0), "max_candidates 400, max_detections 0"),
        (_rename, "rnnpool_mcu.Relu, operator"),
    ],
)
def test_damaged_operators_of_our_domain_are_named(change: Any, words: str, detector: bytes) -> None:
    model = onnx.ModelProto.FromString(detector)
    change(model)
    with pytest.raises(ModelError) as caught:
        convert_model(parse_onnx(model.SerializeToString(), "net"))
    assert words in str(caught.value)


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    found = _run("export", SHIPPED, "-o", tmp_path / "out.onnx")
    assert found.exit_code == 2 and "no format; give --onnx" in found.stderr
    (tmp_path / "net.onnx").write_bytes(b"x")
    found = _run("export", "--onnx", tmp_path / "net.onnx", "-o", tmp_path / "out.onnx")
    assert found.exit_code == 2 and "suffix '.onnx', allowed: .pt, .pth, .pt2" in found.stderr
    assert not (tmp_path / "out.onnx").exists()
