"""A small sound file for each reader, made once."""

from __future__ import annotations

import functools
import io
import json
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from rnnpool_mcu.ir.firmware import FlashAndStatic, StackBound
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.project import InputShape, Project
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.graph_file import save_graph
from rnnpool_mcu.report import report_of_plan
from rnnpool_mcu.schedule.planner import plan_graph
from rnnpool_mcu.toolchain.board import boards_dir
from tests.graphs import INPUT, GraphBuilder
from tests.readers.mutations import Random, mutate_bytes, mutate_members, pick


def graph() -> Graph:
    """Convolutions, a residual, a pool, a head and a state."""
    builder = GraphBuilder(TensorType(10, 9, 2, Quantization(1 / 255, -128)))
    value = builder.conv(INPUT, 4, 3, 2)
    value = builder.depthwise(value)
    value = builder.residual(value, expansion=2)
    state = builder.state(builder.type_of(value))
    builder.takes(state, value)
    return builder.graph(builder.conv(value, 3, 1), value)


@functools.cache
def graph_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        save_graph(graph(), Path(folder) / "graph.npz")
        return (Path(folder) / "graph.npz").read_bytes()


def npy(data: bytes) -> bytes:
    """Bytes as a NumPy file."""
    buffer = io.BytesIO()
    np.save(buffer, np.frombuffer(data, np.uint8))
    return buffer.getvalue()


@functools.cache
def project_file() -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        _project().save(Path(folder))
        fields = json.loads((Path(folder) / Project.FILE_NAME).read_bytes())
        del fields["sha256"]  # which would end every change before it is looked at
        return json.dumps(fields).encode()


def _project() -> Project:
    inputs = (InputShape("input", 10, 9, 2), InputShape("more", 1, 1, 4))
    fields: dict[str, Any] = {"input_height": 10, "input_width": 9, "input_channels": 2, "output_bytes": 60}
    return Project(
        "net", "classifier", **fields, arena_bytes=500, image_mode="resident", ram_bytes=9000,
        board="mps2-an386", labels=("a", "b"), inputs=inputs,
    )  # fmt: skip


@functools.cache
def report_file() -> bytes:
    sizes = FlashAndStatic(*range(100, 110), 9000)
    stack = StackBound(400, ("Reset", "net_run"), 200)
    report = report_of_plan(
        plan_graph(graph(), place_effort=0), _project(), "net.onnx", sizes, stack, "pictures"
    )
    return json.dumps(report).encode()


def board_file() -> bytes:
    return (boards_dir() / "mps2-an386" / "board.toml").read_bytes()


@functools.cache
def pack_file() -> bytes:
    """Pictures of a classifier's data set, as `evaluate` and calibration read them."""
    buffer = io.BytesIO()
    np.savez(
        buffer,
        data=np.arange(64, dtype=np.uint8),
        offsets=np.array([0, 30, 64]),
        labels=np.array([1, 0]),
        classes=np.array(["a", "bc"]),
    )
    return buffer.getvalue()


@functools.cache
def onnx_file() -> bytes:
    from tests import onnx_models

    return onnx_models.quantized(onnx_models.small_network())


@functools.cache
def tflite_file() -> bytes:
    from tests.tflite_writer import NONE, Writer

    w = Writer()
    x = w.conv(w.input(6, 6, 2), 4)
    x = w.join("ADD", x, w.depthwise(x))
    x = w.conv(x, 6, 1, activation=NONE)
    return bytes(w.finish(w.softmax(w.dense(w.view(w.mean(x), 1, 6), 3)), x))


@functools.cache
def pt2_file() -> bytes:
    import torch

    from rnnpool_mcu.importing.torch_program import as_program
    from rnnpool_mcu.quantize.post_training import quantize_program

    module = torch.nn.Sequential(torch.nn.Conv2d(1, 2, 3), torch.nn.ReLU()).eval()
    example = torch.zeros(1, 1, 8, 8)
    made = quantize_program(torch.export.export(module, (example,)), example, [example + 0.5])
    buffer = io.BytesIO()
    torch.export.save(as_program(made.module, tuple(example.shape)), buffer)
    return buffer.getvalue()


@functools.cache
def checkpoint_content() -> dict[str, Any]:
    import torch

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.pt"
        _save_checkpoint(path)
        return dict(torch.load(path, weights_only=True))


def _save_checkpoint(path: Path) -> None:
    from rnnpool_mcu.zoo.random_weights import random_checkpoint

    random_checkpoint("mobilenetv2-rnnpool-0.35", path, resolution=64)


@functools.cache
def checkpoint_file() -> bytes:
    import torch

    buffer = io.BytesIO()
    torch.save(checkpoint_content(), buffer)
    return buffer.getvalue()


def mutate_checkpoint(data: bytes, rng: Random) -> bytes:
    """A field, a weight or an entry deeper down replaced; else a member of the archive."""
    import torch

    if rng.random() < 0.3:
        return mutate_members({".pkl": mutate_bytes})(data, rng)
    content = {
        key: dict(value) if isinstance(value, dict) else value for key, value in checkpoint_content().items()
    }
    holder: Any = content
    key = pick(rng, list(content))
    if isinstance(content[key], dict) and content[key] and rng.random() < 0.7:
        holder, key = content[key], pick(rng, list(content[key]))
    if rng.random() < 0.1:
        del holder[key]
    else:
        holder[key] = pick(rng, _odd_values())
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def _odd_values() -> list[Any]:
    import torch

    nested: Any = []
    for _ in range(40):
        nested = [nested, nested]
    plain = [
        None,
        0,
        -1,
        1 << 40,
        1.5,
        "",
        "x",
        b"x",
        True,
        (),
        [],
        {},
        {1: 2},
        [1],
        ["a", 2],
        {"x": {}},
        nested,
    ]
    tensors = [
        *(torch.zeros(3), torch.tensor(1), torch.zeros(0), torch.full((3,), float("nan"))),
        *(torch.zeros(2, 2).to_sparse(), torch.zeros(4, 4, device="meta"), torch.zeros(1).expand(1 << 33)),
        torch.quantize_per_tensor(torch.zeros(3), 0.1, 0, torch.qint8),
        *(
            torch.nested.nested_tensor([torch.zeros(2), torch.zeros(3)]),
            torch.zeros(4, dtype=torch.complex64),
        ),
    ]
    settings = [
        float("nan"),
        [0.0, 0.0],
        {"scale": 2},
        {"a": (1, 2)},
        {"a": (0.5, 0.5, 1)},
        {"a": (1.0, 400)},
    ]
    return [*plain, *tensors, *settings, torch.float32, torch.Size([1, 2])]
