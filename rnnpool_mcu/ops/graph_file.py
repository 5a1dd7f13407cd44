"""An integer graph as one file, so that a compiled folder can be checked against its definition later.

The file is a NumPy archive of the operators' arrays and a JSON text of everything else. Nothing in it is
ever executed: operators are looked up by name among this package's own frozen dataclasses. The same graph
gives the same bytes.
"""

from __future__ import annotations

import dataclasses
import importlib
import json
from pathlib import Path
from typing import Any, cast

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.graph import Graph, Input, Node, State
from rnnpool_mcu.ir.project import GRAPH_NAME
from rnnpool_mcu.ir.verify import verify_graph
from rnnpool_mcu.system.plain_files import MAX_JSON_BYTES, FileFault, parse_json, read_arrays
from rnnpool_mcu.system.typed import check_fields, checked, field_types

FILE_NAME = GRAPH_NAME
FORMAT_VERSION = 2
PLAIN_VERSION = 1  # of graphs with one input and no states, which older versions read too
_HEADER = "graph"
_MODULES = ("rnnpool_mcu.ops.", "rnnpool_mcu.ir.", "rnnpool_mcu.numerics.")
Arrays = dict[str, np.ndarray[Any, Any]]


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
    """The graph in `path`; raises `ModelError` where it is missing, damaged or of another version.

    Every field is checked against its operator's annotation, then the graph as a whole.
    """
    if not path.is_file():
        raise ModelError(f"{path}: is missing; compile the model again")
    try:
        arrays = read_arrays(path)
        header = arrays.pop(_HEADER, None)
        if header is None or header.dtype != np.uint8 or header.nbytes > MAX_JSON_BYTES:
            raise FileFault(f"member '{_HEADER}': expected JSON as uint8")
        graph = _graph(parse_json(header.tobytes()), arrays)
        verify_graph(graph)
        for node in graph.nodes:
            node.op.c_params(graph.input_types(node))  # which takes every array into its hands
        return graph
    except Exception as error:  # of values that no front end gives, an operator may raise anything
        reason = str(error) or type(error).__name__
        raise ModelError(
            f"{path}: is no graph of this version ({reason}); compile the model again"
        ) from error


def _graph(content: Any, arrays: Arrays) -> Graph:
    version = _entry(content, "format_version", "the file")
    if version not in (PLAIN_VERSION, FORMAT_VERSION):
        raise FileFault(f"format_version {version!r:.20}, supported up to {FORMAT_VERSION}")
    more, states = content.get("more_inputs", []), content.get("states", [])
    fields = {
        "input_name": _entry(content, "input_name", "the file"),
        "input_type": _decode(_entry(content, "input_type", "the file"), arrays, "input_type"),
        "nodes": _rows(content.get("nodes"), Node, ("name", "op", "inputs"), arrays, "nodes"),
        "outputs": content.get("outputs"),
        "more_inputs": _rows(more, Input, ("name", "type"), arrays, "more_inputs"),
        "states": _rows(states, State, ("name", "type", "initial", "next"), arrays, "states"),
    }
    return cast(Graph, _made(Graph, fields, "the file"))


def _rows(rows: Any, kind: type, names: tuple[str, ...], arrays: Arrays, place: str) -> tuple[Any, ...]:
    """Values of a dataclass from lists of its fields' values."""
    made = []
    for number, row in enumerate(checked(rows, tuple[Any, ...], place)):
        here = f"{place}[{number}]"
        values = checked(row, tuple[(Any,) * len(names)], here)  # type: ignore[misc]
        fields = {name: _decode(value, arrays, here) for name, value in zip(names, values, strict=True)}
        made.append(_made(kind, fields, here))
    return tuple(made)


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


def _decode(value: Any, arrays: Arrays, place: str) -> Any:
    if isinstance(value, list):
        return tuple(_decode(item, arrays, f"{place}[{number}]") for number, item in enumerate(value))
    if not isinstance(value, dict):
        return value
    if "array" in value:
        name = checked(value["array"], str, f"{place}.array")
        if name not in arrays:
            raise FileFault(f"{place}: expected an array '{name}' in the file")
        return arrays[name]
    kind = _known_dataclass(checked(_entry(value, "type", place), str, f"{place}.type"), place)
    given = _entry(value, "fields", place)
    if not isinstance(given, dict):
        raise FileFault(f"{place}.fields: expected an object")
    return _made(
        kind, {name: _decode(item, arrays, f"{place}.{name}") for name, item in given.items()}, place
    )


def _entry(content: Any, name: str, place: str) -> Any:
    if not isinstance(content, dict) or name not in content:
        raise FileFault(f"{place}: expected an object with '{name}'")
    return content[name]


def _made(kind: type, fields: dict[str, Any], place: str) -> Any:
    """The value of a dataclass, its fields checked against their annotations."""
    check_fields(kind, fields, place)
    hints = field_types(kind)
    return kind(**{name: checked(value, hints[name], f"{place}.{name}") for name, value in fields.items()})


def _known_dataclass(name: str, place: str) -> type:
    module, _, qualified = name.partition(":")
    if not module.startswith(_MODULES) or not qualified.isidentifier():
        raise FileFault(f"{place}: type '{name}' is not one of this package's")
    try:
        found = getattr(importlib.import_module(module), qualified)
    except (ImportError, AttributeError, ValueError) as error:
        raise FileFault(f"{place}: type '{name}' is not one of this version") from error
    if not (isinstance(found, type) and dataclasses.is_dataclass(found)):
        raise FileFault(f"{place}: type '{name}' is not a value type")
    return found
