"""Networks from model files: read, compared with the file's own runtime, then to be proven."""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.importing import source_runtime
from rnnpool_mcu.validate.source import SourceComparison, compare_with_source
from tests.soak.networks.network import Disagreement, Drawn, inputs_of, network

RUNS = 3


def from_file(kind: str, seed: int, suffix: str, data: bytes) -> Drawn:
    """The network in a file; what its reader refuses, or its runtime contradicts."""
    with tempfile.TemporaryDirectory(prefix="soak-") as folder:
        path = Path(folder) / f"net{suffix}"
        path.write_bytes(data)
        try:
            imported, runtime = source_runtime(path)
        except ModelError as error:
            return Drawn(refused=[str(error)])
        batch = inputs_of(imported.graph, np.random.default_rng(seed)).part(0, RUNS)
        found = compare_with_source(imported.graph, runtime, imported.sources, batch)
    made = [network(kind, seed, imported.graph)]
    if found.agrees:
        return Drawn(made, compared=1)
    return Drawn(made, (), 1, [Disagreement(kind, seed, _where(found), suffix, data)])


def _where(found: SourceComparison) -> str:
    layers = [layer for layer in found.layers if not layer.agrees]
    return "; ".join(f"'{one.source}' ({one.operator}): {one.worst_alone} steps" for one in layers)
