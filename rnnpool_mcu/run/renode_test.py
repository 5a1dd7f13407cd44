"""What the Renode test of a project compares with: one image, and the lines that its report must have.

The lines are regular expressions, each matched once, in order; the outputs are those of the definition in
numpy. `renode/<name>.robot` reads them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.evaluate import evaluate_graph, image_to_int8
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.project import Project

IMAGES_NAME, EXPECTED_NAME = "images.bin", "expected.txt"
_HEADER = "<i12x"
_SEED = 0
_RAM_UNIT = 256  # of firmware/boards/*/memory.ld, bytes


def image_window(images: NDArray[np.uint8]) -> bytes:
    """Images [N, H, W, C] as the firmware finds them in memory: their number, 12 bytes unused, the pixels."""
    return struct.pack(_HEADER, len(images)) + images.tobytes()


def expected_lines(project: Project, outputs: Sequence[bytes]) -> list[str]:
    """Regular expressions of the report's lines for images with these outputs."""
    ram = project.ram_bytes // _RAM_UNIT * _RAM_UNIT
    lines = ["^runner 1$", f"^memory ram {ram} stack {project.stack_bytes} "]
    for index, output in enumerate(outputs):
        lines.append(f"^image index {index} status 0 .*canaries_ok 1$")
        lines.append(f"^output {output.hex()}$")
    return [*lines, f"^done images {len(outputs)} failures 0$", "^exit 0$"]


def write_renode_test(folder: Path, project: Project, graph: Graph) -> None:
    """Writes one made-up image and what the definition says of it into the project's `renode/`."""
    shape = (1, project.input_height, project.input_width, project.input_channels)
    images = np.random.default_rng(_SEED).integers(0, 256, shape, dtype=np.uint8)
    values = evaluate_graph(graph, image_to_int8(images[0]))
    outputs = [b"".join(values[name].tobytes() for name in graph.outputs)]
    (folder / "renode" / IMAGES_NAME).write_bytes(image_window(images))
    text = "\n".join(expected_lines(project, outputs)) + "\n"
    (folder / "renode" / EXPECTED_NAME).write_text(text, encoding="utf-8")
