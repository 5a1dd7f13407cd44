"""What pictures `run` writes and takes."""

from __future__ import annotations

from pathlib import Path

import pytest
from PIL import Image

from rnnpool_mcu.cli.pictures import check_writable, save_boxes
from rnnpool_mcu.errors import UsageError


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
