"""validate --source: whether a file's own runtime computes the integers that were compiled."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from rnnpool_mcu.cli.validate_command import _has_integers


@pytest.mark.parametrize(
    ("source", "calibration", "expected"),
    [
        ("x.pt", "stored in the checkpoint", True),
        ("x.pt", "synthetic images: for trials only", True),
        ("x.pt", None, True),
        ("x.pt", "3 images of photos", False),  # it is compared in float alone
        ("x.tflite", "stored in the .tflite file", True),
        ("x.keras", "3 images of photos", False),
    ],
)
def test_integers_of_other_ranges_are_not_compared(
    source: str, calibration: str | None, expected: bool
) -> None:
    assert _has_integers(Path(source), calibration) is expected


def test_made_up_ranges_are_told_on_stderr(tmp_path: Path) -> None:
    """By a process of its own: there the log's last resort writes, as for a user."""
    pytest.importorskip("torch")
    from rnnpool_mcu.zoo.random_weights import random_checkpoint

    config = {"num_classes": 2, "resolution": 8, "hidden": 4}
    path = random_checkpoint("one-shot-pooling", tmp_path / "net.pt", **config)
    command = [sys.executable, "-m", "rnnpool_mcu", "compile", str(path), "--ram", "64k", "--no-check"]
    done = subprocess.run([*command, "-q"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    words = " ".join(done.stderr.split())
    assert "no activation ranges stored and no --calibration given" in words and "for trials only" in words
    report = json.loads((tmp_path / "net_out" / "report.json").read_text(encoding="utf-8"))
    assert report["calibration"] == "synthetic images: for trials only"
