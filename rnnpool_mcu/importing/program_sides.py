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


def input_shapes(program: ExportedProgram) -> tuple[Shape, ...]:
    """Shapes of the program's inputs; ModelError for none, for others than float tensors, for open sides."""
    found = _inputs(program)
    for name, sides in found:
        if any(not isinstance(side, int) for side in sides):
            raise ModelError(
                f"input '{name}' has sides that are not fixed, {_told(sides)}; give --input-shape, an "
                "example of that shape in Python, or export it without dynamic_shapes"
            )
        if len(sides) == 3 and sides[0] != 1 and sides[1] == 1:
            raise ModelError(
                f"input '{name}' is {list(sides)}, steps before the batch, supported: the batch of 1 first; "
                "let the model take [1, steps, values], by batch_first=True or x.permute(1, 0, 2)"
            )
        image_shape(name, sides)
    return tuple(sides for _, sides in found)


def with_sides(program: ExportedProgram, wanted: Sequence[int] | None = None) -> ExportedProgram:
    """The program for an input of the sides `wanted`; without them open batches are 1, and others stay open.

    Raises ModelError where the input is of other sides, the program does not take them, or has several.
    """
    found = _inputs(program)
    if wanted is not None and len(found) > 1:
        names = ", ".join(name for name, _ in found)
        raise ModelError(f"{len(found)} inputs ({names}); export it without dynamic_shapes")
    given = tuple(_settled(*found[0], wanted) if wanted is not None else _of_one(s) for _, s in found)
    if given == tuple(sides for _, sides in found) or not all(
        isinstance(side, int) for sides in given for side in sides
    ):
        return program
    return export(program.module(check_guards=False), tuple(map(torch.zeros, given)))


def _of_one(sides: tuple[Any, ...]) -> tuple[Any, ...]:
    """An open batch is 1."""
    return (1, *sides[1:]) if sides and not isinstance(sides[0], int) else sides


def _settled(name: str, sides: tuple[Any, ...], wanted: Sequence[int]) -> tuple[Any, ...]:
    given = tuple(wanted)
    fits = len(given) == len(sides) and all(
        a == b for a, b in zip(sides, given, strict=True) if isinstance(a, int)
    )
    if not fits:
        raise ModelError(
            f"--input-shape {','.join(map(str, given))}: input '{name}' is {_told(sides)}, allowed: sides "
            "where it is open"
        )
    return given


def _inputs(program: ExportedProgram) -> list[tuple[str, tuple[Any, ...]]]:
    """Name and sides of each input, open ones as torch's symbols."""
    names = program.graph_signature.user_inputs
    placeholders = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    found = []
    for name in names:
        value = placeholders[name].meta.get("val") if isinstance(name, str) else None
        if not isinstance(value, Tensor) or not value.is_floating_point():
            raise ModelError(f"input '{name}' is no float tensor, supported: one float image, or several")
        found.append((str(name), tuple(value.shape)))
    if not found:
        raise ModelError("0 inputs, allowed: 1 and more; a model without any computes a constant")
    return found


def _told(sides: Sequence[Any]) -> str:
    return f"[{', '.join(str(side) if isinstance(side, int) else f'{side} (open)' for side in sides)}]"
