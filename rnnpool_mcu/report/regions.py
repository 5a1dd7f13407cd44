"""What lies in which memory of the board."""

from __future__ import annotations

from typing import Any

from rnnpool_mcu.ir.firmware import Board, FlashAndStatic, StackBound, ram_needed, stack_reserve
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.report.model import Region

_IN_RAM = ("stack", "static variables", "image or row", "output")


def regions_of(
    board: Board, project: Project, sizes: FlashAndStatic | None, stack: StackBound | None
) -> tuple[Region, ...]:
    """RAM and flash, and the memories beside them that the arena or the weights lie in; none where nothing
    was built.
    """
    if sizes is None or stack is None:
        return ()
    arena = board.memory(project.arena_region, "ram")
    weights = board.memory(project.weights_region, "flash")
    in_ram = _IN_RAM if arena is not None else (*_IN_RAM, "arena")
    in_flash = ("code", "constants") if weights is not None else ("code", "constants", "weights")
    ram_bytes = sizes.ram_without_stack_bytes + stack_reserve(stack)
    if arena is not None:
        ram_bytes = ram_needed(sizes, stack) - sizes.arena_region_bytes
    flash_bytes = sizes.flash_bytes - (sizes.weights_bytes if weights is not None else 0)
    regions = [
        Region("ram", "ram", board.ram_origin, board.ram_bytes, ram_bytes, in_ram),
        Region("flash", "flash", board.flash_origin, board.flash_bytes, flash_bytes, in_flash),
    ]
    if arena is not None:
        regions.append(
            Region(arena.name, "ram", arena.origin, arena.bytes, sizes.arena_region_bytes, ("arena",))
        )
    if weights is not None:
        regions.append(
            Region(weights.name, "flash", weights.origin, weights.bytes, sizes.weights_bytes, ("weights",))
        )
    return tuple(regions)


def region_lines(regions: list[dict[str, Any]]) -> list[str]:
    """For people, where there is more than RAM and flash."""
    if len(regions) <= 2:
        return []
    return [
        f"Memory {r['name']} at {r['origin']:#010x}, {r['used_bytes']:,} of {r['bytes']:,} bytes: "
        f"{', '.join(r['holds'])}."
        for r in regions
    ]
