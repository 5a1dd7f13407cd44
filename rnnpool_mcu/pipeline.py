"""The stages from a model file to a proven project folder, in order. The only place that lists them."""

from __future__ import annotations

import dataclasses
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rnnpool_mcu.codegen.emit import emit, input_fields
from rnnpool_mcu.errors import BudgetError, ModelError, ToolMissingError
from rnnpool_mcu.ir.firmware import Board, FlashAndStatic, StackBound, ram_needed, stack_reserve
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.labels import check_labels
from rnnpool_mcu.ir.model_name import check_name, default_name, printable
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.ir.project import InputShape, Project
from rnnpool_mcu.ir.source import AS_IT_IS, ModelInput, Preprocessing
from rnnpool_mcu.ir.tensor_type import DetectionsType
from rnnpool_mcu.ir.verify import check_operator_count, verify_graph
from rnnpool_mcu.ops.graph_file import FILE_NAME, save_graph
from rnnpool_mcu.quantize.float_agreement import GOOD_COSINE, FloatSource
from rnnpool_mcu.report import Planning, Report, report_of_plan, write_memory_picture, write_report
from rnnpool_mcu.report.provenance import file_sha256, provenance
from rnnpool_mcu.report.regions import regions_of
from rnnpool_mcu.run.renode_test import write_renode_test
from rnnpool_mcu.schedule.advice import ram_advice
from rnnpool_mcu.schedule.arena import PLACE_EFFORT
from rnnpool_mcu.schedule.bound import lower_bound, recomputed_macs
from rnnpool_mcu.schedule.choose import smallest_plan
from rnnpool_mcu.schedule.planner import plan_graph, saved_by_streaming
from rnnpool_mcu.schedule.pricing.speed import with_constants_in_ram
from rnnpool_mcu.schedule.search import Candidate, pareto_front
from rnnpool_mcu.schedule.streaming import fastest_plan, obstacle_notes
from rnnpool_mcu.schedule.validate import validate_plan
from rnnpool_mcu.toolchain import gcc, size, stack
from rnnpool_mcu.toolchain.board import check_flash, check_ram, check_regions, load_board
from rnnpool_mcu.toolchain.project_files import write_project_files

Progress = Callable[[str], None]
NOT_BUILT = (
    "nothing was built (--emit-only): stack, static variables and flash are not known; where there is a "
    "cross compiler, `rnnpool-mcu validate` builds it within the budget, or says by how much it is exceeded"
)
STATIC_BYTES = 256
"""Of .data, .bss, canaries and alignment, where nothing is built; beside the stack of project.json."""


@dataclass(frozen=True)
class Target:
    """What the firmware is compiled for; sizes in bytes."""

    name: str
    ram_bytes: int
    image: str  # "resident" or "streamed"
    board: str  # the name of a board, or the path of a folder with one
    title: str
    source: str  # the model file, for the report
    calibration: str | None = None  # where the activation ranges came from, for the report
    optimize: str = "speed"  # or "size": smaller code, no constants in RAM
    objective: str = "cycles"  # or "ram": of the plans that fit, the fastest or the smallest
    labels: tuple[str, ...] = ()  # names of the classes, for the header and for reports
    input: ModelInput = ModelInput()  # noqa: RUF009  (frozen)
    agreement: Mapping[str, Any] | None = None  # with the float model, for the report
    source_sha256: str | None = None  # of the model file, for the report
    arena_region: str | None = None  # a memory of the board beside its RAM, for the arena
    weights_region: str | None = None  # one beside its flash, for the weights
    emit_only: bool = False  # nothing is built: stack, static variables and flash are not measured


