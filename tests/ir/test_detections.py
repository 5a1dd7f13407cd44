"""Boxes out of the C output structure."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from rnnpool_mcu.ir.detections import Detection, as_array, parse_detections


def _output(count: int, *boxes: tuple[int, int, int, int, int], room: int = 3) -> bytes:
    packed = b"".join(struct.pack("<4hH", *box) for box in boxes)
    return struct.pack("<i", count) + packed.ljust(10 * room, b"\0") + b"\0\0"


def test_boxes_in_pixels_with_probabilities() -> None:
    found = parse_detections(_output(2, (16, 40, 320, -8, 32768), (0, 0, 8, 8, 65535)))
    assert found[0] == Detection(1.0, 2.5, 20.0, -0.5, 0.5)
    assert found[1].score == 65535 / 65536
    assert found[0].scaled(2.0, 4.0) == Detection(2.0, 10.0, 40.0, -2.0, 0.5)
    np.testing.assert_array_equal(as_array(found)[0], np.float32([1.0, 2.5, 20.0, -0.5, 0.5]))


def test_no_boxes() -> None:
    assert parse_detections(_output(0)) == ()
    assert as_array(()).shape == (0, 5)


@pytest.mark.parametrize("count", [-1, 4])
def test_a_count_beyond_the_structure_is_refused(count: int) -> None:
    with pytest.raises(ValueError, match=r"allowed: 0\.\.3"):
        parse_detections(_output(count))
