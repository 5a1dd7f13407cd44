"""--engine hardware in validate, run, evaluate and profile.

The Nucleo's firmware runs on QEMU's nearest chip; a board played in Python counts cycles.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from rnnpool_mcu.cli import main
from rnnpool_mcu.ir.batch import Batch
from rnnpool_mcu.ir.evaluate import evaluate_batch
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.pipeline import Target, compile_graph
from rnnpool_mcu.toolchain import gcc
from rnnpool_mcu.toolchain.board import load_board
from tests.graphs import GraphBuilder
from tests.run.serial_boards import Line, PlayedBoard, emulated, played

pytestmark = pytest.mark.skipif(
    any(shutil.which(tool) is None for tool in ("qemu-system-arm", "arm-none-eabi-gcc")),
    reason="qemu-system-arm or arm-none-eabi-gcc is not installed",
)
BOARD = "nucleo-f439zi"
RAM_BYTES = 64 * 1024


def _graph() -> Graph:
    builder = GraphBuilder(TensorType(12, 16, 1, Quantization(1 / 255, -128)), seed=3)
    return builder.graph(builder.classifier(builder.conv(builder.conv("input", 4, 3, 2), 5), 3))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A classifier for the Nucleo, its images row by row."""
    out = tmp_path_factory.mktemp("compiled") / "tiny"
    out.mkdir()
    compile_graph(_graph(), Target("tiny", RAM_BYTES, "streamed", BOARD, "tiny", "tiny.pt"), out)
    return out


@pytest.fixture
def tiny(compiled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(compiled, tmp_path / "tiny"))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Three inputs in a file."""
    path = tmp_path / "images.npy"
    np.save(path, np.random.default_rng(2).integers(0, 256, (3, 12, 16, 1), dtype=np.uint8))
    return path


@contextmanager
def _flashed(folder: Path, *, trace: bool = False) -> Iterator[Line]:
    """A board with the folder's firmware as it is now."""
    board = load_board(BOARD)
    elf = gcc.build(folder, board, ram_bytes=RAM_BYTES, image_mode="streamed", trace=trace, io="uart")
    with emulated(elf.path, "netduinoplus2", ports_before=2) as line:
        yield line


def _run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments], catch_exceptions=False)


def _on(line: Line) -> tuple[str, ...]:
    return ("--engine", "hardware", "--port", line.path)