def compile_model(
    model: Path,
    ram_bytes: int,
    out: Path,
    *,
    name: str | None = None,
    image: str = "resident",
    board: str = "mps2-an386",
    optimize: str = "speed",
    objective: str = "cycles",
    labels: Sequence[str] = (),
    calibration: Path | None = None,
    count: int = 64,
    seed: int = 0,
    preprocessing: Preprocessing = AS_IT_IS,
    input_shape: tuple[int, ...] | None = None,
    accept_loss: bool = False,
    arena_region: str | None = None,
    weights_region: str | None = None,
    emit_only: bool = False,
    progress: Progress = lambda _: None,
    warn: Progress = lambda _: None,
) -> Report:
    """Compile a model file into the existing, empty folder `out`; returns the report written there.

    Raises ModelError for a model that cannot be read, holds something unsupported or, unless `accept_loss`,
    is another one in integers than in float; BudgetError when the whole program needs more than `ram_bytes`;
    ToolMissingError without a cross compiler, unless `emit_only`.
    """
    from rnnpool_mcu.importing import load_graph

    symbol = default_name(model.stem) if name is None else name
    check_name(symbol)
    target_board = load_board(board)
    check_regions(target_board, arena_region, weights_region)
    check_ram(target_board, ram_bytes, arena_region)
    imported = load_graph(
        model,
        calibration=calibration,
        count=count,
        seed=seed,
        preprocessing=preprocessing,
        input_shape=input_shape,
    )
    agreement = agreement_with_float(imported.floating, printable(model.name), accept_loss, progress, warn)
    title = f"{imported.kind} {printable(model.stem)}"
    target = Target(
        *(symbol, ram_bytes, image, board, title, printable(model.name)),
        *(imported.calibration, optimize, objective, tuple(labels) or tuple(imported.labels)),
        *(imported.input, agreement),
    )
    target = dataclasses.replace(
        target,
        source_sha256=file_sha256(model),
        arena_region=arena_region,
        weights_region=weights_region,
        emit_only=emit_only,
    )
    return compile_graph(imported.graph, target, out, progress=progress, warn=warn)


def agreement_with_float(
    floating: FloatSource | None,
    name: str,
    accept_loss: bool,
    progress: Progress = lambda _: None,
    warn: Progress = lambda _: None,
) -> dict[str, Any] | None:
    """How far a model that was quantized here is from its float form, for the report; None for others.

    Warns below GOOD_COSINE. Raises ModelError where it is far (LEAST_COSINE), unless `accept_loss`.
    """
    if floating is None:
        return None
    found = floating.compare(progress)
    if found.is_far and not accept_loss:
        raise ModelError(
            f"{name}: {found.verdict}; give typical --calibration "
            "inputs, more of them (--count), and the preprocessing it was trained with, or go on with "
            "--accept-loss"
        )
    if found.cosine < GOOD_COSINE or found.is_far:
        warn(f"warning: {name}: {found.verdict}")
    return found.as_json()


def compile_graph(
    graph: Graph,
    target: Target,
    out: Path,
    *,
    progress: Progress = lambda _: None,
    warn: Progress = lambda _: None,
) -> Report:
    """Plan a graph, write its C and its firmware into `out`, build them, and prove that they fit.

    The fastest plan is tried first; if the whole program does not fit, the fastest of the front that does.
    With the objective "ram" it is the smallest of the front. `warn` is told what cannot be streamed.
    """
    check_name(target.name, "name")
    check_labels(graph, target.labels)
    graph = _for_image(graph, target)
    board, notes = load_board(target.board), obstacle_notes(graph)
    check_regions(board, target.arena_region, target.weights_region)
    check_flash(board, _constants_bytes(graph), target.weights_region)
    for note in notes:
        warn(note)
    if target.objective == "ram":
        progress("searching for the smallest plan, building the firmware")
        _, plan = smallest_plan(_front(graph, target))
        built = _build(plan, target, out, board)
    else:
        built = _build_fastest(graph, target, out, board, progress)
    measured = built.sizes is not None and built.stack is not None
    if not (measured or target.emit_only) or built.needed_bytes > target.ram_bytes:
        raise BudgetError(_too_small(built, graph, board))
    project = built.project
    if built.stack is not None:
        project = dataclasses.replace(project, stack_bytes=stack_reserve(built.stack))
    write_project_files(out, project, load_board(target.board))
    planning = _planning(graph, built.plan, target, (*notes, NOT_BUILT) if target.emit_only else notes)
    write_renode_test(out, project, graph, board.ram_bytes)
    report = report_of_plan(
        *(built.plan, project, target.source, built.sizes, built.stack, target.calibration, planning),
        agreement=target.agreement,
        regions=regions_of(board, project, built.sizes, built.stack),
    )
    compiler = "none: --emit-only" if target.emit_only else gcc.version()
    report["provenance"] = provenance(out, compiler, target.source_sha256)
    write_report(report, out)
    write_memory_picture(built.plan, target.title, out)
    return report


