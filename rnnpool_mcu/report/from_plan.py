"""Turns a plan and a project into what a report is made from."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from rnnpool_mcu.ir.firmware import FlashAndStatic, StackBound
from rnnpool_mcu.ir.graph import Node, State
from rnnpool_mcu.ir.plan import Plan, total_live
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.tensor_type import TensorType, ValueType
from rnnpool_mcu.report.build import Report, build_report
from rnnpool_mcu.report.model import ImageSource, InputRow, LayerRow, Planning, PlanPeak, Region, ReportInput

DETECTION_FIELDS = 5  # x1, y1, x2, y2, score


def report_of_plan(
    plan: Plan,
    project: Project,
    source: str,
    sizes: FlashAndStatic | None = None,
    stack: StackBound | None = None,
    calibration: str | None = None,
    planning: Planning = Planning(),  # noqa: B008  (frozen)
    agreement: Mapping[str, Any] | None = None,
    regions: tuple[Region, ...] = (),
) -> Report:
    """The report of a model compiled from the file `source`; `sizes` and `stack` come from a build."""
    layers, graph = layers_of_plan(plan), plan.graph
    return build_report(
        ReportInput(
            model=project.name,
            source=source,
            board=project.board,
            input_shape=project.input_shape,
            layers=layers,
            image=cast(ImageSource, project.image_mode),
            arena_bytes=project.arena_bytes,
            arena_lower_bound_bytes=plan.placement.bound_bytes,
            arena_optimal=plan.placement.optimal,
            arena_method=plan.placement.method,
            output_bytes=project.output_bytes,
            weights_bytes=sum(layer.flash_bytes for layer in layers),
            ram_budget_bytes=project.ram_bytes,
            sizes=sizes,
            stack=stack,
            arena_image_bytes=0 if plan.image_offset is None else project.image_bytes,
            calibration=calibration,
            streaming_saves_bytes=planning.streaming_saves_bytes,
            peak=peak_of_plan(plan),
            planning=planning,
            state_bytes=project.state_bytes,
            inputs=tuple(InputRow(given.field, given.shape) for given in project.inputs),
            input=real_values(graph.input_name, graph.input_type, as_bytes=True),
            outputs=tuple(real_values(name, graph.types[name]) for name in graph.outputs),
            agreement=agreement,
            regions=regions,
        )
    )


def real_values(name: str, kind: ValueType, as_bytes: bool = False) -> dict[str, Any]:
    """Shape, scale and zero point of an input or output; of a list of boxes its shape alone.

    The real value is scale * (x - zero_point), of an int8 x, or with `as_bytes` of a byte that the C takes.
    """
    if not isinstance(kind, TensorType):
        return {"name": name, "shape": list(_shape(kind)), "scale": None, "zero_point": None}
    zero_point = kind.zero_point + (128 if as_bytes else 0)
    return {"name": name, "shape": list(kind.shape), "scale": kind.scale, "zero_point": zero_point}


def peak_of_plan(plan: Plan) -> PlanPeak:
    """The first step with the most live bytes and what is live then, largest first."""
    live = total_live(plan.blocks.values(), len(plan.steps))
    number = int(live.argmax())
    sizes = [(block.name, block.live_bytes(number)) for block in plan.blocks.values()]
    buffers = sorted((entry for entry in sizes if entry[1]), key=lambda entry: (-entry[1], entry[0]))
    step = plan.steps[number]
    return PlanPeak(step.value, step.row, number, len(plan.steps), tuple(buffers))


def layers_of_plan(plan: Plan) -> tuple[LayerRow, ...]:
    """One row per node in the graph's order, after those of inputs that are kept, and of states."""
    graph = plan.graph
    rows = []
    for given in graph.given:
        if (kept := plan.buffers.get(given.name)) is not None:
            kind, shape = "state" if isinstance(given, State) else "input", given.type.shape
            rows.append(LayerRow(given.name, kind, shape, shape, 0, kept.rows, kept.bytes, 0))
    return (*rows, *(_layer(plan, node) for node in graph.nodes))


def _layer(plan: Plan, node: Node) -> LayerRow:
    types = plan.graph.input_types(node)
    buffer = plan.buffers.get(node.name)
    parts = (f"{node.name}.{part}" for part in ("rows", "staged", "state", "scratch"))
    return LayerRow(
        name=node.name,
        operator=node.op.kernel,
        input_shape=types[0].shape,
        output_shape=_shape(plan.graph.types[node.name]),
        macs=node.op.macs(types),
        ram_rows=buffer.rows if buffer is not None else 0,
        ram_bytes=sum(plan.blocks[part].bytes for part in parts if part in plan.blocks),
        flash_bytes=sum(array.bytes for _, array in node.op.c_params(types).arrays()),
    )


def _shape(value: ValueType) -> tuple[int, ...]:
    if isinstance(value, TensorType):
        return value.shape
    return (value.max_detections, DETECTION_FIELDS)
