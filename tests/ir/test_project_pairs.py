"""A project.json knows its own fields and the graph it was written with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.graph_file import FILE_NAME, save_graph
from tests.graphs import INPUT, GraphBuilder

PROJECT = Project("net", "classifier", 8, 8, 2, 60, 500, "resident", 9000, "mps2-an386")


def _folder(folder: Path, channels: int) -> Path:
    folder.mkdir()
    builder = GraphBuilder(TensorType(8, 8, 2, Quantization(1 / 255, -128)))
    save_graph(builder.graph(builder.conv(INPUT, channels, 3)), folder / FILE_NAME)
    PROJECT.save(folder)
    return folder


def _change(folder: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    path = folder / Project.FILE_NAME
    fields = json.loads(path.read_text())
    change(fields)
    path.write_text(json.dumps(fields))


def test_a_whole_pair_is_read(tmp_path: Path) -> None:
    assert Project.load(_folder(tmp_path / "a", 3)) == PROJECT


def test_another_models_graph_is_noticed(tmp_path: Path) -> None:
    one, other = _folder(tmp_path / "a", 3), _folder(tmp_path / "b", 4)
    (one / FILE_NAME).write_bytes((other / FILE_NAME).read_bytes())
    with pytest.raises(ModelError, match=r"graph_sha256 is .*graph\.npz has .*another model's"):
        Project.load(one)


def test_a_graph_with_one_bit_changed_is_noticed(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "a", 3)
    data = bytearray((folder / FILE_NAME).read_bytes())
    data[len(data) // 2] ^= 1
    (folder / FILE_NAME).write_bytes(data)
    with pytest.raises(ModelError, match="was damaged"):
        Project.load(folder)


@pytest.mark.parametrize(
    "change",
    [
        lambda fields: fields.update(output_bytes=61),
        lambda fields: fields.update(graph_sha256="0" * 64),
        lambda fields: fields.pop("graph_sha256"),
        lambda fields: fields.update(labels=["a"]),
    ],
)
def test_a_changed_field_is_noticed(tmp_path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    folder = _folder(tmp_path / "a", 3)
    _change(folder, change)
    with pytest.raises(ModelError, match="the file was changed or damaged"):
        Project.load(folder)


def test_files_of_older_versions_have_no_hashes(tmp_path: Path) -> None:
    folder = _folder(tmp_path / "a", 3)
    _change(folder, lambda fields: (fields.pop("sha256"), fields.pop("graph_sha256")))
    assert Project.load(folder) == PROJECT
