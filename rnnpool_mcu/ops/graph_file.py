"""An integer graph as one file, so that a compiled folder can be checked against its definition later.

The file is a NumPy archive of the operators' arrays and a JSON text of everything else. Nothing in it is
ever executed: operators are looked up by name among this package's own frozen dataclasses. The same graph
gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.graph import Graph, Input, Node, State
from rnnpool_mcu.ir.tensor_type import TensorType

FILE_NAME = "graph.npz"
FORMAT_VERSION = 2
PLAIN_VERSION = 1  # of graphs with one input and no states, which older versions read too
_HEADER = "graph"
_DAMAGED = (
    *(OSError, EOFError, zipfile.BadZipFile),
    *(ValueError, KeyError, TypeError, AttributeError, ImportError),
)
_MODULES = ("rnnpool_mcu.ops.", "rnnpool_mcu.ir.", "rnnpool_mcu.numerics.")


def save_graph(graph: Graph, path: Path) -> None:
    """Writes `graph` to `path`."""
    arrays: dict[str, np.ndarray[Any, Any]] = {}
    content = {
        "format_version": PLAIN_VERSION,
        "input_name": graph.input_name,
        "input_type": _encode(graph.input_type, arrays),
        "nodes": [[node.name, _encode(node.op, arrays), list(node.inputs)] for node in graph.nodes],
        "outputs": list(graph.outputs),
    }
    if graph.more_inputs or graph.states:
        content["format_version"] = FORMAT_VERSION
        content["more_inputs"] = [[i.name, _encode(i.type, arrays)] for i in graph.more_inputs]
        content["states"] = [
            [s.name, _encode(s.type, arrays), _encode(s.initial, arrays), s.next] for s in graph.states
        ]
    header = np.frombuffer(json.dumps(content).encode(), dtype=np.uint8)
    with path.open("wb") as file:
        np.savez(file, allow_pickle=False, **{_HEADER: header}, **arrays)


def load_graph(path: Path) -> Graph:
    """The graph in `path`; raises `ModelError` where it is missing, damaged or of another version."""
    if not path.is_file():
        raise ModelError(f"{path}: is missing; compile the model again")
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = dict(archive.items())
        content = json.loads(arrays.pop(_HEADER).tobytes())
        if content["format_version"] not in (PLAIN_VERSION, FORMAT_VERSION):
            raise ValueError(f"format_version {content['format_version']}, supported up to {FORMAT_VERSION}")
        input_type = _decode(content["input_type"], arrays)
        more = tuple(Input(name, _decode(kind, arrays)) for name, kind in content.get("more_inputs", ()))
        states = tuple(
            State(name, _decode(kind, arrays), _decode(initial, arrays), taken)
            for name, kind, initial, taken in content.get("states", ())
        )
        kinds = (input_type, *(given.type for given in more), *(state.type for state in states))
        if not all(isinstance(kind, TensorType) for kind in kinds):
            raise ValueError("an input or state is no tensor")
        nodes = tuple(Node(name, _decode(op, arrays), tuple(inputs)) for name, op, inputs in content["nodes"])
        outputs = tuple(content["outputs"])
        return Graph(content["input_name"], input_type, nodes, outputs, more_inputs=more, states=states)
    except _DAMAGED as error:
        raise ModelError(f"{path}: is no graph of this version ({error}); compile the model again") from error


def _encode(value: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    """JSON for `value`, whose arrays go into `arrays`; tuples become lists, dataclasses tagged objects."""
    if isinstance(value, np.ndarray):
        name = f"array{len(arrays)}"
        arrays[name] = value
        return {"array": name}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        kind = type(value)
        fields = {
            f.name: _encode(getattr(value, f.name), arrays) for f in dataclasses.fields(value) if f.init
        }
        return {"type": f"{kind.__module__}:{kind.__qualname__}", "fields": fields}
    if isinstance(value, tuple):
        return [_encode(item, arrays) for item in value]
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise TypeError(f"a graph cannot hold a {type(value).__name__}")


def _decode(value: Any, arrays: dict[str, np.ndarray[Any, Any]]) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item, arrays) for item in value)
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    fields = {name: _decode(item, arrays) for name, item in value["fields"].items()}
    return _known_dataclass(value["type"])(**fields)


def _known_dataclass(name: str) -> Any:
    module, _, qualified = name.partition(":")
    if not module.startswith(_MODULES) or not qualified.isidentifier():
        raise ValueError(f"type '{name}' is not one of this package's")
    found = getattr(importlib.import_module(module), qualified)
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise ValueError(f"type '{name}' is not a value type")
    return found
