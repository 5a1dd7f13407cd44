"""Keras files are looked at before TensorFlow is asked, which need not be there for that."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from rnnpool_mcu.cli import main
from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.importing import keras_file
from tests.readers.more_samples import hdf5_file
from tests.readers.more_samples import keras_file as keras_archive
from tests.readers.mutations import archive_of

CONFIG = {"class_name": "Sequential", "config": {"layers": []}}


def _archive(**changed: bytes | None) -> bytes:
    members = {"metadata": b"{}", "config": json.dumps(CONFIG).encode(), "weights": hdf5_file()} | changed
    names = {"metadata": "metadata.json", "config": keras_file.CONFIG, "weights": keras_file.WEIGHTS}
    return archive_of({names[key]: data for key, data in members.items() if data is not None})


def _check(folder: Path, data: bytes, name: str = "net.keras") -> None:
    (folder / name).write_bytes(data)
    keras_file.check_keras_file(folder / name)


@pytest.mark.parametrize("data", [keras_archive(), _archive(), hdf5_file(), bytes(512) + hdf5_file()])
def test_whole_files_pass(tmp_path: Path, data: bytes) -> None:
    _check(tmp_path, data)


def _layer(kind: str) -> bytes:
    inner = {
        "class_name": "Functional",
        "config": {"layers": [{"class_name": kind, "config": {"name": "f"}}]},
    }
    return json.dumps({"class_name": "Sequential", "config": {"layers": [inner]}}).encode()


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (b"", "neither a .keras archive nor HDF5"),
        (hdf5_file()[:-1], r"says it has 2,048 bytes, the file has 2,047: it was cut off"),
        (hdf5_file()[:8], "superblock of version -1, expected 0 to 3"),
        (hdf5_file()[:8] + b"\x07" + hdf5_file()[9:], "superblock of version 7"),
        (_archive(weights=None), r"0 members 'model\.weights\.h5', expected one"),
        (_archive(weights=hdf5_file()[:-1]), "it was cut off"),
        (_archive(config=None), r"0 members 'config\.json', expected one"),
        (_archive(config=b"{"), r"config\.json: JSONDecodeError"),
        (_archive(config=b"[" * 100_000), "RecursionError"),
        (_archive(config=b"[]"), "expected an object with 'class_name'"),
        (_archive(config=_layer("Lambda")), "layer 'f' is a Lambda, allowed: layers of Keras itself"),
        (_archive()[:-30], "neither a .keras archive nor HDF5"),
    ],
)
def test_damaged_files_and_code_are_exit_code_3(tmp_path: Path, data: bytes, told: str) -> None:
    with pytest.raises(ModelError, match=told):
        _check(tmp_path, data)
    found = CliRunner().invoke(main, ["compile", str(tmp_path / "net.keras"), "--ram", "64k", "-o", "out"])
    assert found.exit_code == 3 and "save the model again" in found.stderr
    assert "tensorflow" not in sys.modules


def test_a_bit_within_a_member_is_noticed(tmp_path: Path) -> None:
    data = bytearray(_archive())
    data[data.index(b"\x89HDF") + 1000] ^= 1
    with pytest.raises(ModelError, match="Bad CRC-32"):
        _check(tmp_path, bytes(data))


def test_an_archive_that_unpacks_to_gigabytes_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keras_file, "MOST_UNPACKED", 1000)
    with pytest.raises(ModelError, match=r"unpacks to .* allowed: 1,000"):
        _check(tmp_path, _archive())


@pytest.mark.parametrize(("kind", "taken"), [("Dense", True), ("Lambda", False)])
def test_code_within_hdf5_is_found_where_h5py_is(tmp_path: Path, kind: str, taken: bool) -> None:
    h5py: Any = pytest.importorskip("h5py")
    from rnnpool_mcu.importing.keras_conversion import check_layers

    with h5py.File(tmp_path / "net.h5", "w") as file:
        file.attrs["model_config"] = _layer(kind).decode()
    keras_file.check_keras_file(tmp_path / "net.h5")
    if taken:
        check_layers(tmp_path / "net.h5")
        return
    with pytest.raises(ModelError, match="layer 'f' is a Lambda"):
        check_layers(tmp_path / "net.h5")
