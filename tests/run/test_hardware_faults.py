"""What can go wrong on a serial line and behind it, each with its own message: boards played in Python."""

from __future__ import annotations

import os
import stat
import struct
import threading
import time
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from rnnpool_mcu.errors import ToolMissingError, UsageError, UserError, ValidationError
from rnnpool_mcu.run import frames, hardware
from rnnpool_mcu.run.frames import Frame
from rnnpool_mcu.run.hardware import Waits
from rnnpool_mcu.run.protocol import RunError
from rnnpool_mcu.run.renode_test import window_of
from rnnpool_mcu.system.serial_lines import LineLostError, SerialPort
from tests.firmware.conftest import write_fake_project
from tests.firmware.test_harness import expected_output
from tests.run.serial_boards import MEMORY, PlayedBoard, played

IMAGES = np.random.default_rng(7).integers(0, 256, (2, 24, 32, 1), dtype=np.uint8)
WAITS = Waits(hello=5.0, image=5.0)
QUICK = Waits(hello=5.0, image=0.8)
Play = Callable[[PlayedBoard], None]


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fake_project(tmp_path_factory.mktemp("fake"))


def _run(project: Path, play: Play, waits: Waits = WAITS, **board: object) -> hardware.RunResult:
    def program(board_in: int, board_out: int) -> None:
        play(PlayedBoard(project, board_in, board_out, **board))  # type: ignore[arg-type]

    with played(program) as line:
        return hardware.run(project, IMAGES, SerialPort(line.path), waits=waits)


def _compute(pixels: bytes) -> bytes:
    return expected_output(np.frombuffer(pixels, np.uint8).reshape(24, 32, 1))


def _image(board: PlayedBoard, index: int) -> None:
    board.image(index, IMAGES[0].size, _compute, 123_456 + index)


def _good(board: PlayedBoard, still: bool = False) -> None:
    board.run(IMAGES[0].size, _compute, lambda index: 0 if still else 123_456 + index)
    board.hello()


def test_a_board_that_counts_cycles_gives_them(project: Path) -> None:
    result = _run(project, _good)
    assert result.cycles == (123_456, 123_457)
    assert result.instructions is None
    assert result.outputs == tuple(expected_output(image) for image in IMAGES)


def test_a_counter_that_stands_still_is_unknown_not_zero(project: Path) -> None:
    def play(board: PlayedBoard) -> None:
        _good(board, ticks=0)

    assert _run(project, lambda board: _good(board, still=True)).cycles is None


def _silent(_: PlayedBoard) -> None:
    time.sleep(2)


def _deaf(board: PlayedBoard) -> None:
    """In the middle of an earlier run, and hears nothing."""
    for _ in range(8):
        os.write(board.line_out, Frame(frames.READ, 44, bytes(6)).encode())
        time.sleep(0.2)


def _garbage(board: PlayedBoard) -> None:
    """Another baud rate, or a program that prints."""
    for _ in range(30):
        os.write(board.line_out, b"\x80\xf8 hello world ~ \x00\xff~~")
        time.sleep(0.05)


def _dies(board: PlayedBoard) -> None:
    board.hello()
    board.say("runner 1\n" + MEMORY)
    _image(board, 0)
    time.sleep(2)


def _begins_anew(board: PlayedBoard) -> None:
    board.hello()
    board.say("runner 1\n" + MEMORY)
    _image(board, 0)
    board.sequence = 0
    board.hello()


def _jumps(board: PlayedBoard) -> None:
    board.hello()
    board.sequence = 9
    board.say("runner 1\n")


def _reads_beyond(board: PlayedBoard) -> None:
    board.hello()
    board.ask(frames.READ, struct.pack("<IH", 10**6, 1))


def _asks_oddly(board: PlayedBoard) -> None:
    board.hello()
    board.ask(77)


def _faults(board: PlayedBoard) -> None:
    board.hello()
    board.say("runner 1\n" + MEMORY)
    board.say("\nfault MemManage pc 0x08000200 lr 0x0 address 0x20002000 sp 0x20000700 cfsr 0x82 hfsr 0x0\n")
    board.ask(frames.END, b"\3")


def _ends_early(board: PlayedBoard) -> None:
    board.hello()
    board.say("runner 1\n" + MEMORY)
    _image(board, 0)
    board.say("done images 1 failures 0\n")
    board.ask(frames.END, b"\0")