def _read(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def test_each_command_runs_on_the_board(tiny: Path, images: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.json"
    with _flashed(tiny) as line:
        proven = _run("validate", tiny, "--images", images, "--count", "3", *_on(line), "--json", out)
        assert proven.exit_code == 0, proven.output
        assert "hardware: equals int8 byte for byte on 3 images" in proven.output
        assert _read(out)["transfer"]["damaged"] == 0
        assert _read(tiny / "report.json")["validation"]["engine"] == "hardware"
        ran = _run("run", tiny, images, *_on(line), "--json", out)
        assert ran.exit_code == 0, ran.output
        here = tmp_path / "here.json"
        assert _run("run", tiny, images, "--engine", "int8", "--json", here).exit_code == 0
        assert _read(out)["outputs"] == _read(here)["outputs"]
        profiled = _run("profile", tiny, *_on(line), "--json", out)
        assert profiled.exit_code == 0, profiled.output
        assert "cycles on nucleo-f439zi: unknown, it has no counter that runs" in profiled.output
        assert _read(out)["measured_cycles"] is None and _read(out)["instructions"] is None
        labels = np.array([0, 1, 2])
        np.savez(tmp_path / "data.npz", x=np.load(images), y=labels)
        data = ("--data", tmp_path / "data.npz", "--engine", "int8", "--json", out)
        judged = _run("evaluate", tiny, *data, *_on(line))
        assert judged.exit_code == 0, judged.output
        assert [one["engine"] for one in _read(out)["engines"]] == ["int8", "hardware"]
        assert _read(out)["agreement"][0]["different"] == 0


def test_cycles_that_the_board_counts_are_measured(tiny: Path, images: Path, tmp_path: Path) -> None:
    graph, out = _graph(), tmp_path / "out.json"

    def compute(pixels: bytes) -> bytes:
        image = np.frombuffer(pixels, np.uint8).reshape(1, 12, 16, 1)
        [values] = evaluate_batch(graph, Batch.sequence(image))
        return b"".join(values[name].tobytes() for name in graph.outputs)

    def program(board_in: int, board_out: int) -> None:
        board = PlayedBoard(tiny, board_in, board_out)
        while True:
            board.run(12 * 16, compute, lambda index: 1_680_000 + index)

    with played(program) as line:
        profiled = _run("profile", tiny, "--images", images, "--count", "3", *_on(line), "--json", out)
        assert profiled.exit_code == 0, profiled.output
        assert "cycles on nucleo-f439zi: 1,680,002, measured by its counter" in profiled.output
        assert "10.000 ms at 168 MHz; waiting for the input is not in it" in profiled.output
        assert _read(out)["measured_cycles"] == 1_680_002 and _read(out)["instructions"] is None
        ran = _run("run", tiny, images, *_on(line))
        assert "1,680,000 cycles, measured on the board" in ran.output
        assert _run("validate", tiny, "--images", images, "--count", "3", *_on(line)).exit_code == 0
    report = _read(tiny / "report.json")
    assert report["measured_cycles"] == 1_680_002
    assert report["figures"]["measured_cycles"] == "measured"
    assert report["measured_on"] == {"engine": "hardware", "images": 3}
    assert report["ram"]["stack_measured_bytes"] is None  # that of the frames would be in it
    assert re.search(r"cycles, on the board +1,680,002 +measured", (tiny / "report.txt").read_text("utf-8"))


def test_other_weights_are_found(tiny: Path, images: Path) -> None:
    """Those of the folder and not of the board are other firmware; those of both give the first layer that
    differs, if the firmware is traced."""
    weights = tiny / "src" / "tiny_weights.c"
    arguments = ("validate", tiny, "--images", images, "--count", "2")
    with _flashed(tiny) as line:
        bias = r"(tiny_n1_conv2d_\w+\[\d+\] = \{\s*)(-?\d+)"  # of the second layer's first channel
        text = weights.read_text(encoding="utf-8")
        changed, times = re.subn(bias, lambda found: f"{found[1]}{int(found[2]) + 999_999}", text, count=1)
        assert times == 1
        weights.write_text(changed, encoding="utf-8")
        stale = _run(*arguments, *_on(line))
    assert stale.exit_code == 2
    assert "a 'tiny' that was built from other sources" in stale.stderr
    for trace, message in (
        (False, "write traced firmware to the board: make flash TRACE=1"),
        (True, ", layer 2 'n1_conv2d'"),
    ):
        with _flashed(tiny, trace=trace) as line:
            wrong = _run(*arguments, *_on(line))
        assert wrong.exit_code == 5
        assert "hardware differs from int8: image 0" in wrong.stderr and message in wrong.stderr


def test_port_and_engine_belong_together(tiny: Path, images: Path) -> None:
    for command in (("validate", tiny), ("run", tiny, images), ("evaluate", tiny), ("profile", tiny)):
        alone = _run(*command, "--engine", "hardware")
        assert alone.exit_code == 2
        assert "--engine hardware: give the board's serial --port; those there are: " in alone.stderr
        unused = _run(*command, "--engine", "qemu", "--port", "/dev/ttyACM0")
        assert unused.exit_code == 2
        assert "--port /dev/ttyACM0: only --engine hardware uses it" in unused.stderr
        absent = _run(*command, "--engine", "hardware", "--port", "/dev/no-such-port")
        assert absent.exit_code == 2 and "Traceback" not in absent.stderr
    board = _run("profile", tiny, "--engine", "hardware", "--port", "/dev/x", "--board", BOARD)
    assert board.exit_code == 2 and "--board: --engine hardware runs on the board that" in board.stderr


def test_a_model_file_is_not_on_a_board(tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"")
    asked = _run("evaluate", model, "--engine", "hardware", "--port", "/dev/no-such-port")
    assert asked.exit_code in (2, 3)


def _command(*arguments: str | Path, without: str = "") -> list[str]:
    hidden = f"sys.modules[{without!r}] = None; " if without else ""
    code = f"import sys; {hidden}from rnnpool_mcu.cli import main; main()"
    return [sys.executable, "-c", code, *map(str, arguments)]


def test_the_package_for_ports_is_named_where_it_is_missing(tiny: Path, images: Path) -> None:
    command = _command("run", tiny, images, "--engine", "hardware", "--port", "/dev/x", without="serial")
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 6
    assert "serial is not installed; pip install 'rnnpool-mcu[hardware]'" in done.stderr


def test_ctrl_c_ends_it_at_once(tiny: Path, images: Path) -> None:
    begun = threading.Event()

    def never_answers(board_in: int, board_out: int) -> None:
        PlayedBoard(tiny, board_in, board_out).hello()
        begun.set()
        os.read(board_in, 1)

    with played(never_answers) as line:
        command = _command("run", tiny, images, *_on(line))
        former = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        signal.signal(signal.SIGINT, former)
        assert begun.wait(60)
        process.send_signal(signal.SIGINT)
        begin = time.monotonic()
        _, errors = process.communicate(timeout=20)
    assert time.monotonic() - begin < 5
    assert process.returncode == 130 and errors.strip() == "error: interrupted"
