"""What users get wrong: each case has its exit code, one clear line, and leaves nothing half-written."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

from torch import Tensor, nn  # noqa: E402

from rnnpool_mcu.cli import main  # noqa: E402
from rnnpool_mcu.cli.pictures import save_boxes  # noqa: E402
from rnnpool_mcu.zoo import registry  # noqa: E402
from rnnpool_mcu.zoo.checkpoint import GRAY_PREPROCESSING, save_checkpoint  # noqa: E402

SHIPPED = Path(__file__).parents[2] / "examples" / "models" / "face_m4.pt"
ARCH, ODD_ARCH = "small-for-tests", "odd-for-tests"
needs_compiler = pytest.mark.skipif(
    shutil.which("arm-none-eabi-gcc") is None, reason="arm-none-eabi-gcc is not installed"
)


class Small(nn.Module):
    """A classifier that compiles in a moment."""

    def __init__(self) -> None:
        super().__init__()
        self.input_size = (16, 20, 1)
        self.conv = nn.Conv2d(1, 4, 3, stride=2, padding=1)
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.head = nn.Linear(4, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        return self.head(torch.flatten(self.pool(self.middle(self.conv(x))), 1))

    def middle(self, x: Tensor) -> Tensor:
        """A place for something odd."""
        return nn.functional.relu6(x)


class Odd(Small):
    """Holds an operator that no microcontroller kernel exists for."""

    def middle(self, x: Tensor) -> Tensor:
        """A running sum."""
        return torch.cumsum(x, dim=2)


@pytest.fixture(autouse=True)
def models(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Both models are in the zoo while a test runs."""
    monkeypatch.setitem(registry._MODELS, ARCH, Small)
    monkeypatch.setitem(registry._MODELS, ODD_ARCH, Odd)
    yield


def _save(path: Path, model: nn.Module, arch: str = ARCH) -> None:
    save_checkpoint(path, model, arch, {}, GRAY_PREPROCESSING, ["a", "b", "c"])


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A checkpoint that compiles."""
    torch.manual_seed(0)
    folder = tmp_path / "models"
    folder.mkdir()
    _save(folder / "small.pt", Small())
    return folder / "small.pt"


def _compile(model: Path, out: Path, *more: str) -> Result:
    arguments = ["compile", str(model), "-o", str(out), *(more or ("--ram", "64k"))]
    return CliRunner().invoke(main, arguments, catch_exceptions=False)


def _refused(result: Result, code: int, *parts: str) -> None:
    assert result.exit_code == code, result.output
    assert result.stderr.startswith("error: ")
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in result.stderr


def _nothing_left(out: Path) -> None:
    assert not os.path.lexists(out)
    assert [path.name for path in out.parent.iterdir() if path.name != "models"] == []


def _truncated(path: Path) -> None:
    _save(path, Small())
    path.write_bytes(path.read_bytes()[:1000])


def _with_nan(path: Path) -> None:
    model = Small()
    model.head.weight.data[1, 2] = float("nan")
    _save(path, model)


def _torch_script(path: Path) -> None:
    torch.jit.trace(Small().eval(), torch.zeros(1, 1, 16, 20)).save(str(path))


BAD_MODELS: dict[str, tuple[Callable[[Path], Any], tuple[str, ...]]] = {
    "empty file": (lambda path: path.write_bytes(b""), ("the file is empty",)),
    "text": (lambda path: path.write_text("no model", encoding="utf-8"), ("not a model",)),
    "picture": (lambda path: path.write_bytes(b"\x89PNG\r\n\x1a\n" + bytes(99)), ("not a model",)),
    "truncated": (_truncated, ("truncated",)),
    "pickled module": (lambda path: torch.save(Small(), path), ("pickled", "torch.export.save")),
    "TorchScript": (_torch_script, ("TorchScript", "state_dict")),
    "bare state dict": (lambda path: torch.save(Small().state_dict(), path), ("a bare state_dict",)),
    "NaN weights": (_with_nan, ("'head.weight'", "1 of 12 values NaN")),
    "unknown arch": (lambda path: _save(path, Small(), "face-m5"), ("'face-m5' is not known",)),
    "weights of another model": (lambda path: _save(path, nn.Linear(2, 2)), ("do not fit the model",)),
    "unsupported operator": (
        lambda path: _save(path, Odd(), ODD_ARCH),
        ("aten.cumsum", "in forward", "supported-ops"),
    ),
}


@pytest.mark.parametrize("case", BAD_MODELS)
def test_bad_models(tmp_path: Path, case: str) -> None:
    write, parts = BAD_MODELS[case]
    (tmp_path / "models").mkdir()
    model = tmp_path / "models" / "model.pt"
    write(model)
    _refused(_compile(model, tmp_path / "out"), 3, *parts)
    _nothing_left(tmp_path / "out")


@needs_compiler
def test_the_smallest_budget_that_is_named_works_and_less_does_not(small: Path, tmp_path: Path) -> None:
    refused = _compile(small, tmp_path / "out", "--ram", "600")
    _refused(refused, 4, "--ram 600", "bytes", "most is live in '")
    _nothing_left(tmp_path / "out")
    found = re.search(r"allow --ram (\d+)", refused.stderr)
    assert found is not None, refused.stderr
    smallest = int(found[1])
    _refused(_compile(small, tmp_path / "out", "--ram", str(smallest - 32)), 4, f"allow --ram {smallest}")
    accepted = _compile(small, tmp_path / "out", "--ram", str(smallest))
    assert accepted.exit_code == 0, accepted.stderr


@needs_compiler
def test_the_shipped_detector_in_10k(tmp_path: Path) -> None:
    refused = _compile(SHIPPED, tmp_path / "out", "--ram", "10k")
    _refused(refused, 4, "--ram 10240", "most is live in '", "--image streamed")
    _nothing_left(tmp_path / "out")
    found = re.search(r"needs (\d+) bytes .*; allow --ram \1,", refused.stderr)
    assert found is not None, refused.stderr
    accepted = _compile(SHIPPED, tmp_path / "out", "--ram", found[1])
    assert accepted.exit_code == 0, accepted.stderr


def test_no_compiler(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path / "models"))
    _refused(_compile(small, tmp_path / "out"), 6, "arm-none-eabi-gcc is not on PATH", "apt-get install")
    _nothing_left(tmp_path / "out")


def test_unknown_board(small: Path, tmp_path: Path) -> None:
    _refused(
        _compile(small, tmp_path / "out", "--ram", "64k", "--board", "nosuch"), 2, "nosuch", "mps2-an386"
    )
    _nothing_left(tmp_path / "out")


@pytest.mark.parametrize("name", ["Face", "3d", "a-b", "", "ä"])
def test_names_that_c_does_not_take(small: Path, tmp_path: Path, name: str) -> None:
    _refused(_compile(small, tmp_path / "out", "--ram", "64k", "--name", name), 2, f"--name '{name}'")
    _nothing_left(tmp_path / "out")


def test_the_output_folder_is_a_file(small: Path, tmp_path: Path) -> None:
    out = tmp_path / "models" / "out"
    out.write_text("mine", encoding="utf-8")
    _refused(_compile(small, out), 2, f"{out}: is not a folder")
    assert out.read_text(encoding="utf-8") == "mine"


def test_the_output_folder_is_below_a_file(small: Path, tmp_path: Path) -> None:
    _refused(_compile(small, small / "out"), 2, str(small))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["models"]


def test_calibration_without_pictures(small: Path, tmp_path: Path) -> None:
    arguments = ("--ram", "64k", "--calibration", str(tmp_path / "models"))
    _refused(_compile(small, tmp_path / "out", *arguments), 2, "holds no pictures")
    _nothing_left(tmp_path / "out")


_LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (2000, resource.RLIM_INFINITY))
sys.argv = ["rnnpool-mcu", *sys.argv[1:]]
from rnnpool_mcu.cli import main
main()
"""