@pytest.mark.parametrize(
    ("play", "kind", "message"),
    [
        (_silent, ToolMissingError, r"no answer within 1 s; is the board's firmware .*flash DIR"),
        (_garbage, ToolMissingError, r"bytes came within 1 s, and no frame that is whole: .*--baud 115200"),
        (_deaf, ToolMissingError, r"the board goes on with an earlier run and does not hear"),
        (_dies, RunError, r"the board said nothing for 1 s.*1 of 2 images were done, \d+ frames whole"),
        (_begins_anew, RunError, r"the board began anew in the middle.*1 of 2 images"),
        (_jumps, RunError, r"request 9 came, 1 is next; does a second program answer"),
        (_reads_beyond, RunError, r"bytes 1000000 to 1000000 of the input are asked for, it has 1536"),
        (_asks_oddly, RunError, r"a request of kind 77, which is not known"),
        (_faults, RunError, r"image 0 ended in a fault: MemManage at 0x08000200, access to 0x20002000"),
        (_ends_early, RunError, r"1 of 2 images ran"),
    ],
)  # fmt: skip
def test_each_failure_has_a_message_of_its_own(
    project: Path, play: Play, kind: type[Exception], message: str
) -> None:
    with pytest.raises(kind, match=message) as caught:
        _run(project, play, Waits(0.8, 0.8) if kind is ToolMissingError else QUICK)
    assert caught.value.exit_code == {ToolMissingError: 6, RunError: 5}[kind]


