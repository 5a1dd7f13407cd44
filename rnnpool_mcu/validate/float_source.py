"""A compiled graph beside the float file it was compiled from, over inputs of the user's choice."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from rnnpool_mcu.errors import ValidationError
from rnnpool_mcu.importing import load_float
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.source import InputForm, ModelInput, in_order
from rnnpool_mcu.quantize.float_agreement import FloatAgreement, compare_with_float
from rnnpool_mcu.quantize.samples import Samples

if TYPE_CHECKING:
    from rnnpool_mcu.quantize.several import Sample

Progress = Callable[[str], None]


def float_agreement(
    source: Path,
    graph: Graph,
    given: ModelInput,
    samples: Samples | Sequence[Sample],
    progress: Progress,
) -> FloatAgreement:
    """The figures of `compare_with_float` for the graph of a compiled folder.

    The file is imported anew with the samples as its calibration inputs: its values have the names that they
    had when it was compiled. Raises ValidationError for a file of another model.
    """
    progress(f"reading {source}")
    with tempfile.TemporaryDirectory() as folder:
        if isinstance(samples, np.ndarray):
            path = _saved(Path(folder) / "samples.npy", samples, given.form_in(graph.input_type), given)
        else:
            path = _saved_together(Path(folder) / "samples.npz", samples, given)
        pixels = isinstance(samples, np.ndarray) and samples.dtype == np.uint8
        shape = None if given.several else given.shape_in_file
        floating = load_float(source, path, len(samples), given.preprocessing, pixels, shape)
    outputs = floating.graph.outputs
    same = [one.type.shape for one in floating.graph.inputs] == [one.type.shape for one in graph.inputs]
    if not same or any(_size(graph, name) != _size(floating.graph, name) for name in outputs):
        raise ValidationError(f"{source}: is not the model that was compiled; give that file")
    progress("comparing with the float model")
    return compare_with_float(graph, floating.runtime, samples, floating.sources, outputs)


def _size(graph: Graph, name: str) -> int:
    """Bytes of a value; 0 where there is none of the name."""
    return graph.types[name].bytes if name in graph.types else 0


def _saved_together(path: Path, samples: Sequence[Sample], given: ModelInput) -> Path:
    """Samples of several inputs as the user would give them: an array of rows for each, by its name."""
    columns = zip(given.several, zip(*samples, strict=True), strict=True)
    arrays = {
        told.name: np.stack([told.form.from_graph(value)[0] for value in values]) for told, values in columns
    }
    np.savez(path, allow_pickle=False, **arrays)
    return path


def _saved(path: Path, samples: Samples, form: InputForm, given: ModelInput) -> Path:
    """Samples as the user would give them: RGB pictures, or rows in the model's own order."""
    if samples.dtype == np.uint8:
        np.save(path, in_order(samples, given.preprocessing))
    else:
        np.save(path, np.stack([form.from_graph(sample)[0] for sample in samples]))
    return path
