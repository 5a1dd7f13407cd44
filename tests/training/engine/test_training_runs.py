"""How a training begins, ends and goes on: its processes, its folder, what it shows."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")

from rnnpool_mcu.errors import UsageError  # noqa: E402
from rnnpool_mcu.training.engine import launch  # noqa: E402
from rnnpool_mcu.training.engine.display import Display  # noqa: E402
from tests.training.detection_training import tiny_train  # noqa: E402


def long_result(place: launch.Place, count: int) -> dict[str, Any]:
    return {"skipped": [f"{index:0200}" for index in range(count)], "processes": place.processes}


def no_room(_place: launch.Place, folder: str) -> dict[str, Any]:
    raise FileExistsError(17, "File exists", folder)


def sleep(_place: launch.Place, told: Path) -> dict[str, Any]:
    told.write_text(str(os.getpid()))
    time.sleep(600)
    return {}


def test_a_result_larger_than_a_pipe_is_handed_over(tmp_path: Path) -> None:
    result = launch._spawn_all(tmp_path, long_result, 1, "cpu", (2000,))
    assert len(result["skipped"]) == 2000 and result["processes"] == 1


def test_an_error_of_the_file_system_is_handed_over(tmp_path: Path) -> None:
    with pytest.raises(FileExistsError, match="File exists: 'cache'"):
        launch._spawn_all(tmp_path, no_room, 1, "cpu", ("cache",))


TERMINATED_SCRIPT = """
import signal, sys
from pathlib import Path
from rnnpool_mcu.training.engine import launch
from tests.training.engine.test_training_runs import sleep
if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    folder = Path(sys.argv[1])
    launch._spawn_all(folder, sleep, 1, "cpu", (folder / "pid",))
"""


@pytest.mark.slow
def test_a_terminated_training_leaves_no_process_behind(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(TERMINATED_SCRIPT)
    root = str(Path(__file__).parents[3])
    parent = subprocess.Popen(
        [sys.executable, str(script), str(tmp_path)], env={**os.environ, "PYTHONPATH": root}
    )
    child = 0
    try:
        deadline = time.monotonic() + 120
        while not (tmp_path / "pid").is_file() or not (tmp_path / "pid").read_text():
            assert parent.poll() is None and time.monotonic() < deadline
            time.sleep(0.1)
        child = int((tmp_path / "pid").read_text())
        parent.send_signal(signal.SIGTERM)
        assert parent.wait(timeout=20) == 143
        with pytest.raises(ProcessLookupError):
            os.kill(child, 0)
    finally:
        parent.kill()
        if child and Path(f"/proc/{child}").exists():
            os.kill(child, signal.SIGKILL)


def test_a_new_training_keeps_out_of_a_used_folder(tiny_data: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    out.mkdir()
    (out / "best.pt").write_bytes(b"best")
    with pytest.raises(UsageError, match=r"run holds best\.pt of an earlier training; give another folder"):
        tiny_train(tiny_data, out)
    (out / "last.pt").write_bytes(b"last")
    with pytest.raises(UsageError, match=r"holds last\.pt and best\.pt .*; go on from it with --resume"):
        tiny_train(tiny_data, out)
    assert (out / "best.pt").read_bytes() == b"best" and not (tmp_path / "cache").exists()


def test_progress_is_not_mixed_into_the_output(capsys: pytest.CaptureFixture[str]) -> None:
    with Display("training", quiet=False) as display:
        display.update(0.5, "half")
        display.line("a line")
    said = capsys.readouterr()
    assert said.out == "" and "50.0 % half" in said.err and "a line" in said.err
