"""The Keras example runs as its README says."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

EXAMPLE = Path(__file__).parents[2] / "examples" / "keras" / "example.py"


@pytest.mark.skipif(
    shutil.which("qemu-system-arm") is None or shutil.which("arm-none-eabi-gcc") is None,
    reason="qemu-system-arm or arm-none-eabi-gcc is not installed",
)
def test_the_compiled_model_sees_what_keras_sees(tmp_path: Path) -> None:
    pytest.importorskip("tensorflow", reason="tensorflow is not installed")
    pytest.importorskip("tflite")
    done = subprocess.run(
        [sys.executable, EXAMPLE, "-o", tmp_path / "out"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "qemu: equals int8 byte for byte on 4 images" in done.stdout
    assert "same class as Keras on 8 of 8 pictures" in done.stdout
    assert (tmp_path / "out" / "src" / "net.c").is_file()


def test_without_tensorflow_it_says_what_to_install(tmp_path: Path) -> None:
    """A module of that name that cannot be imported stands in its place."""
    (tmp_path / "tensorflow.py").write_text("raise ImportError")
    command = [sys.executable, "-c", f"import runpy; runpy.run_path({str(EXAMPLE)!r}, run_name='__main__')"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "tensorflow is not installed; pip install 'rnnpool-mcu[tensorflow]'" in done.stderr
