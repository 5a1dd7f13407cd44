"""Random torch modules: the integer graph computes what the module does, or the module is refused by name.

`RNNPOOL_MCU_FUZZ=2000` tries so many modules instead of a few; `--hypothesis-show-statistics` counts
what came out.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("torchao")

from hypothesis import HealthCheck, event, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from rnnpool_mcu.api import import_torch  # noqa: E402
from rnnpool_mcu.errors import ModelError  # noqa: E402
from rnnpool_mcu.importing.torch_program import ImportedProgram  # noqa: E402
from rnnpool_mcu.ir.evaluate import evaluate_graph  # noqa: E402
from rnnpool_mcu.ir.graph import Graph  # noqa: E402
from rnnpool_mcu.ir.tensor_type import TensorType  # noqa: E402
from tests.frontends.torch.random_steps import random_network  # noqa: E402

MODULES = int(os.environ.get("RNNPOOL_MCU_FUZZ", "25"))
INPUTS = 8
NAMED = re.compile(r"aten\.\w+|output|input|quantiz")
LEAST_RATIO = 0.92
"""Correlation of the integer outputs with the float ones; another network's is far below."""
SIMULATED_RATIO = 0.99
"""The same with torch's own quantize/dequantize module, which rounds where the integers do."""


@dataclass(frozen=True, eq=False)
class Imported:
    """A random module with what was made of it."""

    model: torch.nn.Module
    inputs: torch.Tensor
    found: ImportedProgram


def imported(seed: int) -> Imported:
    """The integer graph of a random module; ModelError where it is refused."""
    model, shape = random_network(seed)
    inputs = torch.rand((INPUTS, *shape[1:]), generator=torch.Generator().manual_seed(seed))
    return Imported(model, inputs, import_torch(model, torch.zeros(shape), inputs))


def disagreement(seed: int) -> str:
    """What is wrong with the integer graph of a random module; "" where nothing is, or it is refused."""
    try:
        module = imported(seed)
    except ModelError as error:
        event("refused")
        return "" if NAMED.search(str(error)) else f"a refusal that names nothing: {error}"
    event("computed")
    return differs(module)


def differs(module: Imported) -> str:
    """Where the integer graph leaves the module, or torch's own quantized one; "" where it does not."""
    found = module.found
    names, real, floats, simulated = found.graph.outputs, [], [], []
    for single in module.inputs.split(1):
        floats.append(results(module.model, single))
        simulated.append(results(found.module, single))
        values = evaluate_graph(found.graph, quantized(single.numpy(), found.graph.input_type))
        real.append([value_of(values[name], found.graph.types[name]) for name in names])
    if len(names) != len(floats[0]) or len(found.outputs) != len(names):
        return f"{len(names)} outputs, {len(floats[0])} of the module"
    for at, (name, form) in enumerate(zip(names, found.outputs, strict=True)):
        ours = np.stack([form.of(values[at]) for values in real])
        for theirs, ratio, kind in (
            (simulated, SIMULATED_RATIO, "quantized"),
            (floats, LEAST_RATIO, "float"),
        ):
            wanted = np.stack([values[at] for values in theirs])
            coarse = coarsest(found.graph) if kind == "float" else 0.0
            if problem := compared(ours, wanted, found.graph.types[name].scale, ratio, coarse):
                return f"output {at} ('{name}'), the {kind} module: {problem}"
    return ""


def results(model: torch.nn.Module, single: torch.Tensor) -> list[np.ndarray]:
    with torch.no_grad():
        made = model(single)
    return [value.numpy() for value in (made if isinstance(made, (tuple, list)) else (made,))]


def quantized(x: np.ndarray, kind: TensorType) -> np.ndarray:
    maps = x.reshape(kind.channels, kind.height, kind.width).transpose(1, 2, 0)
    return np.clip(np.rint(maps / kind.scale) + kind.zero_point, -128, 127).astype(np.int8)


def value_of(value: np.ndarray, kind: TensorType) -> np.ndarray:
    return (value.astype(np.float64) - kind.zero_point) * kind.scale


def coarsest(graph: Graph) -> float:
    """The largest step of any value: what lies within it, no output can tell apart."""
    return max(kind.scale for kind in graph.types.values() if isinstance(kind, TensorType))


def compared(ours: np.ndarray, theirs: np.ndarray, scale: float, least: float, coarse: float = 0.0) -> str:
    """What is wrong: steps and correlation; differences within two steps of `coarse` are none."""
    if ours.shape != theirs.shape:
        return f"shape {ours.shape}, the module's {theirs.shape}"
    steps = np.abs(ours - theirs).max() / scale
    if steps * scale <= 2 * coarse:
        return ""
    if steps <= 8 or np.ptp(theirs) <= 8 * scale:
        return "" if steps <= 12 else f"{steps:.0f} steps apart"
    ratio = np.corrcoef(ours.ravel(), theirs.ravel())[0, 1]
    bias = abs(ours.mean() - theirs.mean()) / theirs.std()
    return (
        ""
        if ratio >= least and bias < 3 * (1 - least)
        else f"{steps:.0f} steps apart, correlation {ratio:.3f}"
    )


@settings(max_examples=MODULES, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(st.integers(0, 2**31 - 1))
def test_a_random_module_is_computed_or_refused_by_name(seed: int) -> None:
    problem = disagreement(seed)
    assert not problem, f"module {seed} ({', '.join(random_network(seed)[0].names)}): {problem}"  # type: ignore[union-attr]
