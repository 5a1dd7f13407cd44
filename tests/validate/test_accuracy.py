"""The engines that `evaluate` takes: each is asked for under its own name."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.run import host
from rnnpool_mcu.validate import engines
from rnnpool_mcu.validate.accuracy import CHUNK, IntegerModel, chunk_size
from rnnpool_mcu.validate.engines import HERE

EMULATED = [engine for engine in engines.COMPARED if engine != HERE]


def test_there_are_emulators() -> None:
    assert {"qemu", "renode"} <= set(EMULATED)
    assert ("int8", "c", *EMULATED) == engines.INTEGER
    assert set(engines.SYNONYMS.values()) <= set(engines.INTEGER)


@pytest.mark.parametrize("engine", EMULATED)
def test_an_emulators_bytes_are_its_own(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Never those of this machine's C under another name."""

    def ran(_: Path, name: str, images: Batch, *__: object, **___: object) -> RunResult:
        outputs = tuple(f"{name} {index}".encode() for index in range(len(images)))
        return RunResult(name, outputs, (0,) * len(images), canaries_ok=True)

    monkeypatch.setattr(engines, "run_engine", ran)
    monkeypatch.setattr(host, "run", lambda *_, **__: pytest.fail("the host ran"))
    graph = Graph("image", TensorType(2, 2, 1, Quantization(1 / 255, -128)), (), ("image",))
    model = IntegerModel(graph, tmp_path, 2, lambda _: None)
    outputs = model.runner(engine)(np.zeros((3, 2, 2, 1), np.uint8))
    assert outputs == tuple(f"{engine} {index}".encode() for index in range(3))
    assert chunk_size(engine, 4) == CHUNK and chunk_size(HERE, 4) == chunk_size("torch", 4) == 4 * CHUNK
