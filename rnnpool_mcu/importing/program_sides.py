"""The sides of an exported program's input: those that the file leaves open are settled here."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.export import ExportedProgram

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.frontends.channels_first import image_shape
from rnnpool_mcu.quantize.post_training import export

Shape = tuple[int, ...]


def input_shape(program: ExportedProgram) -> Shape:
    """Shape of the program's one input; ModelError for several, open sides and batches."""
    name, sides = _input(program)
    if any(not isinstance(side, int) for side in sides):
        raise ModelError(
            f"input '{name}' has sides that are not fixed, {_told(sides)}; give --input-shape, an example of "
            "that shape in Python, or export it without dynamic_shapes"
        )
    image_shape(name, sides)
    return sides


def with_sides(program: ExportedProgram, wanted: Sequence[int] | None = None) -> ExportedProgram:
    """The program for an input of the sides `wanted`; without them an open batch is 1, and others stay open.

    Raises ModelError where the input is of other sides, or the program does not take them.
    """
    name, sides = _input(program)
    given = sides if wanted is None else tuple(wanted)
    if wanted is None and sides and not isinstance(sides[0], int):
        given = (1, *sides[1:])
    fits = len(given) == len(sides) and all(
        a == b for a, b in zip(sides, given, strict=True) if isinstance(a, int)
    )
    if not fits:
        raise ModelError(
            f"--input-shape {','.join(map(str, given))}: input '{name}' is {_told(sides)}, allowed: sides "
            "where it is open"
        )
    if given == sides or any(not isinstance(side, int) for side in given):
        return program
    return export(program.module(check_guards=False), torch.zeros(given))


def _input(program: ExportedProgram) -> tuple[str, tuple[Any, ...]]:
    """Name and sides of the one input, open ones as torch's symbols."""
    names = program.graph_signature.user_inputs
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    if len(names) != 1 or not isinstance(names[0], str):
        raise ModelError(f"{len(names)} inputs ({', '.join(map(str, names))}), supported: 1; split the model")
    value = placeholders[names[0]].meta.get("val")
    if not isinstance(value, Tensor) or not value.is_floating_point():
        raise ModelError(f"input '{names[0]}' is no float tensor, supported: one float image")
    return names[0], tuple(value.shape)


def _told(sides: Sequence[Any]) -> str:
    return f"[{', '.join(str(side) if isinstance(side, int) else f'{side} (open)' for side in sides)}]"
