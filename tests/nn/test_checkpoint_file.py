"""The checkpoint file: what is written is read back, and every other file is refused with a reason."""

from __future__ import annotations

import errno
import pickle
import resource
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from rnnpool_mcu.errors import ModelError  # noqa: E402
from rnnpool_mcu.zoo import create  # noqa: E402
from rnnpool_mcu.zoo.checkpoint import (  # noqa: E402
    GRAY_PREPROCESSING,
    atomic_save,
    load_checkpoint,
    save_checkpoint,
)


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "model.pt"
    torch.manual_seed(1)
    save_checkpoint(
        path, create("face-m4", hidden=4), "face-m4", {"hidden": 4}, GRAY_PREPROCESSING, ["face"], {"a": 1}
    )
    return path


def change(path: Path, **changes: Any) -> Path:
    content = torch.load(path, weights_only=True)
    torch.save({**content, **changes}, path)
    return path


def test_round_trip(good: Path) -> None:
    loaded = load_checkpoint(good)
    torch.manual_seed(1)
    wanted = create("face-m4", hidden=4).state_dict()
    assert loaded.arch == "face-m4" and loaded.labels == ["face"] and loaded.metrics == {"a": 1}
    assert loaded.preprocessing == GRAY_PREPROCESSING
    assert not loaded.model.training
    assert all(torch.equal(value, wanted[name]) for name, value in loaded.model.state_dict().items())
    assert [p.name for p in good.parent.iterdir()] == ["model.pt"]


def refused(path: Path, pattern: str) -> None:
    with pytest.raises(ModelError, match=pattern) as caught:
        load_checkpoint(path)
    assert caught.value.exit_code == 3
    assert str(path) in str(caught.value)


def test_missing_file_folder_and_other_files(tmp_path: Path, good: Path) -> None:
    refused(tmp_path / "none.pt", "does not exist")
    refused(tmp_path, "is a folder")
    for name, content, pattern in (
        ("empty.pt", b"", "empty"),
        ("text.pt", b"hello, I am no model", "not a model"),
        ("bare.pt", pickle.dumps({"a": 1}), "bare pickle"),
        ("cut.pt", good.read_bytes()[: good.stat().st_size // 2], "truncated"),
    ):
        (tmp_path / name).write_bytes(content)
        refused(tmp_path / name, pattern)


def test_damaged_inside(good: Path) -> None:
    data = bytearray(good.read_bytes())
    data[40:120] = bytes(80)
    good.write_bytes(bytes(data))
    refused(good, "damaged|pickled")


def test_pickled_module_is_refused_and_shows_the_way(tmp_path: Path) -> None:
    path = tmp_path / "whole.pt"
    torch.save(torch.nn.Linear(2, 2), path)
    refused(path, "nn.Module.*torch.export.save")


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_torchscript_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "script.pt"
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.zeros(1, 2)), path)
    refused(path, "TorchScript")


@pytest.mark.parametrize("key", ["format_version", "arch", "config", "labels"])
def test_lists_that_hold_each_other_twice_are_told_at_once(good: Path, key: str) -> None:
    nested: list[Any] = []
    for _ in range(60):
        nested = [nested, nested]  # 2^60 when written out
    refused(change(good, **{key: nested}), key)


def test_bare_state_dict_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save(torch.nn.Linear(2, 2).state_dict(), path)
    refused(path, "bare state_dict without format_version")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_nan_and_infinite_weights_are_named(good: Path, value: float) -> None:
    state = torch.load(good, weights_only=True)["state_dict"]
    state["stem.0.weight"][0, 0, 1, 1] = value
    refused(change(good, state_dict=state), "'stem.0.weight' has 1 of 36 values NaN or infinite")


def test_wrong_arch_version_config_and_keys(good: Path) -> None:
    content = torch.load(good, weights_only=True)
    refused(change(good, arch="resnet"), "'resnet' is not known; known: .*face-m4")
    refused(change(good, arch="face-m4", format_version=9), "format_version 9, supported 1")
    change(good, format_version=1, config={"hidden": 8})
    refused(good, "do not fit the model")
    state = dict(content["state_dict"])
    state["extra"] = state.pop("stem.0.weight")
    change(good, config={"hidden": 4}, state_dict=state)
    refused(good, "missing stem.0.weight; unexpected extra")


def test_a_trained_zeta_is_refused(good: Path) -> None:
    state = torch.load(good, weights_only=True)["state_dict"]
    state["pool.rnn1.zeta"][:] = 0.5
    refused(change(good, state_dict=state), "zeta.*supported only 1")


def test_failed_save_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises((AttributeError, pickle.PicklingError, TypeError)):
        atomic_save({"f": lambda: None}, tmp_path / "x.pt")
    assert list(tmp_path.iterdir()) == []


def test_a_link_stays_and_its_target_is_written(good: Path) -> None:
    link, target = good.parent / "link.pt", good.parent / "target.pt"
    link.symlink_to(target)
    atomic_save({"a": 1}, link)
    assert link.is_symlink() and torch.load(target, weights_only=True) == {"a": 1}


def test_a_file_that_cannot_be_written_is_named_with_the_reason(tmp_path: Path) -> None:
    path = tmp_path / "model.pt"
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(OSError) as caught:
            atomic_save({"a": torch.zeros(9999)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert (caught.value.errno, caught.value.filename) == (errno.EFBIG, str(path))
    assert list(tmp_path.iterdir()) == []


def test_damaged_bytes_bring_our_error_only(good: Path) -> None:
    data, rng = good.read_bytes(), np.random.default_rng(1)
    places = [*rng.integers(0, len(data), 10), *range(len(data) - 400, len(data), 8)]
    refusals = 0
    for place in places:
        changed = bytearray(data)
        changed[int(place)] ^= 1 << int(rng.integers(8))
        good.write_bytes(changed)
        try:
            load_checkpoint(good)
        except ModelError as error:
            assert str(good) in str(error)
            refusals += 1
    assert refusals > 20


def test_what_is_no_dict_by_name_is_refused(good: Path) -> None:
    for changes in ({"metrics": "abc"}, {"preprocessing": [1]}, {"labels": 3}, {"config": {1: 2}}):
        data = good.read_bytes()
        refused(change(good, **changes), "must be dicts by name")
        good.write_bytes(data)
