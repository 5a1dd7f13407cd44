"""The stages from a model file to a proven project folder, in order. The only place that lists them."""

from __future__ import annotations

import dataclasses
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rnnpool_mcu.codegen.emit import emit
from rnnpool_mcu.errors import BudgetError
from rnnpool_mcu.ir.firmware import PROTECTION_BYTES, Board, FlashAndStatic, StackBound
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.tensor_type import DetectionsType
from rnnpool_mcu.ir.verify import verify_graph
from rnnpool_mcu.ops.graph_file import FILE_NAME, save_graph
from rnnpool_mcu.report import Report, report_of_plan, write_report
from rnnpool_mcu.schedule.arena import EXACT_EFFORT
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.schedule.validate import validate_plan
from rnnpool_mcu.toolchain import gcc, size, stack
from rnnpool_mcu.toolchain.board import check_ram, load_board
from rnnpool_mcu.toolchain.project_files import write_project_files

Progress = Callable[[str], None]
STACK_ALIGNMENT = 8  # bytes, the procedure call standard's


@dataclass(frozen=True)
class Target:
    """What the firmware is compiled for; sizes in bytes."""

    name: str
    ram_bytes: int
    image: str  # "resident" or "streamed"
    board: str
    title: str
    source: str  # the model file, for the report
    calibration: str | None = None  # where the activation ranges came from, for the report


def compile_model(
    model: Path,
    ram_bytes: int,
    out: Path,
    *,
    name: str | None = None,
    image: str = "resident",
    board: str = "mps2-an386",
    calibration: Path | None = None,
    count: int = 64,
    seed: int = 0,
    progress: Progress = lambda _: None,
) -> Report:
    """Compile a model file into the existing, empty folder `out`; returns the report written there.

    Raises ModelError for a model that cannot be read or holds something unsupported, BudgetError when the
    whole program needs more than `ram_bytes`, ToolMissingError without a cross compiler.
    """
    from rnnpool_mcu.importing import load_graph

    target_board = load_board(board)
    check_ram(target_board, ram_bytes)
    imported = load_graph(model, calibration=calibration, count=count, seed=seed)
    symbol = name or re.sub(r"[^a-z0-9_]", "_", model.stem.lower())
    title = f"{imported.kind} {model.stem}"
    target = Target(symbol, ram_bytes, image, target_board.name, title, model.name, imported.calibration)
    return compile_graph(imported.graph, target, out, progress=progress)


def compile_graph(graph: Graph, target: Target, out: Path, *, progress: Progress = lambda _: None) -> Report:
    """Plan a graph, write its C and its firmware into `out`, build them, and prove that they fit."""
    progress("planning the memory, writing C")
    plan, project = generate(graph, target, out)
    progress("building and measuring the firmware")
    sizes, bound = _measure(out, plan, project, load_board(target.board))
    _check_budget(plan, project, sizes, bound)
    reserve = (bound.bytes + STACK_ALIGNMENT - 1) // STACK_ALIGNMENT * STACK_ALIGNMENT
    project = dataclasses.replace(project, stack_bytes=reserve)
    write_project_files(out, project)
    report = report_of_plan(plan, project, target.source, sizes, bound, target.calibration)
    write_report(report, out)
    return report


def generate(
    graph: Graph, target: Target, out: Path, *, exact_effort: float = EXACT_EFFORT
) -> tuple[Plan, Project]:
    """Plan a graph and write its C, its firmware and its definition into `out`; nothing is built yet."""
    verify_graph(graph)
    plan = plan_graph(graph, exact_effort=exact_effort)
    validate_plan(plan)
    for path, text in emit(plan, name=target.name, title=target.title).items():
        file = out / "src" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    save_graph(graph, out / FILE_NAME)  # what validation checks against
    project = _project(plan, target)
    write_project_files(out, project)
    return plan, project


def _project(plan: Plan, target: Target) -> Project:
    graph = plan.graph
    outputs = [graph.types[name] for name in graph.outputs]
    height, width, channels = graph.input_type.shape
    return Project(
        name=target.name,
        kind="detector" if any(isinstance(o, DetectionsType) for o in outputs) else "classifier",
        input_height=height,
        input_width=width,
        input_channels=channels,
        output_bytes=sum(o.bytes for o in outputs),
        arena_bytes=plan.arena_bytes,
        image_mode=target.image,
        ram_bytes=target.ram_bytes,
        board=target.board,
    )


def _measure(out: Path, plan: Plan, project: Project, board: Board) -> tuple[FlashAndStatic, StackBound]:
    """Sizes and stack bound of the firmware, built with all the RAM the board has."""
    picture = project.image_bytes if project.image_mode == "resident" else 0
    least = project.arena_bytes + picture + project.output_bytes
    if least > board.ram_bytes:  # cannot even be linked, so its stack stays unknown
        raise BudgetError(_too_small(plan, project, least, "at least "))
    try:
        elf = gcc.build(out, board, ram_bytes=board.ram_bytes, image_mode=project.image_mode)
        return size.measure(elf), stack.worst_case(elf)
    finally:
        shutil.rmtree(out / "build", ignore_errors=True)


def ram_needed(sizes: FlashAndStatic, bound: StackBound) -> int:
    """The smallest budget: static, buffers, arena with canaries, deepest stack, in units of protection."""
    used = (
        sizes.ram_without_stack_bytes
        + (bound.bytes + STACK_ALIGNMENT - 1) // STACK_ALIGNMENT * STACK_ALIGNMENT
    )
    return (used + PROTECTION_BYTES - 1) // PROTECTION_BYTES * PROTECTION_BYTES


def _check_budget(plan: Plan, project: Project, sizes: FlashAndStatic, bound: StackBound) -> None:
    needed = ram_needed(sizes, bound)
    if needed > project.ram_bytes:
        raise BudgetError(_too_small(plan, project, needed, ""))


def _too_small(plan: Plan, project: Project, needed: int, qualifier: str) -> str:
    advice = f"allow --ram {needed}"
    if project.image_mode == "resident":
        row = project.image_bytes // project.input_height
        advice += f", or stream the image (--image streamed needs about {needed - project.image_bytes + row})"
    return (
        f"--ram {project.ram_bytes}: {project.name} needs {qualifier}{needed} bytes with the image "
        f"{project.image_mode}, {project.arena_bytes} of them its arena; most is live in "
        f"'{plan.peak_step().value}'; {advice}"
    )
