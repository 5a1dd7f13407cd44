"""Random torch modules as files: what .onnx and .pt2 hold of them is computed, or refused by name.

`RNNPOOL_MCU_FUZZ=2000` tries so many modules instead of a few; `--hypothesis-show-statistics` counts
what came out.
"""

from __future__ import annotations

import os
import re
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")
pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

import onnxruntime  # noqa: E402
from hypothesis import HealthCheck, event, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from rnnpool_mcu.errors import ModelError  # noqa: E402
from rnnpool_mcu.importing import load_graph  # noqa: E402
from rnnpool_mcu.ir.evaluate import evaluate_graph  # noqa: E402
from rnnpool_mcu.ir.tensor_type import TensorType  # noqa: E402
from tests.frontends.torch.random_steps import random_network  # noqa: E402
from tests.frontends.torch.test_differential import (  # noqa: E402
    INPUTS,
    LEAST_RATIO,
    coarsest,
    compared,
    quantized,
    results,
    value_of,
)

FILES = int(os.environ.get("RNNPOOL_MCU_FUZZ", "20"))
NAMED = re.compile(r"aten\.\w+|operator \d|output|input|ONNX Runtime cannot|'[^']+' is \[")
ORDERS = ((2, 0, 1), (0, 1, 2))
"""A file's order of axes from the graph's: channels first, or as it is."""
Run = Callable[["torch.Tensor"], list[np.ndarray]]


def _onnx(model: torch.nn.Module, example: torch.Tensor, path: Path) -> Run:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the exporter's, of its successor
        torch.onnx.export(model, (example,), str(path), dynamo=False, opset_version=17)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(str(path), options)
    return lambda single: session.run(None, {session.get_inputs()[0].name: single.numpy()})


def _pt2(model: torch.nn.Module, example: torch.Tensor, path: Path) -> Run:
    torch.export.save(torch.export.export(model, (example,)), str(path))
    return lambda single: results(model, single)


def disagreement(seed: int, suffix: str, folder: Path) -> str:
    """What is wrong with the integer graph of a random module's file; "" where nothing is.

    What the exporter does not take, and what the file's own runtime refuses or computes otherwise than the
    module, says nothing of us.
    """
    model, shape = random_network(seed)
    path, inputs = folder / f"net{suffix}", torch.rand((INPUTS, *shape[1:]), generator=_generator(seed))
    try:
        run = {".onnx": _onnx, ".pt2": _pt2}[suffix](model, torch.zeros(shape), path)
        floats = [run(single) for single in inputs.split(1)]
    except Exception:  # the exporter's and the runtime's have no common class
        event("not exported")
        return ""
    expected = results(model, inputs[:1])
    if any(
        a.shape != b.shape or not np.allclose(a, b, atol=1e-3)
        for a, b in zip(floats[0], expected, strict=True)
    ):
        event("exported otherwise")
        return ""
    np.save(folder / "typical.npy", inputs.numpy())
    try:
        graph = load_graph(path, calibration=folder / "typical.npy").graph
    except ModelError as error:
        event("refused")
        return "" if NAMED.search(str(error)) else f"a refusal that names nothing: {error}"
    event("computed")
    if len(graph.outputs) != len(floats[0]):
        return f"{len(graph.outputs)} outputs, {len(floats[0])} of the module"
    real = [evaluate_graph(graph, quantized(one.numpy(), graph.input_type)) for one in inputs.split(1)]
    for at, name in enumerate(graph.outputs):
        kind = graph.types[name]
        assert isinstance(kind, TensorType)
        wanted = np.stack([values[at].ravel() for values in floats])
        problems = []
        for order in ORDERS:
            ours = np.stack([value_of(values[name], kind).transpose(order).ravel() for values in real])
            problems.append(compared(ours, wanted, kind.scale, LEAST_RATIO, coarsest(graph)))
        if all(problems):
            return f"output {at} ('{name}'): {problems[0]}"
    return ""


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("suffix", [".onnx", ".pt2"])
@settings(max_examples=FILES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(seed=st.integers(0, 2**31 - 1))
def test_a_random_modules_file_is_computed_or_refused_by_name(suffix: str, seed: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        problem = disagreement(seed, suffix, Path(folder))
    assert not problem, f"module {seed} ({', '.join(random_network(seed)[0].names)}): {problem}"