@pytest.mark.parametrize(
    ("board", "message"),
    [
        ({"name": "other"}, r"the board runs 'other', not 'fake'; write .*rnnpool-mcu flash DIR"),
        ({"hash": 0x1234}, r"a 'fake' that was built from other sources \(hash 00001234, this folder's is"),
        ({"version": 2}, r"speaks version 2 of the protocol, this program 1"),
    ],
)
def test_other_firmware_is_named(project: Path, board: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        _run(project, lambda played: _good(played), **board)
    assert caught.value.exit_code == 2


def test_a_cable_pulled_in_the_middle(project: Path) -> None:
    def play(board: PlayedBoard) -> None:
        board.hello()
        board.say("runner 1\n" + MEMORY)
        _image(board, 0)
        line.cut.set()
        time.sleep(1)

    with (
        played(lambda a, b: play(PlayedBoard(project, a, b))) as line,
        pytest.raises(LineLostError, match=r"the port is gone .*1 of 2 images were done") as caught,
    ):
        hardware.run(project, IMAGES, SerialPort(line.path), waits=WAITS)
    assert caught.value.exit_code == ValidationError.exit_code == 5


def test_a_board_left_in_the_middle_begins_anew_for_the_next_host(project: Path) -> None:
    """An earlier host was ended: the board still asks for its row, and is told to stop."""
    stopped = threading.Event()

    def play(board: PlayedBoard) -> None:
        board.sequence = 57
        with pytest.raises(OSError, match="begin anew"):
            board.ask(frames.READ, b"\0\0\0\0\1\0")
        stopped.set()
        board.sequence = 0
        _good(board)

    assert len(_run(project, play).outputs) == 2
    assert stopped.is_set()


def test_an_interruption_tells_the_board(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []

    def play(board: PlayedBoard) -> None:
        board.hello()
        board.say("runner 1\n" + MEMORY)
        try:
            _image(board, 0)
        except OSError as error:
            told.append(str(error))

    def interrupt(*_: object) -> bytes:
        raise KeyboardInterrupt

    monkeypatch.setattr(hardware._Session, "_payload", _at_a_read(hardware._Session._payload, interrupt))
    with pytest.raises(KeyboardInterrupt):
        _run(project, play)
    assert told == ["begin anew"]


def _at_a_read(real: Callable[..., bytes], instead: Callable[..., bytes]) -> Callable[..., bytes]:
    def chosen(session: object, frame: Frame) -> bytes:
        return instead() if frame.kind == frames.READ else real(session, frame)

    return chosen


def test_ports_that_cannot_be_had(project: Path, tmp_path: Path) -> None:
    plain = tmp_path / "a file"
    plain.write_bytes(b"")
    for port, message in (
        (SerialPort("/dev/no-such-port"), "there is no such port; those there are: "),
        (SerialPort(str(plain)), "is no serial port"),
        (None, "needs the board's serial port: give --port"),
    ):
        with pytest.raises(UsageError, match=message) as caught:
            hardware.run(project, IMAGES, port)
        assert caught.value.exit_code == 2


@pytest.mark.skipif(os.geteuid() == 0, reason="root may use every port")
def test_a_port_without_permission(project: Path) -> None:
    with played(_idle) as line:
        Path(line.path).chmod(0)
        with pytest.raises(UsageError, match="you may not use it; on Linux: sudo usermod -a -G dialout"):
            hardware.run(project, IMAGES, SerialPort(line.path))
        Path(line.path).chmod(stat.S_IRUSR | stat.S_IWUSR)


def test_what_the_system_says_of_a_port_is_told_with_what_to_do(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import serial

    for number, text, message in (
        (13, "Permission denied", "you may not use it; on Linux: sudo usermod -a -G dialout"),
        (16, "Device or resource busy", "another program uses it"),
        (5, "Input/output error", "cannot be opened"),
    ):

        def refuse(*_: object, _error: tuple[int, str] = (number, text), **__: object) -> None:
            raise serial.SerialException(*_error)

        monkeypatch.setattr(serial, "Serial", refuse)
        with pytest.raises(UsageError, match=message):
            hardware.run(project, IMAGES, SerialPort("/dev/ttyACM7"))


def _idle(board_in: int, _: int) -> None:
    os.read(board_in, 1)


def test_a_port_in_use_is_told_so(project: Path) -> None:
    import serial

    with played(_idle) as line:
        other = serial.Serial(line.path, exclusive=True)
        try:
            with pytest.raises(UsageError, match="another program uses it; end that"):
                hardware.run(project, IMAGES, SerialPort(line.path))
        finally:
            other.close()


def test_frames_are_found_in_whatever_lies_between() -> None:
    reader = frames.FrameReader()
    sent = [Frame(kind, kind, bytes(range(256)) * 2) for kind in (1, 0x7D, 0x7E)]
    noise = [b"~~", b"noise}", b"\x7d~\x01\x02~", b""]
    data = b"".join(junk + frame.encode() for junk, frame in zip(noise, sent, strict=False))
    found = [frame for byte in data for frame in reader.feed(bytes([byte]))]
    assert found == sent
    assert reader.frames == 3 and reader.damaged == 2
    assert b"~" not in Frame(1, 0, b"~}" * 100).encode()[1:-1]


@pytest.mark.parametrize("at", range(0, 24, 3))
def test_a_flipped_bit_is_no_frame(at: int) -> None:
    data = bytearray(Frame(2, 5, b"0123456789").encode())
    data[at % (len(data) - 2) + 1] ^= 0x04
    reader = frames.FrameReader()
    assert not [frame for frame in reader.feed(bytes(data)) if frame.kind == 2 and frame.sequence == 5]


def test_the_records_are_what_the_window_holds() -> None:
    assert window_of(2, b"ab")[16:] == b"ab"


class _Said:
    """A line on which a board has said all that it ever says."""

    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, _: float) -> bytes:
        data, self._data = self._data[:700], self._data[700:]
        return data

    def write(self, _: bytes) -> None:
        return


@pytest.mark.parametrize("seed", range(3))
def test_whatever_a_board_says_the_answer_is_an_error_of_the_user(
    project: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """Whole frames of any kind, order and content: hostile firmware, or a bug in one's own."""
    rng = np.random.default_rng(seed)
    messages: set[str] = set()
    monkeypatch.setattr(hardware, "_LINGER_SECONDS", 0.0)
    hello = Frame(frames.HELLO, 0, struct.pack("<BBI", 1, 0, hardware.source_hash(project)) + b"fake")
    words = [
        b"image index 0 status 0 ticks 5",
        b"memory ram x",
        b"trace image 9 layer 1 rows 2 hash 0x3",
        b"\xff",
    ]
    words += [
        b"done images 2 failures 0\n",
        b"fault \n",
        b"fault X pc\n",
        b"error e\n",
        b"\n",
        MEMORY.encode(),
    ]
    words += [b"image index 0 status 0 ticks 5 per_tick 0 unit cycles canaries_ok 1\n", b"runner 1\n"]

    def any_frame(sequence: int) -> Frame:
        kind = int(rng.choice([1, 2, 3, 3, 3, 3, 4, 5, 9])) if rng.random() < 0.3 else 3
        payload = b"".join(words[i] for i in rng.integers(0, len(words), rng.integers(0, 4)))
        return Frame(kind, sequence, payload if kind == 3 else rng.bytes(int(rng.integers(0, 12))))

    for _ in range(100):
        said = [hello, *(any_frame(n) for n in range(1, int(rng.integers(2, 12))))]
        said += [Frame(frames.OUTPUT, len(said), bytes(48)), Frame(frames.END, len(said) + 1, b"\0")]
        line = _Said(b"".join(frame.encode() for frame in said))
        monkeypatch.setattr(hardware, "opened", lambda _, line=line: nullcontext(line))
        with pytest.raises(UserError) as caught:
            hardware.run(project, IMAGES, SerialPort("x"), waits=Waits(0.02, 0.02))
        messages.add(str(caught.value)[:30])
    assert len(messages) > 5
