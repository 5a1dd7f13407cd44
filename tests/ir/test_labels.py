"""Names of classes: their file, and how many there have to be."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.labels import check_labels, read_labels
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from tests.graphs import INPUT, GraphBuilder


def test_lines_are_names(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes("tench\r\nEnglish springer \nrøv\n".encode())
    assert read_labels(path) == ("tench", "English springer", "røv")


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "holds no line"), (b"a\n\nb\n", "line 2 is empty"), (b"a\xff\n", "no UTF-8 text .* at byte 1")],
)
def test_other_files_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "labels.txt"
    path.write_bytes(content)
    with pytest.raises(UsageError, match=message):
        read_labels(path)


def test_scores_need_as_many_names() -> None:
    builder = GraphBuilder(TensorType(4, 4, 3, Quantization(1 / 255, -128)))
    graph = builder.graph(builder.classifier(INPUT, 3))
    check_labels(graph, ("a", "b", "c"))
    check_labels(graph, ())
    with pytest.raises(UsageError, match="labels: 2 names, the model has 3 classes"):
        check_labels(graph, ("a", "b"))
