"""A network that fails, made as small as it can be and still fail; a script that shows it again."""

from __future__ import annotations

import dataclasses
import io
import json
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from rnnpool_mcu.errors import UserError
from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.graph import Graph, Input, Node
from rnnpool_mcu.ir.tensor_type import TensorType
from rnnpool_mcu.ir.verify import verify_graph
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph, save_graph
from tests.soak.networks.network import Network
from tests.soak.programs import ENGINES, Engine, Workshop
from tests.soak.proof import DefinitionError, Mismatch, differences, planned

MOST_TRIES = 120


def smallest(workshop: Workshop, engine: Engine, found: Mismatch) -> Mismatch:
    """The mismatch of the smallest network that was come to by taking parts away."""
    tries, shrunk = 0, True
    while shrunk and tries < MOST_TRIES:
        shrunk = False
        for candidate in _smaller(found.network):
            tries += 1
            if (still := mismatch_of(workshop, engine, candidate)) is not None:
                found, shrunk = still, True
                break
            if tries >= MOST_TRIES:
                break
    return found


def mismatch_of(workshop: Workshop, engine: Engine, network: Network) -> Mismatch | None:
    """How a network fails on an engine; None where it does not, or is refused."""
    try:
        verify_graph(network.graph)
        model = planned(network)
        return next(differences(workshop, engine, [model]), None)
    except (UserError, DefinitionError, ValueError, KeyError, AssertionError):
        return None


def _smaller(network: Network) -> Iterator[Network]:
    """What to try, the most promising first."""
    graph, batch = network.graph, network.batch
    if len(graph.nodes) > 1:
        for node in graph.nodes:
            yield from _on(network, _alone(graph, node))
        for node in graph.nodes[:-1]:
            yield from _on(network, _up_to(graph, node))
    if len(graph.outputs) > 1:
        for name in graph.outputs:
            yield from _on(network, _of_outputs(graph, tuple(n for n in graph.outputs if n != name)))
    for choice, plain in (("passes", False), ("resident", False), ("rank", 0.0)):
        if getattr(network, choice) != plain:
            yield replace(network, **{choice: plain})
    if len(batch) > 1:
        for run in range(len(batch)):
            one = batch.up_to(run) if graph.states else batch.part(run, run + 1)
            if len(one) < len(batch):
                yield replace(network, batch=one)
    yield from _cropped(network)


def _on(network: Network, graph: Graph | None) -> Iterator[Network]:
    if graph is not None:
        yield network.on(graph)


def _alone(graph: Graph, node: Node) -> Graph | None:
    """One node over inputs."""
    names = tuple(dict.fromkeys(node.inputs))
    kinds = [graph.types[name] for name in names]
    inputs = [Input(f"in{i}", kind) for i, kind in enumerate(kinds) if isinstance(kind, TensorType)]
    given = dict(zip(names, (one.name for one in inputs), strict=True))
    node = replace(node, inputs=tuple(given[name] for name in node.inputs))
    return Graph(inputs[0].name, inputs[0].type, (node,), (node.name,), more_inputs=tuple(inputs[1:]))


def _up_to(graph: Graph, node: Node) -> Graph | None:
    """What one node needs."""
    return _of_outputs(graph, (node.name,))


def _of_outputs(graph: Graph, outputs: tuple[str, ...]) -> Graph | None:
    """What outputs and the states that they read need."""
    makers = {node.name: node for node in graph.nodes}
    states = {state.name: state for state in graph.states}
    needed, open_ends = set[str](), [*outputs]
    while open_ends:
        name = open_ends.pop()
        if name in needed:
            continue
        needed.add(name)
        open_ends += makers[name].inputs if name in makers else ()
        open_ends += [states[name].next] if name in states else []
    nodes = tuple(node for node in graph.nodes if node.name in needed)
    inputs = [one for one in graph.inputs if one.name in needed] or [graph.inputs[0]]
    kept = tuple(state for state in graph.states if state.name in needed)
    return Graph(inputs[0].name, inputs[0].type, nodes, outputs, more_inputs=tuple(inputs[1:]), states=kept)


def _cropped(network: Network) -> Iterator[Network]:
    """Inputs with fewer rows or columns, where every operator takes that."""
    graph = network.graph
    for at, given in enumerate(graph.inputs):
        for side in (0, 1):
            for size in sorted({1, given.type.shape[side] // 2, given.type.shape[side] - 1} - {0}):
                if size < given.type.shape[side]:
                    yield _with_side(network, at, side, size)


def _with_side(network: Network, at: int, side: int, size: int) -> Network:
    graph, inputs = network.graph, list(network.graph.inputs)
    kind = replace(inputs[at].type, **{("height", "width")[side]: size})
    inputs[at] = Input(inputs[at].name, kind)
    smaller = dataclasses.replace(graph, input_type=inputs[0].type, more_inputs=tuple(inputs[1:]))
    arrays = list(network.batch.inputs)
    arrays[at] = np.ascontiguousarray(arrays[at].take(range(size), axis=side + 1))
    return replace(network, graph=smaller, batch=Batch(tuple(arrays), network.batch.starts))


def script_of(found: Mismatch) -> dict[str, bytes]:
    """The files of a failure: graph, inputs, choices, and a script that runs them again."""
    network = found.network
    with tempfile.TemporaryDirectory() as folder:
        save_graph(network.graph, Path(folder) / FILE_NAME)
        graph = (Path(folder) / FILE_NAME).read_bytes()
    buffer = io.BytesIO()
    arrays: dict[str, Any] = {f"in{i}": array for i, array in enumerate(network.batch.inputs)}
    np.savez(buffer, starts=network.batch.starts, **arrays)
    choices = {"kind": network.kind, "seed": network.seed, "resident": network.resident}
    choices |= {"passes": network.passes, "rank": network.rank}
    return {
        FILE_NAME: graph,
        "inputs.npz": buffer.getvalue(),
        "choices.json": json.dumps(choices).encode(),
        "case.py": _script(found).encode(),
    }


def _script(found: Mismatch) -> str:
    graph = found.network.graph
    lines = [f"{node.name} = {type(node.op).__name__}({', '.join(node.inputs)})" for node in graph.nodes]
    lines = [f"{given.name} {given.type}" for given in graph.given] + lines
    body = "\n".join(f"    {line}" for line in lines)
    return (
        f'"""{found.engine}: {found.where.splitlines()[0]}\n\n{body}\n\n'
        'PYTHONPATH=. python case.py, from the checkout, runs it again.\n"""\n\n'
        "from pathlib import Path\n\nfrom tests.soak.reduction import replay\n\n"
        "raise SystemExit(replay(Path(__file__).parent))\n"
    )


def replay(folder: Path) -> int:
    """Runs a kept failure on every engine; prints what differs, 1 if anything does."""
    with np.load(folder / "inputs.npz") as stored:
        arrays = [stored[f"in{i}"] for i in range(len(stored.files) - 1)]
        batch = Batch(tuple(arrays), stored["starts"])
    choices = json.loads((folder / "choices.json").read_text())
    network = Network(graph=load_graph(folder / FILE_NAME), batch=batch, **choices)
    with tempfile.TemporaryDirectory() as objects:
        model, workshop = planned(network), Workshop(Path(objects))
        found = [one for engine in ENGINES for one in differences(workshop, engine, [model])]
    for one in found:
        print(f"{one.engine}: {one.where}")
    print("differs" if found else "every engine gives the definition's bytes")
    return int(bool(found))
