"""Whatever a file holds, its reader ends with an error of ours, quickly, and within a gigabyte.

RNNPOOL_MUTATIONS=N tries N files per reader, RNNPOOL_MUTATION_SEED others; `make mutations` very many.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.readers.readers import READERS, Reader
from tests.readers.trying import try_reader

COUNT = os.environ.get("RNNPOOL_MUTATIONS")
SEED = int(os.environ.get("RNNPOOL_MUTATION_SEED", "0"))
CORPUS = os.environ.get("RNNPOOL_MUTATION_CORPUS")
"""Where files that fail are kept."""


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name)
def test_mutated_files_bring_our_errors_only(reader: Reader, tmp_path: Path) -> None:
    if reader.name.endswith((".pt", ".pt2")):
        pytest.importorskip("torch")
    found = try_reader(reader, tmp_path, SEED, range(int(COUNT) if COUNT else reader.count))
    for one in found if CORPUS else ():
        Path(str(CORPUS)).mkdir(parents=True, exist_ok=True)
        Path(str(CORPUS), f"{SEED}_{one.number}_{reader.name.replace('/', '_')}").write_bytes(one.data)
    assert not found, "\n".join(f"{one.number}: {one.told}" for one in found[:20])