@pytest.mark.skipif(not SHIPPED.is_file(), reason="the shipped model is not there")
def test_files_may_not_grow(tmp_path: Path) -> None:
    arguments = ["compile", str(SHIPPED), "--ram", "256k", "-o", str(tmp_path / "out")]
    environment = os.environ | {"TMPDIR": str(tmp_path), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-c", _LIMITED, *arguments],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 2, done.stderr
    assert "file too large" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
    assert list(tmp_path.glob(".out*")) == []


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip("a small file system can only be mounted by root")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@needs_compiler
@pytest.mark.skipif(not SHIPPED.is_file(), reason="the shipped model is not there")
def test_a_full_disk(full_disk: Path) -> None:
    _refused(
        _compile(SHIPPED, full_disk / "out", "--ram", "256k"), 2, "no space left on device", "free some space"
    )
    assert list(full_disk.iterdir()) == []


@needs_compiler
@pytest.mark.parametrize("option", ["-o", "--json"])
def test_a_disk_that_fills_up_while_results_are_written(
    small: Path, full_disk: Path, tmp_path: Path, option: str
) -> None:
    assert _compile(small, tmp_path / "out").exit_code == 0
    Image.effect_noise((320, 320), 90).save(tmp_path / "photo.png")
    (full_disk / "fill").write_bytes(bytes(65536))
    result = full_disk / "result.png"
    if option == "-o":
        with pytest.raises(OSError, match="No space left") as caught:
            save_boxes(Image.open(tmp_path / "photo.png"), [], result)
        assert caught.value.filename == str(result)
    else:
        arguments = ["run", str(tmp_path / "out"), str(tmp_path / "photo.png"), "--engine", "int8"]
        refused = CliRunner().invoke(main, [*arguments, "--json", str(result)])
        _refused(refused, 2, f"{result}: no space left on device")
    assert [path.name for path in full_disk.iterdir()] == ["fill"]


@needs_compiler
def test_no_emulator(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert _compile(small, tmp_path / "out").exit_code == 0
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "photo.png")
    monkeypatch.setenv("PATH", str(tmp_path / "models"))
    arguments = ["run", str(tmp_path / "out"), str(tmp_path / "photo.png")]
    _refused(CliRunner().invoke(main, arguments), 6, "qemu-system-arm is not on PATH", "apt-get install")


@pytest.mark.parametrize("content", [None, b"no picture"])
def test_the_demo_with_a_bad_photograph(tmp_path: Path, content: bytes | None) -> None:
    photo = tmp_path / "photo.jpg"
    if content is not None:
        photo.write_bytes(content)
    demo = SHIPPED.parents[1] / "demo.py"
    done = subprocess.run(
        [sys.executable, demo, "--image", photo, "--out", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr.startswith(f"error: {photo}: ")
    assert not (tmp_path / "out").exists()
