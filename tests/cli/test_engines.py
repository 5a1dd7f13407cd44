"""validate, run, evaluate and report on a small compiled model."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from rnnpool_mcu.cli import main
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.conv2d import Conv2d
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.pipeline import Target, compile_graph
from rnnpool_mcu.validate.engines import EVERY

needs_board = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None or shutil.which("arm-none-eabi-gcc") is None,
    reason="qemu-system-arm or arm-none-eabi-gcc is not installed",
)


def _conv(rng: np.random.Generator, out_channels: int, in_channels: int, stride: int) -> Conv2d:
    return Conv2d(
        weights=rng.integers(-127, 128, (out_channels, 3, 3, in_channels)).astype(np.int8),
        bias=rng.integers(-900, 900, out_channels).astype(np.int32),
        weight_scales=rng.uniform(0.001, 0.004, out_channels),
        window=Window((3, 3), (stride, stride), Padding(1, 1, 1, 1)),
        output=Quantization(0.02, 3),
    )


def _graph() -> Graph:
    rng = np.random.default_rng(7)
    nodes = (Node("first", _conv(rng, 4, 3, 2), ("image",)), Node("second", _conv(rng, 5, 4, 1), ("first",)))
    return Graph("image", TensorType(12, 16, 3, Quantization(1 / 255, -128)), nodes, ("second",))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A compiled two-layer classifier, not to be written to."""
    folder = tmp_path_factory.mktemp("compiled") / "tiny"
    folder.mkdir()
    target = Target("tiny", 64 * 1024, "resident", "mps2-an386", "two layers", "tiny.pt")
    compile_graph(_graph(), target, folder)
    return folder


@pytest.fixture
def tiny(compiled: Path, tmp_path: Path) -> Path:
    """A copy of the compiled model of one's own."""
    return Path(shutil.copytree(compiled, tmp_path / "tiny"))


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Three noisy photographs of different sizes."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for number, (height, width) in enumerate([(12, 16), (30, 20), (9, 50)]):
        pixels = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


@needs_board
def test_validate_proves_both_engines_and_fills_in_the_report(
    tiny: Path, photos: Path, tmp_path: Path
) -> None:
    result = _run("validate", tiny, "--images", photos, "--count", "3", "--json", tmp_path / "out.json")
    assert result.exit_code == 0, result.output
    assert "c: equals int8 byte for byte on 3 images" in result.stdout
    assert "qemu: equals int8 byte for byte on 3 images" in result.stdout
    assert json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))["bit_exact"] is True
    report = json.loads((tiny / "report.json").read_text(encoding="utf-8"))
    expected = {"engine": "c+qemu", "images": 3, "bit_exact": True, "first_difference": None}
    assert report["validation"] == expected
    assert report["instructions"] > report["macs"] / 2
    assert 0 < report["ram"]["stack_measured_bytes"] <= report["ram"]["stack_bytes"]
    assert report["ram"]["measured_with_image_bytes"] <= report["ram"]["total_bytes"] <= 64 * 1024


@needs_board
@pytest.mark.parametrize("engine", ["c", "qemu"])
def test_validate_names_the_first_layer_that_differs(tiny: Path, photos: Path, engine: str) -> None:
    weights = tiny / "src" / "tiny_weights.c"
    text = weights.read_text(encoding="utf-8")
    # the first constant of the second layer is the bias of its first channel
    pattern = r"(tiny_second_\w+\[\d+\] = \{\s*)(-?\d+)"
    changed, times = re.subn(pattern, lambda found: f"{found[1]}{int(found[2]) + 9999}", text, count=1)
    assert times == 1
    weights.write_text(changed, encoding="utf-8")
    result = _run("validate", tiny, "--images", photos, "--count", "2", "--engine", engine)
    assert result.exit_code == 5
    assert f"{engine} differs from int8: image 0, layer 2 'second' (conv2d_s8)" in result.stderr
    report = json.loads((tiny / "report.json").read_text(encoding="utf-8"))
    assert report["validation"]["bit_exact"] is False


@needs_board
def test_run_gives_the_outputs_and_what_they_took(tiny: Path, photos: Path, tmp_path: Path) -> None:
    outputs = {}
    for engine in ("int8", "c", "qemu"):
        found = tmp_path / f"{engine}.json"
        result = _run("run", tiny, photos / "1.png", "--engine", engine, "--json", found)
        assert result.exit_code == 0, result.output
        outputs[engine] = json.loads(found.read_text(encoding="utf-8"))
    assert outputs["int8"]["outputs"] == outputs["c"]["outputs"] == outputs["qemu"]["outputs"]
    assert outputs["c"]["instructions"] is None
    assert outputs["qemu"]["instructions"] > 0


def test_run_refuses_boxes_of_a_classifier(tiny: Path, photos: Path, tmp_path: Path) -> None:
    result = _run("run", tiny, photos / "0.png", "-o", tmp_path / "boxes.png")
    assert result.exit_code == 2
    assert "is a classifier, it has no boxes to draw" in result.stderr


@pytest.mark.parametrize("image", ["resident", "streamed"])
def test_a_model_may_be_called_model(image: str, tmp_path: Path, photos: Path) -> None:
    """The runner's own macros begin with MODEL_, as this model's do."""
    folder = tmp_path / "model"
    folder.mkdir()
    target = Target("model", 64 * 1024, image, "mps2-an386", "two layers", "model.pt")
    compile_graph(_graph(), target, folder)
    result = _run("validate", folder, "--images", photos, "--count", "2")
    assert result.exit_code == 0, result.output


