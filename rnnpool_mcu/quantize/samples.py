"""A model's inputs from files: a folder of pictures, or an .npy, .npz or .csv with one input in each row."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.source import PIXELS, InputForm, Preprocessing, in_order
from rnnpool_mcu.quantize.calibration import calibration_images
from rnnpool_mcu.system.arrays import INPUT_KEYS, Rows, is_array_file, open_rows

Samples = NDArray[Any]
"""[N, H, W, C] in the graph's order: camera bytes (uint8), or real values that the model takes (float32)."""
_FLOATS = ("float16", "float32", "float64")


def samples_from(
    path: Path,
    form: InputForm,
    count: int,
    seed: int,
    preprocessing: Preprocessing,
    fit: str = "resize",
    input_name: str = "",
) -> tuple[Samples, str]:
    """At most `count` inputs drawn by `seed`, and where they are from, for the report.

    `fit` is how pictures are fitted where `preprocessing` does not say. Raises UsageError for a file or
    folder without any, and for rows of another shape or type, or with values that are not finite.
    """
    if is_array_file(path):
        rows = open_rows(path, (input_name, *INPUT_KEYS) if input_name else INPUT_KEYS)
        chosen = np.random.default_rng(seed).permutation(rows.shape[0])[:count]
        samples = rows_of(path, rows, form, chosen)
        if samples.dtype == np.uint8:
            samples = in_order(samples, preprocessing)
        if samples.dtype != np.uint8 and not preprocessing.normalisation.is_plain:
            raise UsageError(
                f"{path}: arrays are taken as they are, --scale, --mean and --std are for pictures; leave "
                "them out"
            )
        return samples, f"{len(samples)} rows of {path.name}"
    if not form.is_picture:
        raise UsageError(
            f"{path}: pictures for an input of {list(form.shape)}, allowed: images of 1 or 3 channels; give "
            "a file of arrays (.npy, .npz or .csv) with one input in each row"
        )
    images = calibration_images(path, form.size, count, seed, preprocessing.fit or fit)
    return in_order(images, preprocessing), f"{len(images)} images of {path.name}"


def input_quantization(samples: Samples) -> tuple[float, int]:
    """Scale and zero point of the model's input: a camera's for bytes, or where all values are in 0..1."""
    if samples.dtype == np.uint8:
        return PIXELS
    low, high = min(0.0, float(samples.min())), max(0.0, float(samples.max()))
    if (low >= 0.0 and high <= 1.0) or low == high:
        return PIXELS
    scale = (high - low) / 255.0
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


def rows_of(path: Path, rows: Rows, form: InputForm, chosen: Iterable[int]) -> Samples:
    """Rows of an opened file as inputs; errors as `samples_from`."""
    check_rows(path, rows, form)
    pictures = _are_pictures(rows, form)
    return np.stack([_row(path, rows, int(index), form, pictures) for index in chosen])


def _are_pictures(rows: Rows, form: InputForm) -> bool:
    return rows.dtype == np.uint8 and form.is_picture and tuple(rows.shape[1:]) == form.size


def check_rows(path: Path, rows: Rows, form: InputForm) -> None:
    """Raises UsageError unless each row is one input of real values, in its shape or flat, or a picture."""
    if _are_pictures(rows, form):
        return
    wanted = form.shape[1:]
    allowed = f"float32 [N, {', '.join(map(str, wanted))}]"
    if form.is_picture:
        allowed += f" as the model takes it, or uint8 pictures [N, {', '.join(map(str, form.size))}]"
    shape = tuple(rows.shape)
    if squeezed(shape[1:]) not in (squeezed(wanted), squeezed((int(np.prod(wanted)),))):
        hint = "give each input as a row" if shape != wanted else "for one input give [1, ...]"
        if len(shape) == len(wanted) + 1 and sorted(shape[1:]) == sorted(wanted):
            hint = "its axes are in another order: transpose it"
        raise UsageError(f"{path}: shape {list(shape)}, expected {allowed}; {hint}")
    if rows.dtype.name not in _FLOATS:
        raise UsageError(
            f"{path}: dtype {rows.dtype.name}, expected {allowed}; convert it by `.astype('float32')`"
        )


def squeezed(shape: tuple[int, ...]) -> tuple[int, ...]:
    """A shape without its sides of 1."""
    return tuple(side for side in shape if side != 1)


def _row(path: Path, rows: Rows, index: int, form: InputForm, pictures: bool) -> NDArray[Any]:
    """One input in the graph's order."""
    if pictures:
        return np.array(rows[index])
    with np.errstate(over="ignore"):
        values = np.asarray(rows[index]).astype(np.float32)
    if not np.isfinite(values).all():
        raise UsageError(f"{path}: row {index} (from 0) holds NaN or infinite values; leave it out")
    return form.to_graph(values)
