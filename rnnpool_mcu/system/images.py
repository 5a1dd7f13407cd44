"""Pictures from files, as a model's input wants them: upright, grey or RGB, resized to its size."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from rnnpool_mcu.errors import UsageError

SUFFIXES = frozenset({".bmp", ".gif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"})

TALLER = 1.35
"""Pictures wider than the canvas are stretched in height by up to this factor: small faces keep more rows."""


def image_files(folder: Path) -> list[Path]:
    """Every picture in a folder and those below it, in the order of their relative paths.

    Raises UsageError when there is no such folder or no picture in it.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: is not a folder; give a folder of pictures")
    found = [path for path in folder.rglob("*") if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not found:
        endings = ", ".join(sorted(SUFFIXES))
        raise UsageError(f"{folder}: holds no pictures ({endings}); give a folder of pictures")
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())


def read_image(path: Path) -> Image.Image:
    """A picture, turned upright by its EXIF tag; UsageError when the file cannot be decoded."""
    try:
        with Image.open(path) as image:
            image.load()
            return ImageOps.exif_transpose(_eight_bits(image))
    except FileNotFoundError as error:
        raise UsageError(f"{path}: does not exist; give a picture") from error
    except (UnidentifiedImageError, OSError, ValueError, SyntaxError, Image.DecompressionBombError) as error:
        raise UsageError(f"{path}: is not a readable picture ({error}); give another one") from error


def model_image(
    image: Image.Image, input_size: tuple[int, int, int], resize: str = "fit"
) -> NDArray[np.uint8]:
    """uint8 of input_size = (height, width, channels).

    `resize` is "letterbox" or "fit" (see `fit`; padded right and bottom with 0), "crop" (the middle of the
    largest part of the input's aspect ratio), or "resize" or "stretch".
    """
    height, width, channels = input_size
    if resize in ("letterbox", "fit"):
        return letterbox(image, height, width, channels)[0]
    box = cropped(image.width, image.height, width, height) if resize == "crop" else None
    mode = "L" if channels == 1 else "RGB"
    resized = image.convert(mode).resize((width, height), Image.Resampling.BILINEAR, box)
    return np.asarray(resized, dtype=np.uint8).reshape(input_size)


def cropped(
    width: int, height: int, canvas_width: int, canvas_height: int
) -> tuple[float, float, float, float]:
    """Left, top, right and bottom of the largest part in the middle with the canvas's aspect ratio."""
    scale = min(width / canvas_width, height / canvas_height)
    left, top = (width - canvas_width * scale) / 2, (height - canvas_height * scale) / 2
    return left, top, left + canvas_width * scale, top + canvas_height * scale


@dataclass(frozen=True)
class Letterbox:
    """Placement of an image at the upper left of the model's canvas, scaled by `across` and `down`."""

    across: float
    down: float
    width: int
    height: int


@dataclass(frozen=True)
class Placement:
    """Where an image stands on the model's canvas: x of the image is (x of the canvas - left) / across."""

    across: float
    down: float
    left: float = 0.0  # below 0 where a part of the image is cut off
    top: float = 0.0


def placement(resize: str, width: int, height: int, canvas_width: int, canvas_height: int) -> Placement:
    """Of an image of `width` and `height` as `model_image` puts it."""
    if resize in ("letterbox", "fit"):
        placed = fit(width, height, canvas_width, canvas_height)
        return Placement(placed.across, placed.down)
    if resize == "crop":
        left, top, right, _ = cropped(width, height, canvas_width, canvas_height)
        scale = canvas_width / (right - left)
        return Placement(scale, scale, -left * scale, -top * scale)
    return Placement(canvas_width / width, canvas_height / height)


def fit(width: int, height: int, canvas_width: int, canvas_height: int) -> Letterbox:
    """Largest placement that keeps the aspect ratio but for TALLER, so far as that fills the canvas.

    A picture of 16:9 stands on a canvas of 4:3 with all the canvas's rows.
    """
    across = min(canvas_width / width, canvas_height / height)
    down = min(canvas_height / height, across * TALLER)
    return Letterbox(
        across,
        down,
        min(canvas_width, max(1, round(width * across))),
        min(canvas_height, max(1, round(height * down))),
    )


def letterbox(
    image: Image.Image, height: int, width: int, channels: int
) -> tuple[NDArray[np.uint8], Letterbox]:
    """Image resized to fit [height, width, channels] uint8, padded right and bottom with 0."""
    placed = fit(image.width, image.height, width, height)
    converted = image.convert("L" if channels == 1 else "RGB")
    resized = converted.resize((placed.width, placed.height), Image.Resampling.BILINEAR)
    canvas = np.zeros((height, width, channels), dtype=np.uint8)
    canvas[: placed.height, : placed.width] = np.asarray(resized).reshape(
        placed.height, placed.width, channels
    )
    return canvas, placed


def _eight_bits(image: Image.Image) -> Image.Image:
    """16-bit grey scaled to 8 bits, which a plain conversion would clip; others as they are."""
    if not image.mode.startswith("I;16") and image.mode != "I":
        return image
    values = np.asarray(image).astype(np.int64) >> 8
    scaled = Image.fromarray(np.clip(values, 0, 255).astype(np.uint8))
    scaled.info.update(image.info)
    return scaled
