"""Boards at the end of a serial line that tests own: QEMU or a program in Python behind a pseudo terminal."""

from __future__ import annotations

import os
import pty
import random
import select
import struct
import subprocess
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.run import frames, hardware
from rnnpool_mcu.run.frames import Frame, FrameReader

Noise = Callable[[bytes], bytes]
"""What a line makes of bytes on their way."""


def clean(data: bytes) -> bytes:
    """A good line."""
    return data


@dataclass
class Noisy:
    """Drops, flips and doubles each byte with the probability `rate`, and at times puts one in between."""

    rate: float
    seed: int = 0
    hits: int = 0
    _random: random.Random = field(init=False)

    def __post_init__(self) -> None:
        self._random = random.Random(self.seed)

    def __call__(self, data: bytes) -> bytes:
        made = bytearray()
        for byte in data:
            if self._random.random() >= self.rate:
                made.append(byte)
                continue
            self.hits += 1
            kind = self._random.randrange(4)
            if kind == 1:
                made.append(byte ^ 1 << self._random.randrange(8))
            elif kind == 2:
                made += bytes((byte, byte))
            elif kind == 3:
                made += bytes((byte, self._random.randrange(256)))
        return bytes(made)


MEMORY = "memory ram 8704 stack 2304 data 112 bss 12 pixels 768 output 24 arena 1024 canaries 16 free 4000\n"
"""What firmware says of its RAM."""


@dataclass
class Line:
    """A pseudo terminal with a board behind it."""

    path: str
    cut: threading.Event  # set: the cable is pulled


@contextmanager
def _bridged(to_board: int, from_board: int, to: Noise, back: Noise) -> Iterator[Line]:
    """A pseudo terminal whose bytes go to and from a board through noise."""
    master, slave = pty.openpty()
    tty.setraw(slave)
    line, ended = Line(os.ttyname(slave), threading.Event()), threading.Event()

    def pump() -> None:
        held: int | None = slave  # keeps the terminal there while nobody has opened it
        while not ended.is_set():
            if line.cut.is_set():
                if held is not None:
                    os.close(held)
                    os.close(master)
                    held = None
                ended.wait(0.05)
                continue
            ready, _, _ = select.select([master, from_board], [], [], 0.05)
            for source in ready:
                data = os.read(source, 4096)
                if source == master:
                    os.write(to_board, to(data))
                elif not data:
                    line.cut.set()
                else:
                    os.write(master, back(data))
        if held is not None:
            os.close(held)
            os.close(master)

    thread = threading.Thread(target=pump, daemon=True)
    thread.start()
    try:
        yield line
    finally:
        ended.set()
        thread.join()


@contextmanager
def emulated(
    elf: Path,
    machine: str,
    *,
    ports_before: int = 0,
    to: Noise = clean,
    back: Noise = clean,
    options: tuple[str, ...] = (),
) -> Iterator[Line]:
    """Firmware on QEMU, its serial port number `ports_before` behind a pseudo terminal."""
    command = ["qemu-system-arm", "-M", machine, "-display", "none"]
    command += [] if "-monitor" in options else ["-monitor", "none"]
    command += ["-serial", "null"] * ports_before + ["-serial", "stdio", "-kernel", str(elf), *options]
    emulator = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert emulator.stdin is not None and emulator.stdout is not None
    try:
        with _bridged(emulator.stdin.fileno(), emulator.stdout.fileno(), to, back) as line:
            yield line
    finally:
        emulator.kill()
        emulator.wait()
        emulator.stdin.close()
        emulator.stdout.close()


@contextmanager
def played(program: Callable[[int, int], None], *, to: Noise = clean, back: Noise = clean) -> Iterator[Line]:
    """A board that is a function of the two ends of its line: reads from the first, writes to the second."""
    board_in, to_board = os.pipe()
    from_board, board_out = os.pipe()

    def play() -> None:
        try:
            program(board_in, board_out)
        except OSError:
            return  # the line is gone

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        with _bridged(to_board, from_board, to, back) as line:
            yield line
    finally:
        os.close(to_board)
        thread.join(5)
        for end in (board_in, board_out, from_board):
            os.close(end)


class PlayedBoard:
    """Firmware in Python, with the two ends of its line: asks as firmware/io/frames.c does, and as often."""

    def __init__(
        self,
        project: Path,
        board_in: int,
        board_out: int,
        *,
        name: str = "",
        hash: int | None = None,
        version: int = frames.VERSION,
    ):
        self.line_in, self.line_out = board_in, board_out
        self.sequence = 0
        self._reader = FrameReader()
        found = hardware.source_hash(project) if hash is None else hash
        self._hello = struct.pack("<BBI", version, 0, found) + (name or Project.load(project).name).encode()

    def ask(self, kind: int, payload: bytes = b"", *, tries: int = 60) -> bytes:
        """The answer's payload; OSError where the host wants a new beginning, or does not answer."""
        for _ in range(tries):
            os.write(self.line_out, Frame(kind, self.sequence, payload).encode())
            end = time.monotonic() + 0.25
            while (left := end - time.monotonic()) > 0:
                if not select.select([self.line_in], [], [], left)[0]:
                    break
                data = os.read(self.line_in, 4096)
                if not data:
                    raise OSError("the line is gone")
                for frame in self._reader.feed(data):
                    if frame.kind == frames.STOP:
                        raise OSError("begin anew")
                    if (frame.kind, frame.sequence) == (kind | frames.ANSWER, self.sequence):
                        self.sequence = self.sequence % 255 + 1
                        return frame.payload
        raise OSError("nobody answers")

    def hello(self) -> int:
        """The number of images."""
        return int(struct.unpack("<I", self.ask(frames.HELLO, self._hello))[0])

    def say(self, text: str) -> None:
        """A part of the report."""
        self.ask(frames.TEXT, text.encode())

    def image(self, index: int, record_bytes: int, compute: Callable[[bytes], bytes], ticks: int) -> None:
        """Reads a record as the firmware does, and tells what its pixels make, and what that took."""
        pixels = b""
        while len(pixels) < record_bytes:
            count = min(frames.PAYLOAD_BYTES, record_bytes - len(pixels))
            pixels += self.ask(frames.READ, struct.pack("<IH", index * record_bytes + len(pixels), count))
        counted = f"ticks {ticks} per_tick 1 unit cycles stack_high_water 700 canaries_ok 1"
        self.say(f"image index {index} status 0 {counted}\n")
        self.ask(frames.OUTPUT, compute(pixels))

    def run(self, record_bytes: int, compute: Callable[[bytes], bytes], ticks: Callable[[int], int]) -> None:
        """A whole run; `ticks` of an image's index. Then it waits for the next host."""
        images = self.hello()
        self.say("runner 1\n" + MEMORY)
        for index in range(images):
            self.image(index, record_bytes, compute, ticks(index))
        self.say(f"done images {images} failures 0\n")
        self.ask(frames.END, b"\0")
        self.sequence = 0
