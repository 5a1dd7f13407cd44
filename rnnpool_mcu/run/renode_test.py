"""What the Renode test of a project compares with: one image, or a sequence of a few where the model keeps a
state, and the lines that its report must have.

The lines are regular expressions, each matched once, in order; the outputs are those of the definition in
numpy. `renode/<name>.robot` reads them.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.evaluate import evaluate_batch
from rnnpool_mcu.ir.firmware import protection_unit
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.run import batch

IMAGES_NAME, EXPECTED_NAME = "images.bin", "expected.txt"
_HEADER = "<i12x"
_SEED = 0
_RUNS = 3  # of a sequence
_RAM_UNIT = 256  # of firmware/boards/*/memory.ld, bytes


def window_of(runs: int, records: bytes) -> bytes:
    """A batch as the firmware finds it in memory: its number of runs, 12 bytes unused, their records."""
    return struct.pack(_HEADER, runs) + records


def image_window(images: NDArray[np.uint8]) -> bytes:
    """Images [N, H, W, C] as the firmware finds them in memory: their number, 12 bytes unused, the pixels."""
    return window_of(len(images), images.tobytes())


def expected_lines(project: Project, outputs: Sequence[bytes], ram_most: int | None = None) -> list[str]:
    """Regular expressions of the report's lines for images with these outputs.

    `ram_most` is the board's contiguous RAM, beside which the arena may lie.
    """
    main = project.ram_bytes - project.arena_region_bytes
    if ram_most is not None:
        main = min(main, ram_most)
    shared = project.arena_region is not None or project.weights_region is not None
    unit = protection_unit(main, shared=True) if shared else _RAM_UNIT
    ram = main // unit * unit + project.arena_region_bytes
    lines = ["^runner 1$", f"^memory ram {ram} stack {project.stack_bytes} "]
    for index, output in enumerate(outputs):
        lines.append(f"^image index {index} status 0 .*canaries_ok 1$")
        lines.append(f"^output {output.hex()}$")
    return [*lines, f"^done images {len(outputs)} failures 0$", "^exit 0$"]


def write_renode_test(folder: Path, project: Project, graph: Graph, ram_most: int | None = None) -> None:
    """Writes made-up inputs and what the definition says of them into the project's `renode/`."""
    rng, runs = np.random.default_rng(_SEED), _RUNS if project.has_state else 1
    shapes = [(runs, *given.shape) for given in project.every_input]
    images = Batch.sequence(*(rng.integers(0, 256, shape, dtype=np.uint8) for shape in shapes))
    found = evaluate_batch(graph, images)
    outputs = [b"".join(values[name].tobytes() for name in graph.outputs) for values in found]
    window = window_of(runs, batch.as_bytes(project, images))
    (folder / "renode" / IMAGES_NAME).write_bytes(window)
    text = "\n".join(expected_lines(project, outputs, ram_most)) + "\n"
    (folder / "renode" / EXPECTED_NAME).write_text(text, encoding="utf-8")