def _planning(graph: Graph, plan: Plan, target: Target, notes: tuple[str, ...]) -> Planning:
    """What the report measures the plan against."""
    saved = 0 if plan.image_offset is None else saved_by_streaming(plan)
    return Planning(target.objective, lower_bound(graph).bytes, recomputed_macs(plan.graph), notes, saved)


def _constants_bytes(graph: Graph) -> int:
    """What the weights and tables of a graph take of the flash."""
    return sum(
        array.bytes for node in graph.nodes for _, array in node.op.c_params(graph.input_types(node)).arrays()
    )


def _for_image(graph: Graph, target: Target) -> Graph:
    """The verified graph with the image where the target has it."""
    verify_graph(graph)
    check_operator_count(graph)
    return dataclasses.replace(graph, image_resident=target.image == "resident")


def _build_fastest(graph: Graph, target: Target, out: Path, board: Board, progress: Progress) -> _Built:
    """The fastest plan whose firmware fits; the smallest one's when none does."""
    progress("planning the memory, writing C, building the firmware")
    fastest = with_constants_in_ram(graph) if target.optimize == "speed" else graph
    built = _build(fastest_plan(fastest), target, out, board)
    if built.needed_bytes <= target.ram_bytes:
        return built
    progress(f"searching for a plan within {target.ram_bytes} bytes")
    return _build_within_budget(graph, built, target, out, board)


def _front(graph: Graph, target: Target) -> tuple[Candidate, ...]:
    return pareto_front(graph, constants_in_ram=target.optimize == "speed")


@dataclass(frozen=True, eq=False)
class _Built:
    """A plan's firmware as measured; sizes and stack are None when the board cannot hold it at all."""

    plan: Plan
    project: Project
    sizes: FlashAndStatic | None
    stack: StackBound | None
    needed_bytes: int  # of RAM, by the whole program; without sizes a lower bound


def _build(plan: Plan, target: Target, out: Path, board: Board) -> _Built:
    """Write and measure a plan's firmware, built with all the RAM the board has."""
    shutil.rmtree(out / "src", ignore_errors=True)
    project = write_sources(plan, target, out)
    least, apart = project.output_bytes + project.state_bytes, board.memory(project.arena_region, "ram")
    most = board.ram_bytes + project.arena_region_bytes
    if apart is None:
        least += project.arena_bytes
    if least > board.ram_bytes or (apart is not None and project.arena_region_bytes > apart.bytes):
        return _Built(
            plan, project, None, None, max(least + project.arena_region_bytes, target.ram_bytes + 1)
        )
    if target.emit_only:
        pixels = project.image_bytes if project.image_mode == "resident" else project.row_bytes
        beside = 0 if plan.image_offset is not None else pixels
        estimated = least + beside + project.stack_bytes + STATIC_BYTES + project.arena_region_bytes
        return _Built(plan, project, None, None, estimated)
    try:
        elf = gcc.build(out, board, ram_bytes=most, image_mode=project.image_mode)
        sizes, bound = size.measure(elf), stack.worst_case(elf)
    finally:
        shutil.rmtree(out / "build", ignore_errors=True)
    return _Built(plan, project, sizes, bound, ram_needed(sizes, bound))


