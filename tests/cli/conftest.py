"""What several commands' tests are given."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from PIL import Image

from rnnpool_mcu import importing
from rnnpool_mcu.ir.graph import Graph


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """A folder of two coloured pictures."""
    from rnnpool_mcu.quantize.calibration import synthetic_images

    folder = tmp_path / "photos"
    folder.mkdir()
    for index, image in enumerate(synthetic_images((60, 80, 3), 2)):
        Image.fromarray(image).save(folder / f"{index}.png")
    return folder


@pytest.fixture
def model(graph: Graph, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that is read as the test file's `graph`, on a machine without compilers."""
    monkeypatch.setattr(importing, "load_graph", lambda *_args, **_options: SimpleNamespace(graph=graph))
    monkeypatch.setenv("PATH", "")
    file = tmp_path / "net.pt"
    file.touch()
    return file
