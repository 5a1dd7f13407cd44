"""What a model needs and which boards have it: RAM of its fastest and smallest plan, flash, its layers."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from rnnpool_mcu.analysis.plans import Measure, Planning
from rnnpool_mcu.ir.firmware import Board
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.model_name import printable
from rnnpool_mcu.ir.project import PlanOptions
from rnnpool_mcu.schedule.advice import saved_by_smallest_streamed
from rnnpool_mcu.schedule.pricing.costs import predicted_cycles, predicted_instructions

CODE_BYTES = 32 * 1024
"""Flash of kernels, tables and start-up: an estimate, a little above the models measured."""

QUICK_EFFORT = 500_000  # steps of the search for offsets: within some percent of what compile finds


def needs_of(
    graph: Graph,
    file: Path,
    image: str,
    boards: Sequence[Board],
    ram_bytes: int | None,
    progress: Callable[[str], None],
    measure: Measure = lambda _: None,
) -> dict[str, Any]:
    """What is shown and written as JSON; `image` is one of IMAGE_MODES, `ram_bytes` a limit beside a board's.

    RAM is that of the plans' firmware where `measure` knows it, else an estimate, as is the flash;
    instructions and cycles are predicted.
    """
    limit = min(max(board.ram_bytes for board in boards), ram_bytes or max(b.ram_bytes for b in boards))
    plans = {}
    for title, objective in (("fastest", "cycles"), ("smallest", "ram")):
        wanted = PlanOptions(None, image, "speed", objective)
        planning = Planning(graph, wanted, progress, place_effort=QUICK_EFFORT, measure=measure)
        plan = planning.chosen()
        if title == "smallest" and planning.needed(plan) > limit:  # as compile would place it
            planning = Planning(graph, wanted, progress, measure=measure)
            plan = planning.chosen()
        plans[title] = planning.result(printable(file.name), plan)
        plans[title] |= {
            "needed_bytes": planning.needed(plan),
            "measured": planning.measured(plan) is not None,
        }
    return _value(graph, file, plans, boards, ram_bytes)


def why_it_fits_nowhere(graph: Graph, file: Path, value: dict[str, Any]) -> str | None:
    """What is too much, and what to do; None where some board that `value` tells of holds the model."""
    if any(verdict["fits"] for verdict in value["boards"]):
        return None
    return _too_large(value, file, _saved_by_streaming(graph, value))


def _value(
    graph: Graph, file: Path, plans: dict[str, Any], boards: Sequence[Board], ram_bytes: int | None
) -> dict[str, Any]:
    layers = _layers(graph)
    flash_bytes = sum(layer["flash_bytes"] for layer in layers)
    smallest = plans["smallest"]
    needed = {title: plan["needed_bytes"] for title, plan in plans.items()}
    return {
        "model": printable(file.name),
        "image": smallest["image"],
        "input_shape": smallest["input_shape"],
        "output_bytes": smallest["ram_estimate"]["output_bytes"],
        "plans": {
            title: {"ram_bytes": needed[title], "measured": plan["measured"], **plan["plan"]}
            for title, plan in plans.items()
        },
        "no_recompute_bound_bytes": smallest["no_recompute_bound_bytes"],
        "weights_bytes": flash_bytes,
        "flash_bytes": flash_bytes + CODE_BYTES,
        "macs": sum(layer["macs"] for layer in layers),
        "notes": smallest["notes"],
        "layers": layers,
        "boards": [_verdict(board, needed, flash_bytes + CODE_BYTES, ram_bytes) for board in boards],
    }


def _verdict(board: Board, needed: dict[str, int], flash_bytes: int, ram_bytes: int | None) -> dict[str, Any]:
    """Whether a board holds it, and which plan it has room for."""
    limit = min(board.ram_bytes, ram_bytes if ram_bytes is not None else board.ram_bytes)
    plan = next((title for title in ("fastest", "smallest") if needed[title] <= limit), None)
    fits_flash = flash_bytes <= board.flash_bytes
    return {
        "board": board.name,
        "ram_bytes": limit,
        "flash_bytes": board.flash_bytes,
        "plan": plan,
        "fits_flash": fits_flash,
        "fits": plan is not None and fits_flash,
    }


def _layers(graph: Graph) -> list[dict[str, Any]]:
    found = []
    for node in graph.nodes:
        types = graph.input_types(node)
        found.append(
            {
                "name": node.name,
                "operator": node.op.kernel,
                "output": str(graph.types[node.name]),
                "macs": node.op.macs(types),
                "flash_bytes": sum(array.bytes for _, array in node.op.c_params(types).arrays()),
                "predicted_instructions": round(predicted_instructions(graph, node)),
                "predicted_cycles": round(predicted_cycles(graph, node)),
            }
        )
    return found


def _saved_by_streaming(graph: Graph, value: dict[str, Any]) -> int:
    """Bytes, by the smallest plan of a streamed image; 0 where `value` is of one."""
    graph = replace(graph, image_resident=value["image"] == "resident")
    arena_bytes = value["plans"]["smallest"]["arena_bytes"]
    return saved_by_smallest_streamed(graph, arena_bytes)


def _too_large(value: dict[str, Any], file: Path, saved_by_streaming: int) -> str:
    smallest = value["plans"]["smallest"]
    limits = "; ".join(
        f"{found['board']}: {found['ram_bytes']} bytes RAM, {found['flash_bytes']} flash"
        for found in value["boards"]
    )
    streaming = "stream the image, or " if saved_by_streaming else ""
    about = "" if smallest["measured"] else "about "
    return (
        f"{printable(str(file))}: needs {about}{smallest['ram_bytes']} bytes of RAM by its smallest plan and "
        f"about {value['flash_bytes']} of flash ({limits}); most RAM is live in "
        f"'{smallest['peak']['operator']}'; {streaming}give the model a smaller input or fewer channels there"
    )
