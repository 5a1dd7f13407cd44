"""Runs on Renode, played by a small program: what it prints, what it logs, and when it ends."""

from __future__ import annotations

import json
import os
import re
import stat
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from rnnpool_mcu.cli import main
from rnnpool_mcu.errors import ToolMissingError, UsageError
from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.pipeline import Target, compile_graph
from rnnpool_mcu.run import renode
from rnnpool_mcu.run.protocol import RunError
from rnnpool_mcu.run.renode_test import expected_lines, image_window
from rnnpool_mcu.system import tools
from rnnpool_mcu.system.programs import started
from rnnpool_mcu.toolchain import gcc
from rnnpool_mcu.validate.engines import run_reference
from tests.firmware.conftest import FAKE, write_fake_project
from tests.firmware.test_harness import expected_output
from tests.graphs import GraphBuilder

IMAGES = np.random.default_rng(3).integers(0, 256, (2, 24, 32, 1), dtype=np.uint8)
WINDOW = "0x21000000"  # memory of the emulated board that the program does not use
REPORT = (
    "runner 1\nmemory ram 8192 stack 2048 data 0 bss 8 pixels 32 output 24 arena 1024 canaries 16 free 1000\n"
)
_PLAYER = """#!{python}
import re, sys, time
monitor = sys.argv[sys.argv.index("-e") + 1]
paths = dict(re.findall(r"\\$(\\w+)=@((?:\\\\ |[^;])+);", monitor))
report = paths["report"].replace("\\\\ ", " ")
{body}
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose path has a space."""
    return write_fake_project(tmp_path_factory.mktemp("a folder"))


def _play(monkeypatch: pytest.MonkeyPatch, folder: Path, body: str) -> None:
    """Put a `renode` on the PATH that does `body` with the name of the report file."""
    program = folder / "bin" / "renode"
    program.parent.mkdir(exist_ok=True)
    program.write_text(_PLAYER.format(python=sys.executable, body=body))
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def _whole_report(outputs: list[bytes]) -> str:
    lines = "".join(
        f"image index {i} status 0 ticks 0 per_tick 40 unit instructions stack_high_water 700 canaries_ok 1\n"
        f"output {output.hex()}\n"
        for i, output in enumerate(outputs)
    )
    return f"{REPORT}{lines}done images {len(outputs)} failures 0\nexit 0\n"


