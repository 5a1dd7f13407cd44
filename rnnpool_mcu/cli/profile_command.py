"""`rnnpool-mcu profile`: where the instructions and the estimated cycles of one inference go."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import click

from rnnpool_mcu.cli.common import Speaker, common_options
from rnnpool_mcu.cli.options import PictureSource, board_option, compiled_folder, picture_options
from rnnpool_mcu.cli.pictures import inputs_of
from rnnpool_mcu.errors import ValidationError
from rnnpool_mcu.ir.batch import batch_of
from rnnpool_mcu.ir.profile import Profile
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.report import profile_renderable, read_report, render_svg, with_profile, write_report
from rnnpool_mcu.run import qemu
from rnnpool_mcu.run.profile import profile_elf
from rnnpool_mcu.toolchain.board import load_board

DEFAULT_BOARD = "nucleo-f439zi"
SVG_NAME = "profile.svg"


@click.command("profile")
@compiled_folder
@board_option(DEFAULT_BOARD, "Board whose clock and flash the cycles are estimated for.")
@picture_options(
    count=1,
    images="Folder of photographs; the slowest one is reported. Without it: one random image.",
    help="Photographs to use.",
)
@common_options
def profile_command(say: Speaker, folder: Path, board_name: str, pictures: PictureSource) -> None:
    """Count instructions of the model in DIR on the emulated board and estimate its cycles.

    Per layer, per function and per source line; written into the report of DIR, with a picture beside it.
    """
    board, project, report = load_board(board_name), Project.load(folder), read_report(folder)
    graph = load_graph(folder / FILE_NAME)
    source = pictures if pictures.folder else replace(pictures, count=1)
    pixels = batch_of(inputs_of(folder, project, source).bytes)
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
