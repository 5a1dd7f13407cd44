"""Boxes: cut to their image, and how they overlap."""

from __future__ import annotations

import numpy as np

from rnnpool_mcu.training.data.boxes import boxes_inside, iou_matrix


def test_iou() -> None:
    a = np.array([(0, 0, 2, 2), (10, 10, 11, 11)], np.float32)
    b = np.array([(1, 1, 3, 3), (0, 0, 2, 2)], np.float32)
    np.testing.assert_allclose(iou_matrix(a, b), [[1 / 7, 1], [0, 0]], rtol=1e-6)


def test_boxes_are_cut_to_their_image_and_those_outside_left_out() -> None:
    boxes = np.array([(30, 20, 50, 40), (1, 2, 4, 6), (-9, 3, -2, 7), (40, 0, 60, 9)], np.float32)
    assert boxes_inside(boxes, 30, 40).tolist() == [[30, 20, 40, 30], [1, 2, 4, 6]]
