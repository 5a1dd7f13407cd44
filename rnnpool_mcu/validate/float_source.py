"""A compiled graph beside the float file it was compiled from, over inputs of the user's choice."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

from rnnpool_mcu.errors import UsageError, ValidationError
from rnnpool_mcu.importing import load_float
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.source import InputForm, ModelInput, in_order
from rnnpool_mcu.quantize.float_agreement import FloatAgreement, compare_with_float
from rnnpool_mcu.quantize.samples import Samples

Progress = Callable[[str], None]


def float_agreement(
    source: Path, graph: Graph, given: ModelInput, samples: Samples, progress: Progress
) -> FloatAgreement:
    """The figures of `compare_with_float` for the graph of a compiled folder.

    The file is imported anew with the samples as its calibration inputs: its values have the names that they
    had when it was compiled. Raises ValidationError for a file of another model, UsageError for one of
    several inputs.
    """
    if graph.more_inputs:
        raise UsageError(
            f"{source}: is float and takes several inputs; quantize it by `rnnpool-mcu quantize "
            f"{source.name} --calibration FILE.npz -o int8{source.suffix}`, compile that file, and compare "
            "with it"
        )
    progress(f"reading {source}")
    form = given.form_in(graph.input_type)
    with tempfile.TemporaryDirectory() as folder:
        path = _saved(Path(folder) / "samples.npy", samples, form, given)
        pixels = samples.dtype == np.uint8
        shape = given.shape_in_file
        floating = load_float(source, path, len(samples), given.preprocessing, pixels, shape)
    outputs = floating.graph.outputs
    same = floating.graph.input_type.shape == graph.input_type.shape
    if not same or any(_size(graph, name) != _size(floating.graph, name) for name in outputs):
        raise ValidationError(f"{source}: is not the model that was compiled; give that file")
    progress("comparing with the float model")
    return compare_with_float(graph, floating.runtime, samples, floating.sources, outputs)


def _size(graph: Graph, name: str) -> int:
    """Bytes of a value; 0 where there is none of the name."""
    return graph.types[name].bytes if name in graph.types else 0


def _saved(path: Path, samples: Samples, form: InputForm, given: ModelInput) -> Path:
    """Samples as the user would give them: RGB pictures, or rows in the model's own order."""
    if samples.dtype == np.uint8:
        np.save(path, in_order(samples, given.preprocessing))
    else:
        np.save(path, np.stack([form.from_graph(sample)[0] for sample in samples]))
    return path
