"""`rnnpool-mcu run`: a photograph through a compiled model, on an emulated board or on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from PIL import Image

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import FILE, compiled_folder, out_option
from rnnpool_mcu.cli.outputs import class_text, tensor_outputs
from rnnpool_mcu.cli.pictures import check_channels, check_writable, read_rows, sample_bytes, save_boxes
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.detections import Detection, parse_detections
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.ir.tensor_type import DetectionsType
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.report import read_report, with_run, write_report
from rnnpool_mcu.system.arrays import is_array_file
from rnnpool_mcu.validate.engines import ENGINES, REFERENCE, run_engine


@click.command("run")
@compiled_folder
@click.argument("photo", type=FILE)
@click.option("--engine", type=click.Choice([*ENGINES, REFERENCE]), default="qemu", show_default=True)
@out_option("Write PHOTO with its boxes here.")
@click.option(
    "--min-score", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Boxes to show."
)
@common_options
def run_command(
    say: Speaker, folder: Path, photo: Path, engine: str, out: Path | None, min_score: float
) -> None:
    """Run the model compiled into DIR on PHOTO and print what it finds.

    PHOTO is a picture, or an .npy, .npz or .csv whose first row is the input.
    """
    from rnnpool_mcu.system.images import placement

    project = Project.load(folder)
    if out is not None:
        if project.kind != "detector":
            raise UsageError(
                f"-o {out}: '{project.name}' is a {project.kind}, it has no boxes to draw; leave -o out"
            )
        if is_array_file(photo):
            raise UsageError(f"-o {out}: {photo.name} is no picture to draw boxes on; leave -o out")
        check_writable(out)
    picture, pixels = _input(folder, project, photo)
    with say.progress(f"running on {engine}") as progress:
        result = run_engine(folder, engine, pixels[None], progress)
    if result.instructions is not None:
        write_report(with_run(read_report(folder), result), folder)
    value: dict[str, Any] = {"engine": engine, "photo": str(photo), **_measured(result)}
    if project.kind == "detector":
        labelled = _has_labels(folder)
        found = [d for d in parse_detections(result.outputs[0], labelled=labelled) if d.score >= min_score]
        if picture is not None:
            size = (picture.width, picture.height, project.input_width, project.input_height)
            placed = placement(project.resize, *size)
            found = [
                d.moved(-placed.left, -placed.top).scaled(1 / placed.across, 1 / placed.down) for d in found
            ]
        if out is not None:
            assert picture is not None
            save_boxes(picture, found, out)
        boxes = [asdict(d) | _name(d, project.labels) for d in found]
        say.result(value | {"detections": boxes}, _detections_text(found, value, out, project.labels))
    else:
        outputs, text = tensor_outputs(load_graph(folder / FILE_NAME), result.outputs[0], project.labels)
        say.result(value | outputs, text)


def _input(folder: Path, project: Project, photo: Path) -> tuple[Image.Image | None, NDArray[np.uint8]]:
    """The picture, if it is one, and the bytes that the C takes for it."""
    from rnnpool_mcu.system.images import model_image, read_image

    given, kind = project.model_input, load_graph(folder / FILE_NAME).input_type
    if is_array_file(photo):
        return None, sample_bytes(read_rows(photo, 1, given, kind), given, kind)[0]
    check_channels(project.input_channels, str(photo), "give an .npy, .npz or .csv with the input in a row")
    picture = read_image(photo)
    return picture, given.bytes_of(model_image(picture, project.input_shape, project.resize), kind)


def _has_labels(folder: Path) -> bool:
    """Whether a detector's boxes are of several classes."""
    kinds = load_graph(folder / FILE_NAME).types.values()
    return any(isinstance(kind, DetectionsType) and kind.labelled for kind in kinds)


def _measured(result: RunResult) -> dict[str, Any]:
    return {
        "instructions": None if result.instructions is None else result.instructions[0],
        "stack_high_water_bytes": result.stack_high_water_bytes,
        "ram_used_bytes": result.ram_used_bytes,
    }


def _name(found: Detection, labels: Sequence[str]) -> dict[str, str]:
    """The name of a box's class, if the model came with names; a detector of one class gives no numbers."""
    index = found.label if found.label is not None else 0
    known = index < len(labels) and (found.label is not None or len(labels) == 1)
    return {"name": labels[index]} if known else {}


def _detections_text(
    found: list[Detection], value: dict[str, Any], out: Path | None, labels: Sequence[str]
) -> str:
    lines = [f"{len(found)} found"]
    lines += [
        f"  x {d.x1:.0f}..{d.x2:.0f}  y {d.y1:.0f}..{d.y2:.0f}  probability {d.score:.3f}"
        + (f"  {class_text(d.label, labels)}" if d.label is not None else "")
        for d in found
    ]
    if value["instructions"] is not None:
        lines.append(
            f"{value['instructions']:,} instructions, {value['ram_used_bytes']:,} bytes of RAM in use"
        )
    if out is not None:
        lines.append(f"written to {out}")
    return "\n".join(lines)
