"""Files of 500 MB, of models and of calibration inputs: refused, or read no further than needed."""

from __future__ import annotations

import resource
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

pytest.importorskip("torch")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")
pytest.importorskip("tflite")

from rnnpool_mcu.cli import main
from tests.onnx_models import small_network

SIZE = 500_000_000
MOST_KILOBYTES = 200_000
"""That a command may take more than before: the file itself is more."""


def _sparse(path: Path, head: bytes = b"") -> Path:
    with path.open("wb") as file:
        file.write(head)
        file.truncate(SIZE)
    return path


def _measured(*arguments: object) -> Result:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    done = CliRunner().invoke(main, [str(a) for a in arguments])
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < MOST_KILOBYTES
    return done


@pytest.fixture(autouse=True)
def _warm(tmp_path: Path) -> None:
    """What is imported for any such file counts for none."""
    from rnnpool_mcu.importing import checkpoint, onnx, tflite, torch_program  # noqa: F401

    path = tmp_path / "warm.onnx"
    path.write_bytes(small_network().SerializeToString())
    np.save(tmp_path / "warm.npy", np.ones((2, 3, 12, 10), np.float32))
    arguments = ["analyze", path, "--calibration", tmp_path / "warm.npy"]
    assert CliRunner().invoke(main, [str(a) for a in arguments]).exit_code == 0


@pytest.mark.parametrize(
    ("suffix", "head", "words"),
    [
        (".pt", b"", "no PyTorch archive"),
        (".pt2", b"PK\x03\x04", "500,000,000 bytes, allowed: 268,435,456"),
        (".onnx", b"\x08\x08", "500,000,000 bytes, allowed: 67,108,864"),
        (".tflite", b"\x1c\x00\x00\x00TFL3", "500,000,000 bytes, allowed: 67,108,864"),
    ],
)
def test_a_model_of_500_megabytes_is_refused_unread(
    suffix: str, head: bytes, words: str, tmp_path: Path
) -> None:
    path = _sparse(tmp_path / f"big{suffix}", head)
    done = _measured("compile", path, "--ram", "64k", "-o", tmp_path / "out")
    assert done.exit_code == 3 and words in " ".join(done.stderr.split()), done.output
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv"])
def test_calibration_of_500_megabytes_that_is_none_is_refused(suffix: str, tmp_path: Path) -> None:
    path = _sparse(tmp_path / f"big{suffix}")
    done = _measured("analyze", tmp_path / "warm.onnx", "--calibration", path)
    assert done.exit_code == 2 and f"big{suffix}: is n" in done.stderr, done.output


def test_of_a_large_array_the_rows_asked_for_are_read(tmp_path: Path) -> None:
    path, rows = tmp_path / "big.npy", SIZE // (4 * 360)
    with path.open("wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": (rows, 3, 12, 10)}
        np.lib.format.write_array_header_1_0(file, header)  # type: ignore[arg-type]
        file.truncate(file.tell() + rows * 4 * 360)
    done = _measured("analyze", tmp_path / "warm.onnx", "--calibration", path)
    assert done.exit_code == 0, done.output
