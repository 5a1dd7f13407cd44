"""`rnnpool-mcu run`: a photograph through a compiled model, on an emulated board or on this machine."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from PIL import Image

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import FILE, compiled_folder, engine_option, out_option
from rnnpool_mcu.cli.outputs import class_text, tensor_outputs
from rnnpool_mcu.cli.pictures import check_channels, check_writable, read_rows, sample_bytes, save_boxes
from rnnpool_mcu.cli.port_options import line_text, port_options
from rnnpool_mcu.cli.sequences import read_inputs
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.detections import Detection, parse_detections
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.ir.tensor_type import DetectionsType
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.report import read_report, with_run, write_report
from rnnpool_mcu.system.arrays import is_array_file, open_rows
from rnnpool_mcu.system.serial_lines import SerialPort
from rnnpool_mcu.validate.engines import INTEGER, Inputs, run_engine

SHOWN_SCORES = 8
"""Of one run of a sequence, in text."""


@click.command("run")
@compiled_folder
@click.argument("photo", type=FILE)
@engine_option(INTEGER, "What runs it.", default="qemu")
@port_options
@out_option("Write PHOTO with its boxes here.")
@click.option(
    "--min-score", type=click.FloatRange(0, 1), default=0.5, show_default=True, help="Boxes to show."
)
@common_options
def run_command(
    say: Speaker,
    folder: Path,
    photo: Path,
    engine: str,
    port: SerialPort | None,
    out: Path | None,
    min_score: float,
) -> None:
    """Run the model compiled into DIR on PHOTO and print what it finds.

    PHOTO is a picture, or an .npy, .npz or .csv whose first row is the input. Of a model that keeps a state
    all rows are given to it, one after another; one with several inputs takes an .npz with an array for each.
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
    picture, pixels = _inputs(folder, project, photo)
    with say.progress(f"running on {engine}") as progress:
        result = run_engine(folder, engine, pixels, progress, port=port)
    if result.instructions is not None or result.cycles is not None:
        write_report(with_run(read_report(folder), result), folder)
    value: dict[str, Any] = {"engine": engine, "photo": str(photo), **_measured(result)}
    if len(result.outputs) > 1:
        say.result(*_sequence(folder, project, value, result))
        return
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
        text = _detections_text(found, value, out, project.labels)
        say.result(value | {"detections": boxes}, text + _board_text(result))
    else:
        outputs, text = tensor_outputs(load_graph(folder / FILE_NAME), result.outputs[0], project.labels)
        say.result(value | outputs, f"{text}{_board_text(result)}")


def _inputs(folder: Path, project: Project, photo: Path) -> tuple[Image.Image | None, Inputs]:
    """The picture, if it is one, and the bytes that the C takes: of one run, or of a sequence."""
    from rnnpool_mcu.system.images import model_image, read_image

    if project.inputs:
        batch = read_inputs(folder, project, photo)
        return None, batch if project.has_state else batch.part(0, 1)
    given, kind = project.model_input, load_graph(folder / FILE_NAME).input_type
    if is_array_file(photo):
        count = open_rows(photo).shape[0] if project.has_state else 1
        return None, sample_bytes(read_rows(photo, count, given, kind), given, kind)
    check_channels(project.input_channels, str(photo), "give an .npy, .npz or .csv with the input in a row")
    picture = read_image(photo)
    return picture, given.bytes_of(model_image(picture, project.input_shape, project.resize), kind)[None]


def _sequence(
    folder: Path, project: Project, value: dict[str, Any], result: RunResult
) -> tuple[dict[str, Any], str]:
    """What a sequence of runs gave, run by run, as JSON values and as text."""
    graph = load_graph(folder / FILE_NAME)
    if project.kind == "detector":
        labelled = _has_labels(folder)
        found = [parse_detections(output, labelled=labelled) for output in result.outputs]
        runs: list[dict[str, Any]] = [{"detections": [asdict(d) for d in boxes]} for boxes in found]
        texts = [f"{len(boxes)} found" for boxes in found]
    else:
        pairs = [tensor_outputs(graph, output, project.labels) for output in result.outputs]
        runs = [one for one, _ in pairs]
        texts = [f"{text}{_shown(one)}" for one, text in pairs]
    lines = [f"run {number}: {text}" for number, text in enumerate(texts)]
    return value | {"runs": runs}, "\n".join(lines)


def _shown(outputs: dict[str, Any]) -> str:
    """The int8 scores of a short output whose class is told."""
    scores = outputs.get("logits", ())
    return f"  {scores}" if 0 < len(scores) <= SHOWN_SCORES else ""


def _has_labels(folder: Path) -> bool:
    """Whether a detector's boxes are of several classes."""
    kinds = load_graph(folder / FILE_NAME).types.values()
    return any(isinstance(kind, DetectionsType) and kind.labelled for kind in kinds)


def _measured(result: RunResult) -> dict[str, Any]:
    on_board = {} if result.transfer is None else {"transfer": vars(result.transfer)}
    return {
        **({} if result.cycles is None else {"cycles": result.cycles[0]}),
        **on_board,
        "instructions": None if result.instructions is None else result.instructions[0],
        "stack_high_water_bytes": result.stack_high_water_bytes,
        "ram_used_bytes": result.ram_used_bytes,
    }


def _board_text(result: RunResult) -> str:
    """Lines about what a board counted, if it did, and about its line."""
    counted = "" if result.cycles is None else f"\n{result.cycles[0]:,} cycles, measured on the board"
    return counted + line_text(result.transfer)


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
