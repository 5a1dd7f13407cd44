"""validate --source of a checkpoint: its ranges must be those that were compiled."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnpool_mcu.cli.validate_command import _check_ranges
from rnnpool_mcu.errors import UsageError


def test_ranges_of_other_pictures_are_refused() -> None:
    with pytest.raises(UsageError, match=r"3 images of photos.*rnnpool-mcu quantize x\.pt"):
        _check_ranges(Path("out"), Path("x.pt"), "3 images of photos")


@pytest.mark.parametrize(
    ("source", "calibration"),
    [
        ("x.pt", "stored in the checkpoint"),
        ("x.pt", "synthetic images: for trials only"),
        ("x.pt", None),
        ("x.tflite", "3 images of photos"),
    ],
)
def test_a_checkpoints_own_ranges_and_other_formats_are_compared(
    source: str, calibration: str | None
) -> None:
    _check_ranges(Path("out"), Path(source), calibration)
