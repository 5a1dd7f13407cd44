"""Names of models: what becomes of a file's name, and which names are refused before any work."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from rnnpool_mcu.cli import main
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.model_name import check_name, default_name, printable


@pytest.mark.parametrize(
    ("stem", "name"),
    [
        *(("face_m4", "face_m4"), ("My-Net v2", "my_net_v2"), ("lambda", "lambda"), ("double", "double")),
        *(("123", "model_123"), ("_7", "model_7"), ("_net", "net"), ("é", "model"), ("caf\udce9", "caf_")),
        *(("string", "string_model"), ("Row_Buffer", "row_buffer_model"), ("conv2d_s8", "conv2d_s8_model")),
        *(("trace", "trace_model"), ("features", "features_model"), ("all", "all_model"), ("model", "model")),
    ],
)
def test_a_files_name_becomes_a_models(stem: str, name: str) -> None:
    assert default_name(stem) == name
    check_name(name)


@given(st.text(max_size=8))
def test_any_files_name_becomes_one_that_is_taken(stem: str) -> None:
    check_name(default_name(stem))


@pytest.mark.parametrize("name", ["fixed_point", "stddef", "string", "model_config", "harness", "clean"])
def test_a_name_that_files_of_the_project_have_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"--name '{name}'.*e.g. {name}_model"):
        check_name(name)


@pytest.mark.parametrize("name", ["", "Face", "1st", "a-b", "a b", "_a", "naïve", "a\n"])
def test_what_is_no_c_prefix_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="no C prefix"):
        check_name(name)


def test_the_name_is_checked_before_the_model_is_read(tmp_path: Path) -> None:
    model = tmp_path / "broken.onnx"
    model.write_bytes(b"no model")
    arguments = ["compile", str(model), "--ram", "64k", "--name", "string", "-o", str(tmp_path / "out")]
    result = CliRunner().invoke(main, arguments)
    assert result.exit_code == 2
    assert "--name 'string'" in result.stderr


def test_bytes_that_are_no_text_are_replaced() -> None:
    assert printable("caf\udce9.onnx") == "caf?.onnx"
    assert printable("café.onnx") == "café.onnx"
