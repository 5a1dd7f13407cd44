"""`rnnpool-mcu profile`: where the instructions and the estimated cycles of one inference go."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click
from click.core import ParameterSource

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import (
    PictureSource,
    board_option,
    compiled_folder,
    engine_option,
    picture_options,
)
from rnnpool_mcu.cli.pictures import inputs_of
from rnnpool_mcu.cli.port_options import line_text, port_options
from rnnpool_mcu.errors import UsageError, ValidationError
from rnnpool_mcu.ir.batch import Batch, batch_of
from rnnpool_mcu.ir.firmware import Board
from rnnpool_mcu.ir.profile import Profile
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.report import (
    profile_renderable,
    read_report,
    render_svg,
    with_profile,
    with_run,
    write_report,
)
from rnnpool_mcu.run import qemu
from rnnpool_mcu.run.profile import profile_elf
from rnnpool_mcu.system.serial_lines import SerialPort
from rnnpool_mcu.toolchain.board import board_of, load_board
from rnnpool_mcu.validate.engines import HARDWARE, run_engine

ENGINES = ("qemu", "renode", HARDWARE)
DEFAULT_BOARD = "nucleo-f439zi"
SVG_NAME = "profile.svg"


@click.command("profile")
@compiled_folder
@engine_option(ENGINES, "What counts: an emulator, or the board at --port.", default=ENGINES[0])
@port_options
@board_option(DEFAULT_BOARD, "Board whose clock and flash the cycles are estimated for, with qemu.")
@picture_options(
    count=1,
    images="Folder of photographs; the slowest one is reported. Without it: one random image.",
    help="Photographs to use.",
)
@common_options
def profile_command(
    say: Speaker,
    folder: Path,
    engine: str,
    port: SerialPort | None,
    board_name: str,
    pictures: PictureSource,
) -> None:
    """Count instructions of the model in DIR on the emulated board and estimate its cycles.

    Per layer, per function and per source line; written into the report of DIR, with a picture beside it.
    --engine hardware measures the cycles of whole runs on the board of DIR instead, by its own counter; with
    renode they stay unknown.
    """
    source = pictures if pictures.folder else replace(pictures, count=1)
    project = Project.load(folder)
    pixels = batch_of(inputs_of(folder, project, source).bytes)
    if engine == ENGINES[0]:
        _estimate(say, folder, project, load_board(board_name), pixels)
    else:
        _measure(say, folder, engine, port, pixels)


def _measure(say: Speaker, folder: Path, engine: str, port: SerialPort | None, pixels: Batch) -> None:
    """The slowest of whole runs, as the engine counts them; what it does not count is unknown, not 0."""
    if click.get_current_context().get_parameter_source("board_name") is ParameterSource.COMMANDLINE:
        raise UsageError(
            f"--board: --engine {engine} runs on the board that {folder} was compiled for; leave it out"
        )
    board = board_of(folder, Project.load(folder).board)
    with say.progress(f"running on {engine}") as progress:
        run = run_engine(folder, engine, pixels, progress, port=port)
    cycles = max(run.cycles) if run.cycles else None
    instructions = max(run.instructions) if run.instructions else None
    seconds = None if cycles is None else cycles / board.clock_hz
    if cycles is not None or instructions is not None:
        write_report(with_run(read_report(folder), run), folder)
    value = {
        "engine": engine,
        "board": board.name,
        "images": len(pixels),
        "instructions": instructions,
        "measured_cycles": cycles,
        "clock_hz": board.clock_hz,
        "seconds": seconds,
        **({} if run.transfer is None else {"transfer": vars(run.transfer)}),
    }
    shown = (
        "unknown, it has no counter that runs" if cycles is None else f"{cycles:,}, measured by its counter"
    )
    lines = [f"cycles on {board.name}: {shown}"]
    if seconds is not None:
        lines.append(
            f"  {seconds * 1e3:,.3f} ms at {board.clock_hz / 1e6:g} MHz; waiting for the input is not in it"
        )
    lines.append(f"instructions: {'unknown' if instructions is None else f'{instructions:,}, counted'}")
    say.result(value, "\n".join(lines) + line_text(run.transfer))


def _estimate(say: Speaker, folder: Path, project: Project, board: Board, pixels: Batch) -> None:
    """Instructions by the emulator's plugin, cycles of the board estimated from them."""
    report, graph = read_report(folder), load_graph(folder / FILE_NAME)
    with say.progress("building the firmware") as progress:
        elf = qemu.build(folder, board=qemu.BOARD)
        profiles = []
        for number in range(1, len(pixels) + 1):
            progress(f"counting: image {number} of {len(pixels)}")
            layers, image = list(graph.values[1:]), pixels.part(number - 1, number)
            profiles.append(profile_elf(elf, project, image, layers, graph.input_name, board))
    profile = max(profiles, key=lambda found: found.total.cycles)
    write_report(with_profile(report, profile), folder)
    (folder / SVG_NAME).write_text(render_svg(profile), encoding="utf-8")
    macs = {node.name: node.op.macs(graph.input_types(node)) for node in graph.nodes}
    say.result(_value(profile, macs), profile_renderable(profile, {k: v for k, v in macs.items() if v}))
    say.note(f"picture: {folder / SVG_NAME}")
    if profile.unaligned_multiples:
        first = profile.unaligned_multiples[0]
        raise ValidationError(
            f"{folder}: {len(profile.unaligned_multiples)} instructions would fault on hardware, first "
            f"'{first.instruction}' at {first.source}: its address must be a multiple of 4; "
            f"align the data, or read it with single loads"
        )


def _value(profile: Profile, macs: dict[str, int]) -> dict[str, Any]:
    total = profile.total
    value = asdict(profile) | {"layer_functions": {}}
    for layer, shares in zip(profile.layers, profile.layer_functions, strict=True):
        value["layer_functions"][layer.name] = [asdict(share) for share in shares]
    for entry in value["layers"]:
        entry["macs"] = macs.get(entry["name"], 0)
    return value | {
        "instructions": total.instructions,
        "estimated_cycles": total.cycles,
        "zero_wait_cycles": total.core_cycles,
        "seconds": profile.seconds,
    }
