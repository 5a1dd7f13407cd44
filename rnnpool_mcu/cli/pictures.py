"""Photographs on their way in, and with boxes on their way out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from rnnpool_mcu.cli.options import PictureSource
from rnnpool_mcu.cli.sequences import several_inputs
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.detections import Detection
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.source import ModelInput, in_order, input_bytes, real_values
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.quantize.samples import check_rows, rows_of
from rnnpool_mcu.system.arrays import is_array_file, open_rows
from rnnpool_mcu.system.output_folder import whole_file

BOX_COLOUR = (64, 255, 64)
TEXT_COLOUR = (0, 0, 0)


def check_channels(channels: int, given: str, remedy: str) -> None:
    """Raises `UsageError` with the argument and what to do unless pictures have as many channels."""
    if channels not in (1, 3):
        raise UsageError(f"{given}: the model takes {channels} channels, pictures have 1 or 3; {remedy}")


@dataclass(frozen=True, eq=False)
class Inputs:
    """What a compiled model is given: samples as the float model takes them, and the bytes of the C."""

    samples: Any  # [N, H, W, C]: pixels (uint8) in the model's order of channels, or real values; or tuples
    bytes: NDArray[np.uint8] | Batch  # [N, H, W, C]; of several inputs a batch, whose runs are one sequence


def inputs_of(folder: Path, project: Project, source: PictureSource) -> Inputs:
    """Photographs, rows of a file of arrays, or random bytes, for the model in `folder`."""
    if project.inputs:
        together = several_inputs(folder, project, source)
        return Inputs(together.samples, together.batch)
    shape, given = project.input_shape, project.model_input
    kind = load_graph(folder / FILE_NAME).input_type
    if source.folder is None:
        random = np.random.default_rng(source.seed).integers(0, 256, (source.count, *shape), np.uint8)
        is_picture = given.takes_pixels and given.form_in(kind).is_picture
        return Inputs(random if is_picture else real_values(random, kind), random)
    if is_array_file(source.folder):
        samples = read_rows(source.folder, source.count, given, kind)
    else:
        check_channels(project.input_channels, "--images", "give a file of arrays, or leave --images out")
        pictures = read_folder(source.folder, source.count, shape, project.resize)
        samples = in_order(pictures, given.preprocessing)
    return Inputs(samples, sample_bytes(samples, given, kind))


def read_rows(path: Path, count: int, given: ModelInput, kind: TensorType) -> NDArray[Any]:
    """The first `count` rows of a file of arrays; UsageError where it has fewer, or of another shape."""
    rows = open_rows(path)
    form = given.form_in(kind)
    check_rows(path, rows, form)
    if rows.shape[0] < count:
        raise UsageError(
            f"{path}: holds {rows.shape[0]} rows, {count} asked for; give --count {rows.shape[0]}"
        )
    samples = rows_of(path, rows, form, range(count))
    return in_order(samples, given.preprocessing) if samples.dtype == np.uint8 else samples


def sample_bytes(samples: NDArray[Any], given: ModelInput, kind: TensorType) -> NDArray[np.uint8]:
    """What the C takes for pixels in the model's order of channels, or for real values."""
    if samples.dtype != np.uint8:
        return input_bytes(kind, samples)
    return given.bytes_of(in_order(samples, given.preprocessing), kind)


def read_folder(folder: Path, count: int, input_size: tuple[int, int, int], resize: str) -> NDArray[np.uint8]:
    """The first `count` pictures of a folder as the model sees them, uint8 [N, H, W, C]."""
    from rnnpool_mcu.system.images import image_files, model_image, read_image

    files = image_files(folder)
    if len(files) < count:
        raise UsageError(
            f"{folder}: holds {len(files)} pictures, {count} asked for; give --count {len(files)}"
        )
    return np.stack([model_image(read_image(path), input_size, resize) for path in files[:count]])


def save_boxes(photo: Image.Image, detections: Sequence[Detection], path: Path) -> None:
    """Writes `photo` with its boxes and scores; `detections` are in the photo's own pixels."""
    picture = photo.convert("RGB")
    draw = ImageDraw.Draw(picture)
    width = max(2, round(max(picture.size) / 300))
    size = max(12, round(max(picture.size) / 40))
    for found in detections:
        corner = (min(found.x1, found.x2), min(found.y1, found.y2))
        draw.rectangle(
            (*corner, max(found.x1, found.x2), max(found.y1, found.y2)), outline=BOX_COLOUR, width=width
        )
        label = f"{found.score:.2f}"
        frame = draw.textbbox(corner, label, font_size=size, anchor="lb")
        draw.rectangle(frame, fill=BOX_COLOUR)
        draw.text(corner, label, fill=TEXT_COLOUR, font_size=size, anchor="lb")
    try:
        with whole_file(path) as file:
            picture.save(file)
    except (ValueError, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise
        raise UsageError(f"{path}: {error}; name it .png") from error


def check_writable(path: Path) -> None:
    """Raises `UsageError` unless `path` ends like a picture format in which colours can be written."""
    form = Image.registered_extensions().get(path.suffix.lower())
    try:
        Image.new("RGB", (16, 16)).save(BytesIO(), format=form or "")
    except (KeyError, ValueError, OSError) as error:
        raise UsageError(f"{path}: not a picture format that can be written; name it .png or .jpg") from error
