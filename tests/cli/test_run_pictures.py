"""What pictures `run` writes and takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from PIL import Image

from rnnpool_mcu.cli import main
from rnnpool_mcu.cli.options import PictureSource
from rnnpool_mcu.cli.pictures import check_writable, inputs_of, save_boxes
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.graph import Graph, Node
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.source import PIXELS
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.average_pool import GlobalAveragePool
from rnnpool_mcu.ops.graph_file import FILE_NAME, save_graph


@pytest.mark.parametrize("name", ["a.xbm", "a.hdf", "a.txt", "a", "a.palm"])
def test_names_of_no_picture_format_are_refused_before_the_run(name: str) -> None:
    with pytest.raises(UsageError, match=f"{name}: not a picture format"):
        check_writable(Path(name))


@pytest.mark.parametrize("name", ["a.png", "a.JPG", "a.bmp"])
def test_picture_formats_are_taken(tmp_path: Path, name: str) -> None:
    check_writable(Path(name))
    save_boxes(Image.new("L", (20, 20)), [], tmp_path / name)
    assert Image.open(tmp_path / name).size == (20, 20)


def test_a_format_that_fails_in_the_end_is_told_in_its_words(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"a\.xbm: cannot write mode RGB"):
        save_boxes(Image.new("L", (20, 20)), [], tmp_path / "a.xbm")
    assert list(tmp_path.iterdir()) == []


def test_models_of_other_channels_take_no_pictures(tmp_path: Path) -> None:
    project = Project("net", "classifier", 8, 8, 2, 4, 64, "resident", 65536, "mps2-an386")
    project.save(tmp_path)
    kind = TensorType(8, 8, 2, Quantization(*PIXELS))
    pool = Node("pool", GlobalAveragePool(kind.quantization), ("input",))
    save_graph(Graph("input", kind, (pool,), ("pool",)), tmp_path / FILE_NAME)
    Image.new("RGB", (8, 8)).save(tmp_path / "p.png")
    done = CliRunner().invoke(main, ["run", str(tmp_path), str(tmp_path / "p.png")])
    assert done.exit_code == 2 and "the model takes 2 channels, pictures have 1 or 3" in done.stderr
    with pytest.raises(UsageError, match="the model takes 2 channels"):
        inputs_of(tmp_path, project, PictureSource(tmp_path, 1, 0))
    assert inputs_of(tmp_path, project, PictureSource(None, 3, 0)).bytes.shape == (3, 8, 8, 2)
