"""Which code of a built image belongs to which layer, from its debug information.

The generated model has one function per layer and action (`face_stem_row`, `face_detections_finish`, ...).
The compiler inlines most of them into `face_run`; the debug information says where they went.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from elftools.dwarf.compileunit import CompileUnit
from elftools.dwarf.die import DIE
from elftools.dwarf.dwarfinfo import DWARFInfo
from elftools.dwarf.ranges import BaseAddressEntry
from elftools.elf.elffile import ELFFile

from rnnpool_mcu.errors import UsageError

SCHEDULE = "(schedule)"  # the model's own code that belongs to no layer
OUTSIDE = "(outside)"

_ACTION = re.compile(r"(?P<node>\w+)_(?:row|pull|finish|absorb(?:_\d+)?)")
_IMAGE = "pull_image"
_CALLERS = ("harness_main", "run_image", "reset_handler")


@dataclass(frozen=True)
class Range:
    """Code in [start, end) that works for a layer, itself or by what it calls."""

    start: int
    end: int
    layer: str


def layer_ranges(elf: Path, model: str, layers: Sequence[str], image: str) -> list[Range]:
    """Ranges of the layers' code, innermost first; `image` is the layer that pulling image rows counts for.

    Raises UsageError where the image has no debug information of the model.
    """
    with elf.open("rb") as file:
        info = ELFFile(file).get_dwarf_info()
        names = _function_layers(model, layers, image)
        found = [part for unit in info.iter_CUs() for part in _unit_ranges(info, unit, names, model)]
    if not any(part.layer == SCHEDULE for part in found):
        raise UsageError(f"{elf}: no debug information about {model}_run; build it with -g")
    return sorted(found, key=lambda part: part.end - part.start)


def _function_layers(model: str, layers: Sequence[str], image: str) -> Mapping[str, str]:
    return {f"{model}_{layer}": layer for layer in (*layers, image)} | {f"{model}_{_IMAGE}": image}


def _layer_of(function: str, names: Mapping[str, str], model: str) -> str | None:
    """The layer a function works for; None where that depends on its caller."""
    action = _ACTION.fullmatch(function)
    if action is not None and action["node"] in names:
        return names[action["node"]]
    if function in names:
        return names[function]
    if function == f"{model}_run":
        return SCHEDULE
    return OUTSIDE if function in _CALLERS else None


def _unit_ranges(info: DWARFInfo, unit: CompileUnit, names: Mapping[str, str], model: str) -> Iterator[Range]:
    for die in unit.iter_DIEs():
        if die.tag not in ("DW_TAG_subprogram", "DW_TAG_inlined_subroutine"):
            continue
        layer = _layer_of(_name(die), names, model)
        if layer is not None:
            yield from (Range(start, end, layer) for start, end in _addresses(info, unit, die))


def _name(die: DIE) -> str:
    while "DW_AT_name" not in die.attributes:
        if "DW_AT_abstract_origin" not in die.attributes:
            return ""
        die = die.get_DIE_from_attribute("DW_AT_abstract_origin")
    return str(die.attributes["DW_AT_name"].value.decode())


def _addresses(info: DWARFInfo, unit: CompileUnit, die: DIE) -> Iterator[tuple[int, int]]:
    attributes = die.attributes
    if "DW_AT_low_pc" in attributes and "DW_AT_high_pc" in attributes:
        low, high = attributes["DW_AT_low_pc"].value, attributes["DW_AT_high_pc"]
        yield low, high.value if high.form == "DW_FORM_addr" else low + high.value
    elif "DW_AT_ranges" in attributes:
        lists = info.range_lists()
        assert lists is not None, "a range attribute needs its section"
        top = unit.get_top_DIE().attributes
        base = top["DW_AT_low_pc"].value if "DW_AT_low_pc" in top else 0
        for entry in lists.get_range_list_at_offset(attributes["DW_AT_ranges"].value, cu=unit):
            if isinstance(entry, BaseAddressEntry):
                base = entry.base_address
            else:
                shift = 0 if entry.is_absolute else base
                yield entry.begin_offset + shift, entry.end_offset + shift
