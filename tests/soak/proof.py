"""Whether programs made of networks give the bytes of the definition, and where they first do not."""

from __future__ import annotations

import dataclasses
import re
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.evaluate import evaluate_batch
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.passes import run_passes
from rnnpool_mcu.schedule.planner import layer_by_layer, plan_graph
from rnnpool_mcu.schedule.search import pareto_front
from rnnpool_mcu.schedule.validate import validate_plan
from tests.soak.networks.network import Network
from tests.soak.programs import Engine, ProgramError, Workshop

HEAD = np.dtype([("status", "<u4"), ("whole", "<u4")])
LAYER = np.dtype([("rows", "<u4"), ("crc", "<u4")])
WELL = np.array([(0, 1)], HEAD).tobytes()
NUMPY = "numpy"


@dataclass(frozen=True, eq=False)
class Planned:
    """A network with the plan that its choices lead to, and the record that its C has to write."""

    network: Network
    plan: Plan
    record: bytes


@dataclass(frozen=True, eq=False)
class Mismatch:
    """Where an engine left the definition of a network."""

    network: Network
    engine: str
    where: str


class DefinitionError(Exception):
    """A pass or a fusion that gives other bytes than the graph that it was given."""


def planned(network: Network) -> Planned:
    """The network's plan with its record; DefinitionError, or what passes and planning refuse."""
    graph = dataclasses.replace(network.graph, image_resident=network.resident)
    if network.passes:
        graph = run_passes(graph)
    plan = _plan(network, graph)
    validate_plan(plan)
    return Planned(network, plan, _record(network, plan))


def _plan(network: Network, graph: Graph) -> Plan:
    """The fastest plan at rank 0, one of the front above, each value whole at 1."""
    if network.rank == 0:
        return plan_graph(graph, place_effort=0)
    if network.rank == 1:
        return layer_by_layer(graph, place_effort=0)
    front = pareto_front(graph, constants_in_ram=network.seed % 2 == 0)
    return front[int(network.rank * len(front))].plan(place_effort=0)


def _record(network: Network, plan: Plan) -> bytes:
    """What `program/soak.c` writes of a model that is right."""
    graph, parts = plan.graph, []
    both = zip(
        evaluate_batch(network.graph, network.batch), evaluate_batch(graph, network.batch), strict=True
    )
    for run, (wanted, made) in enumerate(both):
        for given, name in zip(network.graph.outputs, graph.outputs, strict=True):
            if wanted[given].tobytes() != made[name].tobytes():
                raise DefinitionError(f"run {run}: output '{given}' is not that of the planned graph")
        parts += [WELL, *(_traced(made[node.name]) for node in graph.nodes)]
        parts += [made[name].tobytes() for name in graph.outputs]
    return b"".join(parts)


def _traced(value: NDArray[Any]) -> bytes:
    rows = len(value) if value.ndim == 3 else 1
    return np.array([(rows, zlib.crc32(value.tobytes()))], LAYER).tobytes()


def differences(
    workshop: Workshop, engine: Engine, models: Sequence[Planned], *, lines: bool = False
) -> Iterator[Mismatch]:
    """Every network of a program whose record is not the definition's.

    Behind one that ends the program, those that follow are run as a program of their own; where a program
    does not compile, each is. `lines` as for `Workshop.run`.
    """
    left = list(models)
    while left:
        try:
            ran = workshop.run(engine, [(model.network, model.plan) for model in left], lines=lines)
        except ProgramError as error:
            if len(left) == 1:
                yield Mismatch(left[0].network, engine.name, f"does not compile: {error}")
                return
            half = len(left) // 2
            yield from differences(workshop, engine, left[:half], lines=lines)
            left = left[half:]
            continue
        at, ended = 0, len(left)
        for i, model in enumerate(left):
            found = ran.output[at : at + len(model.record)]
            at += len(model.record)
            if len(found) < len(model.record):
                yield Mismatch(model.network, engine.name, ran.complaint or "ended before its end")
                ended = i + 1
                break
            if found != model.record:
                yield Mismatch(model.network, engine.name, _first_difference(model, found))
        left = left[ended:]


def _first_difference(model: Planned, found: bytes) -> str:
    """Run, layer and operator at which a record leaves the definition."""
    nodes, runs = model.plan.graph.nodes, len(model.network.batch)
    each = len(model.record) // runs
    for run in range(runs):
        wanted, made = (record[run * each :][:each] for record in (model.record, found))
        if wanted == made:
            continue
        status, whole = np.frombuffer(made[:8], "<u4")
        if (status, whole) != (0, 1):
            return f"run {run}: status {status}, guards {'whole' if whole else 'gone'}"
        for layer, node in enumerate(nodes):
            place = slice(8 + 8 * layer, 16 + 8 * layer)
            if wanted[place] != made[place]:
                return f"run {run}, layer {layer + 1} '{node.name}' ({node.op.kernel})"
        return f"run {run}: an output, every layer's rows are the same"
    return "no difference"


def kind_of(mismatch: Mismatch) -> str:
    """What two failures of one cause have in common, as far as their words tell."""
    said = re.search(r"(?:error|ERROR|runtime error): .*", mismatch.where)
    words = mismatch.where.rpartition("(")[2].rstrip(")") if said is None else said[0]
    return f"{mismatch.engine}: {re.sub(r'[0-9]+', '#', words)[:120]}"