def test_report_shows_the_layers(tiny: Path) -> None:
    result = _run("report", tiny)
    assert result.exit_code == 0
    assert " conv2d " in result.stdout
    assert "RAM budget, image resident" in result.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--images", "photos", "--count", "9"], "holds 3 pictures, 9 asked for; give --count 3"),
        (["--images", "empty"], "holds no pictures"),
        (["--images", "broken"], "is not a readable picture"),
        (["--images", "nowhere"], "does not exist"),
    ],
)
def test_validate_refuses_bad_pictures(
    tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    monkeypatch.chdir(photos.parent)
    Path("empty").mkdir()
    Path("broken").mkdir()
    for number in range(10):
        Path("broken", f"{number}.jpg").write_bytes(b"\xff\xd8\xff but no picture")
    result = _run("validate", tiny, *arguments)
    assert result.exit_code == 2
    assert message in result.stderr


@pytest.mark.parametrize(("lost", "code"), [("graph.npz", 3), ("project.json", 2), ("report.json", 2)])
def test_validate_needs_a_whole_folder(tiny: Path, photos: Path, lost: str, code: int) -> None:
    (tiny / lost).unlink()
    result = _run("validate", tiny, "--images", photos, "--count", "1")
    assert result.exit_code == code
    assert lost in result.stderr


@pytest.mark.parametrize(("engine", "tool"), [("c", "gcc"), ("qemu", "qemu-system-arm")])
def test_a_missing_tool_is_named(
    tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, engine: str, tool: str
) -> None:
    monkeypatch.setenv("PATH", str(tiny))
    result = _run("validate", tiny, "--images", photos, "--count", "1", "--engine", engine)
    assert result.exit_code == 6
    assert f"{tool} is not on PATH" in result.stderr
    assert "apt-get install" in result.stderr


def test_renode_is_asked_for_by_name_and_told_missing(
    tiny: Path, photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tiny))
    for command in (["validate", tiny, "--images", photos, "--count", "1"], ["run", tiny, photos / "0.png"]):
        result = _run(*command, "--engine", "renode")
        assert result.exit_code == 6
        assert "renode is not on PATH; install it and put it on PATH" in result.stderr


@needs_board
def test_the_folder_checks_itself_on_qemu(tiny: Path) -> None:
    def make() -> subprocess.CompletedProcess[str]:
        command = ["make", "-C", str(tiny), "qemu"]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    done = make()
    assert done.returncode == 0, done.stderr
    assert "every output is the expected one" in done.stdout
    expected = tiny / "renode" / "expected.txt"
    line = next(line for line in expected.read_text().splitlines() if line.startswith("^output "))
    other = "^output " + ("1" if line[8] == "0" else "0") + line[9:]
    expected.write_text(expected.read_text().replace(line, other))
    failed = make()
    assert failed.returncode == 2 and "error: not the outputs of renode/expected.txt" in failed.stdout


_WITHOUT_TORCH = """
import sys
sys.modules["torch"] = None  # importing it now fails
from rnnpool_mcu.cli import main
main()
"""


@needs_board
def test_a_compiled_folder_is_run_and_validated_without_torch(tiny: Path, photos: Path) -> None:
    for arguments in (
        ["run", tiny, photos / "0.png"],
        ["validate", tiny, "--images", photos, "--count", "1"],
        ["report", tiny],
    ):
        done = subprocess.run(
            [sys.executable, "-c", _WITHOUT_TORCH, *map(str, arguments)],
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("command", ["compile", "evaluate", "train", "quantize"])
def test_what_needs_torch_says_how_to_get_it(command: str, tmp_path: Path) -> None:
    model = tmp_path / "model.pt"
    model.write_bytes(b"")
    arguments = {
        "compile": [model, "--ram", "64k", "-o", tmp_path / "out"],
        "evaluate": [model],
        "train": ["face-m4", "--steps", "1", "-o", tmp_path / "out"],
        "quantize": [model, "--split", "part_b_train", "-o", tmp_path / "out"],
    }[command]
    done = subprocess.run(
        [sys.executable, "-c", _WITHOUT_TORCH, command, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 6, done.stderr
    assert "torch is not installed; pip install 'rnnpool-mcu[torch]'" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]


@pytest.mark.parametrize(("before", "name"), [("numpy", "int8"), ("host", "c")])
def test_engines_are_known_by_their_names_of_before(
    tiny: Path, photos: Path, tmp_path: Path, before: str, name: str
) -> None:
    found = tmp_path / "found.json"
    result = _run("run", tiny, photos / "1.png", "--engine", before, "--json", found)
    assert result.exit_code == 0, result.output
    assert json.loads(found.read_text(encoding="utf-8"))["engine"] == name


def test_commands_list_one_set_of_names(tiny: Path) -> None:
    for command in ("run", "validate", "evaluate"):
        shown = _run(command, "--help").output
        names = re.search(r"--engine \[([a-z0-9|]+)\]", shown)
        assert names is not None and set(names[1].split("|")) <= set(EVERY), shown
    refused = _run("run", tiny, tiny / "report.json", "--engine", "numpi")
    assert refused.exit_code == 2 and "'int8', 'c', 'qemu', 'renode'" in refused.stderr
