"""The example of each format runs as its README says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

BOARD = pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None or shutil.which("arm-none-eabi-gcc") is None,
    reason="qemu-system-arm or arm-none-eabi-gcc is not installed",
)
EXAMPLES = Path(__file__).parents[2] / "examples"
PACKAGES = {
    "onnx": ("onnx", "onnxruntime"),
    "tflite": ("tflite", "ai_edge_litert"),
    "torch_export": ("torch", "torchao"),
}


@BOARD
@pytest.mark.parametrize("kind", PACKAGES)
def test_the_example_compiles_and_agrees_with_the_runtime(kind: str, tmp_path: Path) -> None:
    for package in PACKAGES[kind]:
        pytest.importorskip(package)
    done = subprocess.run(
        [sys.executable, EXAMPLES / kind / "example.py", "-o", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "qemu: equals int8 byte for byte on 4 images" in done.stdout
    assert "same largest output on 4 of 4 images" in done.stdout
    assert (tmp_path / "out" / "src" / "net.c").is_file()


@BOARD
def test_the_streaming_example_hears_what_it_was_given(tmp_path: Path) -> None:
    for package in PACKAGES["tflite"]:
        pytest.importorskip(package)
    from tests.tflite_streams import chirps

    assert (EXAMPLES / "streaming" / "model.tflite").read_bytes() == chirps()
    done = subprocess.run(
        [sys.executable, EXAMPLES / "streaming" / "example.py", "-o", tmp_path / "out"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "qemu: equals int8 byte for byte on 40 images" in done.stdout
    assert done.stdout.endswith("frame 31: rising\nframe 71: falling\n")


def test_the_mlperf_example_says_which_files_it_looks_for(tmp_path: Path) -> None:
    """Its files are the user's own copies."""
    command = [sys.executable, EXAMPLES / "mlperf_tiny" / "example.py", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 2 and "holds none of ad01_int8.tflite, kws_ref_model.tflite" in done.stderr