def measured_ram(plan: Plan, board_name: str, optimize: str = "speed") -> int | None:
    """The least budget of a plan's firmware, built aside; None where that needs a tool that is missing, or
    more than the board has.
    """
    board = load_board(board_name)
    image = "resident" if plan.graph.image_resident else "streamed"
    target = Target("measured", board.ram_bytes, image, board.name, "", "", optimize=optimize)
    with tempfile.TemporaryDirectory(prefix="rnnpool-mcu-") as folder:
        try:
            check_flash(board, _constants_bytes(plan.graph))  # before megabytes of C are written
            built = _build(plan, target, Path(folder), board)
        except (ToolMissingError, BudgetError):
            return None
    return None if built.sizes is None else built.needed_bytes


def _build_within_budget(graph: Graph, built: _Built, target: Target, out: Path, board: Board) -> _Built:
    """The fastest plan of the front whose firmware fits; the smallest one's when none does."""
    front = _front(graph, target)
    for candidate in front:
        allowed = target.ram_bytes - (built.needed_bytes - built.plan.arena_bytes)
        if candidate.peak.live_bytes > allowed or (plan := candidate.plan()).arena_bytes > allowed:
            continue
        built = _build(plan, target, out, board)
        if built.needed_bytes <= target.ram_bytes:
            return built
    _, smallest = smallest_plan(front)
    return built if built.plan.arena_bytes <= smallest.arena_bytes else _build(smallest, target, out, board)


def generate(
    graph: Graph, target: Target, out: Path, *, place_effort: int = PLACE_EFFORT
) -> tuple[Plan, Project]:
    """Plan a graph the fastest way and write its sources into `out`; nothing is built."""
    plan = plan_graph(_for_image(graph, target), place_effort=place_effort)
    return plan, write_sources(plan, target, out)


def write_sources(plan: Plan, target: Target, out: Path) -> Project:
    """Replay a plan, and write its C, its firmware and its definition into `out`."""
    validate_plan(plan)
    sources = emit(plan, name=target.name, title=target.title, labels=target.labels, given=target.input)
    for path, text in sources.items():
        file = out / "src" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    save_graph(plan.graph, out / FILE_NAME)  # what validation checks against
    project = _project(plan, target)
    write_project_files(out, project, load_board(target.board))
    return project


def _project(plan: Plan, target: Target) -> Project:
    graph = plan.graph
    outputs = [graph.types[name] for name in graph.outputs]
    height, width, channels = graph.input_type.shape
    fields = input_fields(graph, target.name)
    inputs = tuple(
        InputShape(field, *given.type.shape, plan.pixels_offset(given.name))
        for field, given in zip(fields, graph.inputs, strict=True)
    )
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
        board=load_board(target.board).name,
        optimize=target.optimize,
        labels=target.labels,
        state_bytes=plan.state_bytes,
        inputs=inputs if len(inputs) > 1 else (),
        preprocessing=target.input.as_json(),
        arena_region=target.arena_region,
        weights_region=target.weights_region,
    )


def _too_small(built: _Built, graph: Graph, board: Board) -> str:
    plan, project, needed = built.plan, built.project, built.needed_bytes
    apart = board.memory(project.arena_region, "ram")
    if apart is not None and project.arena_region_bytes > apart.bytes:
        return (
            f"--arena-region {apart.name}: the smallest arena takes {project.arena_region_bytes} bytes, "
            f"'{apart.name}' has {apart.bytes}; leave the arena in the RAM, or use a smaller model or image"
        )
    advice = ram_advice(graph, plan.arena_bytes, needed)
    qualifier = "at least " if built.sizes is None else ""
    return (
        f"--ram {project.ram_bytes}: {project.name} needs {qualifier}{needed} bytes with the image "
        f"{project.image_mode}, {project.arena_bytes} of them its arena; most is live in "
        f"'{plan.peak_step().value}'; {advice}"
    )
