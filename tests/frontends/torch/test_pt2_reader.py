"""Damaged and hostile .pt2 files bring our own errors only, and nothing in them is executed."""

from __future__ import annotations

import io
import json
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402

from rnnpool_mcu.errors import ModelError  # noqa: E402
from rnnpool_mcu.frontends.torch import pt2_reader  # noqa: E402
from rnnpool_mcu.frontends.torch.pt2_reader import read_pt2  # noqa: E402


class Bomb:
    """Runs code when it is unpickled."""

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return (exec, ("raise SystemExit('unpickled')",))


@pytest.fixture(scope="module")
def saved() -> bytes:
    """A small program as torch.export.save writes it."""
    buffer = io.BytesIO()
    program = torch.export.export(nn.Conv2d(1, 2, 3).eval(), (torch.zeros(1, 1, 8, 8),))
    torch.export.save(program, buffer)
    return buffer.getvalue()


def rewritten(data: bytes, change: Callable[[str, bytes], bytes | None], **added: bytes) -> bytes:
    """The archive with each member changed or left out, and members added."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(data)) as source, zipfile.ZipFile(out, "w") as target:
        root = source.namelist()[0].partition("/")[0]
        for name in source.namelist():
            if (member := change(name, source.read(name))) is not None:
                target.writestr(name, member)
        for name, member in added.items():
            target.writestr(f"{root}/{name}", member)
    return out.getvalue()


def refused(tmp_path: Path, data: bytes) -> str:
    file = tmp_path / "net.pt2"
    file.write_bytes(data)
    with pytest.raises(ModelError) as error:
        read_pt2(file)
    assert str(file) in str(error.value)
    return str(error.value)


def test_a_program_is_read(tmp_path: Path, saved: bytes) -> None:
    (tmp_path / "net.pt2").write_bytes(saved)
    assert read_pt2(tmp_path / "net.pt2").graph_signature.user_inputs == ("input",)


def test_pickled_weights_are_refused(tmp_path: Path, saved: bytes) -> None:
    def pickled(name: str, member: bytes) -> bytes:
        if not name.endswith("weights_config.json"):
            return pickle.dumps(Bomb()) if "weights/weight_" in name else member
        config = json.loads(member)
        for payload in config["config"].values():
            payload["use_pickle"] = True
        return json.dumps(config).encode()

    assert "pickled" in refused(tmp_path, rewritten(saved, pickled))


def test_pickled_example_inputs_are_refused(tmp_path: Path, saved: bytes) -> None:
    buffer = io.BytesIO()
    torch.save(Bomb(), buffer)
    bomb = rewritten(saved, lambda name, member: buffer.getvalue() if "sample_inputs" in name else member)
    assert "more than tensors" in refused(tmp_path, bomb)


@pytest.mark.parametrize(
    "member",
    ["data/constants/opaque_obj_0", "data/aotinductor/model/lib.so", "data/weights/model.pt"],
)
def test_foreign_parts_are_refused(member: str, tmp_path: Path, saved: bytes) -> None:
    data = rewritten(saved, lambda _, kept: kept, **{member: pickle.dumps(Bomb())})
    assert member.rpartition("/")[2] in refused(tmp_path, data)


def test_damaged_files_are_refused(tmp_path: Path, saved: bytes) -> None:
    for data in (b"", b"no archive", saved[: len(saved) // 2], saved[:-30]):
        assert "torch.export" in refused(tmp_path, data)
    for part in ("models/", "weights_config", "sample_inputs", "weight_0"):
        refused(tmp_path, rewritten(saved, lambda name, member, part=part: None if part in name else member))
        refused(tmp_path, rewritten(saved, lambda name, member, part=part: b"{" if part in name else member))


def test_damaged_bytes_bring_our_errors_only(tmp_path: Path, saved: bytes) -> None:
    file = tmp_path / "net.pt2"
    for at in range(0, len(saved), len(saved) // 60):
        file.write_bytes(saved[:at] + bytes([saved[at] ^ 0x5A]) + saved[at + 1 :])
        try:
            read_pt2(file)
        except ModelError as error:
            assert str(file) in str(error)


def test_huge_files_are_refused(tmp_path: Path, saved: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pt2_reader, "MAX_FILE_BYTES", 1000)
    assert "allowed: 1,000" in refused(tmp_path, saved)
