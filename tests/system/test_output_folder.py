"""Output folders appear whole or not at all, and nothing of the user's is replaced."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.system.output_folder import former_source, whole_file, whole_folder


def _write(out: Path, text: str) -> None:
    with whole_folder(out) as folder:
        (folder / "report.json").write_text(
            f'{{"generator": "rnnpool-mcu 0", "text": "{text}"}}', encoding="utf-8"
        )


def _names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_new_folder_appears_with_its_parents(tmp_path: Path) -> None:
    _write(tmp_path / "a" / "b", "new")
    assert _names(tmp_path / "a") == ["b"]
    assert _names(tmp_path / "a" / "b") == ["report.json"]


def test_a_former_output_is_replaced_whole(tmp_path: Path) -> None:
    _write(tmp_path / "out", "first")
    (tmp_path / "out" / "stale.c").touch()
    _write(tmp_path / "out", "second")
    assert _names(tmp_path) == ["out"]
    assert _names(tmp_path / "out") == ["report.json"]
    assert "second" in (tmp_path / "out" / "report.json").read_text(encoding="utf-8")


def test_a_failure_leaves_the_former_output(tmp_path: Path) -> None:
    _write(tmp_path / "out", "first")

    def fail() -> None:
        with whole_folder(tmp_path / "out") as folder:
            (folder / "half").touch()
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert _names(tmp_path) == ["out"]
    assert _names(tmp_path / "out") == ["report.json"]


def test_a_failure_on_a_free_name_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError), whole_folder(tmp_path / "out"):
        raise RuntimeError
    assert _names(tmp_path) == []


@pytest.mark.parametrize("case", ["file", "link", "foreign folder", "foreign report"])
def test_what_is_not_ours_is_refused(tmp_path: Path, case: str) -> None:
    out = tmp_path / "out"
    if case == "file":
        out.write_text("mine", encoding="utf-8")
    elif case == "link":
        (tmp_path / "elsewhere").mkdir()
        out.symlink_to(tmp_path / "elsewhere")
    else:
        out.mkdir()
        (out / ("report.json" if case == "foreign report" else "mine")).write_text("{}", encoding="utf-8")
    before = _names(tmp_path)
    with pytest.raises(UsageError, match=r"out: "), whole_folder(out):
        pytest.fail("the block must not be entered")
    assert _names(tmp_path) == before


@pytest.mark.parametrize("out", [".", "..", "../../a", "../b"])
def test_the_current_folder_and_those_above_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "a" / "b")
    with pytest.raises(UsageError, match="current folder"), whole_folder(Path(out)):
        pytest.fail("the block must not be entered")
    assert _names(tmp_path) == ["a"]


def test_a_mount_point_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "out").mkdir()
    monkeypatch.setattr(Path, "is_mount", lambda path: path == (tmp_path / "out").resolve())
    with pytest.raises(UsageError, match="out: is a mount point"), whole_folder(tmp_path / "out"):
        pytest.fail("the block must not be entered")
    _write(tmp_path / "out" / "inside", "new")


def test_an_error_that_is_not_the_systems_keeps_its_words(tmp_path: Path) -> None:
    with pytest.raises(OSError, match=r"^cannot write mode RGB$"), whole_file(tmp_path / "a.xbm"):
        raise OSError("cannot write mode RGB")
    assert _names(tmp_path) == []


def test_what_stood_there_before_is_known(tmp_path: Path) -> None:
    assert former_source(tmp_path / "out") is None
    with whole_folder(tmp_path / "out") as folder:
        (folder / "report.json").write_text('{"generator": "rnnpool-mcu 0", "source": "a.onnx"}')
    assert former_source(tmp_path / "out") == "a.onnx"
    (tmp_path / "out" / "report.json").write_text("[1]")
    assert former_source(tmp_path / "out") is None
