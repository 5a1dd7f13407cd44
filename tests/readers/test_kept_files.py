"""Files that once brought something foreign, made again in few lines."""

from __future__ import annotations

import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from rnnpool_mcu.errors import ModelError, UsageError
from rnnpool_mcu.toolchain.board import load_board
from rnnpool_mcu.training.data.labelled_images import load_cifar_python, load_visual_wake_words
from tests.readers import more_samples, samples


def test_a_pickles_memo_takes_no_more_memory_than_its_file(tmp_path: Path) -> None:
    plain = pickle.dumps({b"data": np.zeros((1, 3072), np.uint8), b"labels": [1]}, protocol=2)
    (tmp_path / "test_batch").write_bytes(plain[:2] + b"Nr\xff\xff\xff\x7f0" + plain[2:])  # 16 GB
    with pytest.raises(UsageError, match="memo 2147483647 in a pickle of"):
        load_cifar_python(tmp_path, "test")


def test_a_text_for_a_number_is_not_repeated(tmp_path: Path) -> None:
    content = json.loads(more_samples.coco_json())
    content["annotations"][0]["bbox"] = [0, 0, "x" * 1000, 10**9]
    (tmp_path / "annotations").mkdir()
    (tmp_path / "annotations" / "instances_val2017.json").write_text(json.dumps(content))
    with pytest.raises(UsageError, match="is no COCO JSON"):
        load_visual_wake_words(tmp_path, "test")


def test_a_number_that_cannot_be_written_out_is_refused(tmp_path: Path) -> None:
    text = samples.board_file().decode().replace("clock_hz = 25_000_000", "clock_hz = 0x" + "f" * 5000)
    assert "ffff" in text
    folder = tmp_path / "mps2-an386"
    folder.mkdir()
    (folder / "board.h").touch()
    (folder / "board.toml").write_text(text)
    with pytest.raises(UsageError, match="holds a number that is too long"):
        load_board(str(folder))


@pytest.mark.parametrize("kind", ["conv", "depthwise"])
def test_a_weights_zero_point_that_no_byte_has_is_refused(tmp_path: Path, kind: str) -> None:
    pytest.importorskip("tflite")
    from rnnpool_mcu.importing import load_graph
    from tests.tflite_writer import Writer

    w = Writer()
    x = w.conv(w.input(6, 6, 2), 4)
    x = w.conv(x, 4) if kind == "conv" else w.depthwise(x)
    weights = w.tensors[w.operators[-1].inputs[1]]
    weights.zero_points = [0] * (len(weights.zero_points) - 1) + [1 << 39]
    (tmp_path / "net.tflite").write_bytes(w.finish(x))
    with pytest.raises(ModelError, match="allowed: 255; the file is damaged"):
        load_graph(tmp_path / "net.tflite")