def test_a_run_ends_with_its_report_and_knows_no_instructions(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outputs = [expected_output(image) for image in IMAGES]
    text = _whole_report(outputs)
    _play(monkeypatch, tmp_path, f"open(report, 'w').write({text!r})\ntime.sleep(600)")
    begin = time.monotonic()
    result = renode.run(project, IMAGES)
    assert time.monotonic() - begin < 120  # its time is the build's
    assert result.outputs == tuple(outputs)
    assert result.instructions is None
    assert result.stack_high_water_bytes == 700


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (
            "print('[ERROR] There was an error executing command \\'machine LoadPlatformDescription x\\'')\n"
            "print('Error E13: could not find a default interrupt')\nprint('At x.repl:20:5')",
            r"platform is refused .*Error E13: could not find a default interrupt At x\.repl:20:5",
        ),
        (
            "print('There was an error executing command \\'sysbus LoadELF @y\\'')\n"
            "print('Could not find file y')",
            r"LoadELF @y'?: Could not find file y",
        ),
        (
            "open(report, 'w').write('runner 1\\n')\n"
            "print('[WARNING] sysbus: Read from non existing peripheral at 0x40000010.')",
            "nothing at: .*0x40000010",
        ),
        ("open(report, 'w').write('runner 1\\n')", "not done after 600 s of the board's time"),
        ("print('no display')", "before the firmware printed anything; its output ends:\nno display"),
    ],
    ids=["platform", "file", "address", "too-few-seconds", "dies"],
)
def test_each_failure_has_a_message_of_its_own(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    _play(monkeypatch, tmp_path, body)
    with pytest.raises(RunError, match=message):
        renode.run(project, IMAGES)


def test_a_run_that_hangs_is_ended(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _play(monkeypatch, tmp_path, "open(report, 'w').write('runner 1\\n')\ntime.sleep(600)")
    with pytest.raises(RunError, match="not done after 1 s; run fewer images"):
        renode.run(project, IMAGES, wait=1.0)


def test_a_faults_report_is_read(project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (
        REPORT
        + "\nfault MemManage pc 0x00000200 lr 0x0 address 0x20002000 sp 0x20000700 cfsr 0x82 hfsr 0x0\n"
    )
    _play(monkeypatch, tmp_path, f"open(report, 'w').write({text + 'exit 1' + chr(10)!r})\ntime.sleep(600)")
    with pytest.raises(RunError, match="access to 0x20002000"):
        renode.run(project, IMAGES)


def test_too_many_images_are_refused_at_once(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _play(monkeypatch, tmp_path, "")
    many = np.zeros((21_900, 24, 32, 1), np.uint8)
    with pytest.raises(UsageError, match="21900 images, at most 21845 fit"):
        renode.run(project, many)


def test_images_of_the_window_are_as_the_firmware_reads_them() -> None:
    window = image_window(IMAGES)
    assert window[:4] == b"\x02\0\0\0" and len(window) == 16 + IMAGES.size
    assert window[16:] == IMAGES.tobytes()


def _report_on_qemu(project: Path, images: np.ndarray) -> str:
    """What the firmware prints on its serial port, images in QEMU's memory as they are in Renode's."""
    variables = {"IO": "window", "IMAGE_WINDOW": WINDOW, "BUILD": "build/window"}
    tools.make(project, "elf", variables, compiler=gcc.COMPILER)
    window = project / "window.bin"
    window.write_bytes(image_window(images))
    command = [
        "qemu-system-arm",
        "-M",
        "mps2-an386",
        "-display",
        "none",
        "-monitor",
        "none",
        "-serial",
        "stdio",
    ]
    command += ["-device", f"loader,file={window},addr={WINDOW},force-raw=on"]
    command += ["-kernel", str(project / "build" / "window" / "fake.elf")]
    lines = []
    with started(command, stdout=subprocess.PIPE) as emulator:
        assert emulator.stdout is not None
        for line in emulator.stdout:
            lines.append(line.decode().rstrip("\r\n"))
            if lines[-1].startswith("exit"):
                break
    return "\n".join(lines)


def _passes(project: Project, report: str, outputs: list[bytes]) -> bool:
    """Whether the robot test would pass: each expression matches a line behind the one before."""
    lines = iter(report.splitlines())
    return all(any(re.search(wanted, line) for line in lines) for wanted in expected_lines(project, outputs))


def test_the_expected_lines_are_those_of_the_firmware_and_of_no_other(tmp_path: Path) -> None:
    outputs = [expected_output(image) for image in IMAGES]
    report = _report_on_qemu(write_fake_project(tmp_path / "good"), IMAGES)
    assert _passes(FAKE, report, outputs)
    assert not _passes(FAKE, report, [outputs[1], outputs[0]])
    assert not _passes(FAKE, _report_on_qemu(tmp_path / "good", IMAGES[:1]), outputs)
    overflowing = write_fake_project(tmp_path / "overflowing", FAKE_FAULT=3)
    assert not _passes(FAKE, _report_on_qemu(overflowing, IMAGES), outputs)
    broken = write_fake_project(tmp_path / "broken")
    weights = broken / "src" / "fake_weights.c"
    weights.write_text(weights.read_text().replace("-16", "-15"))
    assert not _passes(FAKE, _report_on_qemu(broken, IMAGES), outputs)


def _small() -> Graph:
    builder = GraphBuilder(TensorType(6, 5, 1, Quantization(1 / 255, -128)))
    return builder.graph(builder.classifier("input", 3))


def test_profile_says_that_instructions_are_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not 0, whatever the report says: no platform has a counter that counts one run."""
    graph, folder = _small(), tmp_path / "net"
    folder.mkdir()
    compile_graph(graph, Target("net", 2**17, "resident", "mps2-an386", "test", "none"), folder)
    output = b"\0" * Project.load(folder).output_bytes
    _play(monkeypatch, tmp_path, f"open(report, 'w').write({_whole_report([output])!r})\ntime.sleep(600)")
    result = CliRunner().invoke(
        main, ["profile", str(folder), "--engine", "renode", "--json", str(tmp_path / "p")]
    )
    assert result.exit_code == 0, result.output
    assert "instructions: unknown" in result.output and "cycles on mps2-an386: unknown" in result.output
    value = json.loads((tmp_path / "p").read_text())
    assert value["instructions"] is None and value["measured_cycles"] is None and value["seconds"] is None
    assert json.loads((folder / "report.json").read_text())["instructions"] is None


def test_a_missing_script_and_a_missing_program_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = write_fake_project(tmp_path / "fake")
    _play(monkeypatch, tmp_path, "")
    (project / "renode" / "fake.resc").unlink()
    with pytest.raises(UsageError, match=r"fake\.resc: is missing; compile the model again"):
        renode.run(project, IMAGES)
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ToolMissingError, match="renode is not on PATH; install it"):
        renode.run(project, IMAGES)


def test_a_command_that_fails_without_a_cause_says_so(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _play(monkeypatch, tmp_path, "print('There was an error executing command x')")
    with pytest.raises(RunError, match="no cause is told"):
        renode.run(project, IMAGES)


_COMPUTING = """
count = int.from_bytes(open(paths["images"].replace("\\\\ ", " "), "rb").read(4), "little")
lines = "runner 1\\n"
for index, output in enumerate({outputs!r}[:count]):
    counted = "ticks 0 per_tick 40 unit instructions stack_high_water 7 canaries_ok 1"
    lines += f"image index {{index}} status 0 {{counted}}\\n"
    lines += f"output {{output}}\\n"
open(report, "w").write(lines + f"done images {{count}} failures 0\\nexit 0\\n")
time.sleep(600)
"""


def test_each_command_runs_on_renode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a player that gives what the definition says: the engine is reached, and its bytes are taken."""
    graph, folder = _small(), tmp_path / "net"
    folder.mkdir()
    compile_graph(graph, Target("net", 2**17, "resident", "mps2-an386", "test", "none"), folder)
    images = np.random.default_rng(1).integers(0, 256, (3, *graph.input_type.shape), dtype=np.uint8)
    outputs = [output.hex() for output in run_reference(graph, images, lambda _: None).outputs]
    _play(monkeypatch, tmp_path, _COMPUTING.format(outputs=outputs))
    np.save(tmp_path / "images.npy", images)
    np.savez(tmp_path / "data.npz", x=images, y=np.zeros(3, int))
    for command in (
        ("validate", folder, "--images", tmp_path / "images.npy", "--count", 3),
        ("run", folder, tmp_path / "images.npy"),
        ("evaluate", folder, "--data", tmp_path / "data.npz", "--engine", "int8"),
        ("profile", folder, "--images", tmp_path / "images.npy", "--count", 3),
    ):
        done = CliRunner().invoke(main, [*map(str, command), "--engine", "renode"])
        assert done.exit_code == 0, done.output
