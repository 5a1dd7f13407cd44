"""Random views of a grey or RGB image: zoom crops (data anchor sampling), flip; `tone` does the rest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rnnpool_mcu.system.images import fit
from rnnpool_mcu.training.data.boxes import boxes_inside
from rnnpool_mcu.training.data.tone import random_tone

MIN_BOX_SIDE = 2.5
"""Pixels; smaller boxes are dropped from the labels."""


@dataclass(frozen=True)
class ViewSettings:
    """How views are drawn. Zoom 1 is the scale at which the model will see the whole image."""

    height: int
    width: int
    full_height: int = 240
    full_width: int = 320
    channels: int = 1
    zoom_low: float = 0.7
    zoom_high: float = 1.8
    anchor_sampling: float = 0.4
    """Share of views whose zoom brings a random box to the size of a random anchor."""
    anchor_sizes: tuple[int, ...] = (8, 16, 32, 48)
    tallest: float = 1.35
    """Views are stretched by up to this factor in height over width, and by its fourth root the other way:
    a model so trained may be shown pictures stretched towards its own aspect ratio."""


def _zoom(
    boxes: NDArray[np.float32], fit_scale: float, settings: ViewSettings, rng: np.random.Generator
) -> float:
    """Pixels of the view per pixel of the stored image."""
    if len(boxes) and rng.random() < settings.anchor_sampling:
        box = boxes[rng.integers(len(boxes))]
        side = float(np.sqrt((box[2] - box[0]) * (box[3] - box[1])))
        target = settings.anchor_sizes[rng.integers(len(settings.anchor_sizes))] * 2.0 ** rng.uniform(
            -0.5, 0.7
        )
        return float(np.clip(target / max(side, 1.0), 0.5 * fit_scale, 6.0 * fit_scale))
    return float(fit_scale * np.exp(rng.uniform(np.log(settings.zoom_low), np.log(settings.zoom_high))))


def _origin(
    boxes: NDArray[np.float32],
    size: tuple[float, float],
    image_size: tuple[int, int],
    rng: np.random.Generator,
) -> tuple[float, float]:
    """Upper left corner (x, y) of a crop of `size` (width, height), in pixels of the stored image.

    Mostly so that a random box lies inside; never leaving more than a quarter of the crop outside the image,
    unless the whole image is smaller than the crop.
    """
    corner = []
    box = boxes[rng.integers(len(boxes))] if len(boxes) and rng.random() < 0.8 else None
    for axis in (0, 1):
        low, high = -0.1 * size[axis], image_size[axis] - 0.9 * size[axis]
        if box is not None:
            low = max(low, float(box[axis + 2]) - size[axis])
            high = min(high, float(box[axis]))
        if high < low:  # the image, or the box, does not fill the crop
            low, high = min(low, high, 0.0), max(min(low, high), 0.0)
        corner.append(float(rng.uniform(low, high)))
    return corner[0], corner[1]


def draw_crop(
    image: NDArray[np.uint8],
    corner: tuple[float, float],
    scales: tuple[float, float],
    height: int,
    width: int,
) -> NDArray[np.uint8]:
    """The crop of `image` [H, W] or [H, W, 3] with upper left corner `corner`, scaled by `scales` (x, y).

    0 outside the image.
    """
    (x, y), (across, down) = corner, scales
    left, top = max(0, int(np.ceil(-x * across))), max(0, int(np.ceil(-y * down)))
    right = min(width, int((image.shape[1] - x) * across))
    bottom = min(height, int((image.shape[0] - y) * down))
    view = np.zeros((height, width, *image.shape[2:]), dtype=np.uint8)
    if right <= left or bottom <= top:
        return view
    box = (x + left / across, y + top / down, x + right / across, y + bottom / down)
    box = (max(0.0, box[0]), max(0.0, box[1]), min(image.shape[1], box[2]), min(image.shape[0], box[3]))
    part = Image.fromarray(image).resize((right - left, bottom - top), Image.Resampling.BILINEAR, box=box)
    view[top:bottom, left:right] = np.asarray(part)
    return view


def random_view(
    image: NDArray[np.uint8], boxes: NDArray[np.float32], settings: ViewSettings, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """One training view: float32 [height, width] or [height, width, 3] in [0, 1] and its boxes [n, 4].

    A box stays if its centre is inside the view; it is clipped to it.
    """
    view, moved, _ = random_view_ignoring(image, boxes, boxes[:0], settings, rng)
    return view, moved


def random_view_ignoring(
    image: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    ignored: NDArray[np.float32],
    settings: ViewSettings,
    rng: np.random.Generator,
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32]]:
    """As `random_view`, with boxes [m, 4] that are neither objects nor background, as far as they are seen.

    They decide nothing of the view.
    """
    height, width = image.shape[:2]
    scale = _zoom(boxes, fit(width, height, settings.full_width, settings.full_height).across, settings, rng)
    stretch = np.sqrt(settings.tallest ** rng.uniform(-0.25, 1.0))
    scales = (float(scale / stretch), float(scale * stretch))
    size = (settings.width / scales[0], settings.height / scales[1])
    corner = _origin(boxes, size, (width, height), rng)
    view = draw_crop(image, corner, scales, settings.height, settings.width)
    mirrored = rng.random() < 0.5
    if mirrored:
        view = view[:, ::-1]
    moved, apart = (_moved(each, corner, scales, settings.width, mirrored) for each in (boxes, ignored))
    centre = (moved[:, :2] + moved[:, 2:]) / 2
    side = np.minimum(moved[:, 2] - moved[:, 0], moved[:, 3] - moved[:, 1])
    inside = ((centre > 0) & (centre < (settings.width, settings.height))).all(axis=1) & (
        side >= MIN_BOX_SIDE
    )
    limits = np.array([settings.width, settings.height] * 2, np.float32)
    kept = np.clip(moved[inside], 0, limits).astype(np.float32)
    return random_tone(view, rng), kept, boxes_inside(apart, settings.height, settings.width)


def _moved(
    boxes: NDArray[np.float32],
    corner: tuple[float, float],
    scales: tuple[float, float],
    width: int,
    mirrored: bool,
) -> NDArray[np.float32]:
    """Boxes [n, 4] of the stored image on the view."""
    moved = (boxes - np.array([*corner, *corner], dtype=np.float32)) * np.array(scales * 2, np.float32)
    if mirrored:
        moved = moved[:, [2, 1, 0, 3]] * np.array([-1, 1, -1, 1], np.float32)
        moved += np.array([width, 0, width, 0], np.float32)
    return moved
