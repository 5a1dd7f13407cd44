"""validate --source: whether a file's own runtime computes the integers that were compiled."""

from __future__ import annotations

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
