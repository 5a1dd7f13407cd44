"""Runs a compiled project on a board, over its serial console.

The firmware has been written there before (`rnnpool-mcu flash`). It asks, this side answers: who is there,
the bytes of the input, text and outputs as they come, the end (docs/hardware.md). A request that comes twice
gets its answer twice, so that neither side minds a frame that the line has damaged.
"""

from __future__ import annotations

import hashlib
import struct
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

from rnnpool_mcu.errors import ToolMissingError, UsageError
from rnnpool_mcu.ir.batch import Batch, Images, batch_of
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.run_result import RunResult, Transfer
from rnnpool_mcu.run import batch, frames, protocol
from rnnpool_mcu.run.frames import Frame, FrameReader
from rnnpool_mcu.run.protocol import RunError
from rnnpool_mcu.system.serial_lines import LineLostError, SerialLine, SerialPort, opened

ENGINE = "hardware"
HELLO_SECONDS = 10.0
"""In which a board has to say hello: it does so four times a second while nobody answers."""
SILENT_SECONDS = 180.0
"""That a board may take for one image without a word."""
_LINGER_SECONDS = 1.5
_POLL_SECONDS = 0.1
_MOST_BYTES = (1 << 31) - 1
_MOST_TOLD = 1 << 26
_HELLO = struct.Struct("<BBI")
_READ = struct.Struct("<IH")
_TRACED = 1


@dataclass(frozen=True)
class Waits:
    """How long silence may last, in seconds."""

    hello: float = HELLO_SECONDS
    image: float = SILENT_SECONDS


def source_hash(project: Path) -> int:
    """Of the sources of the model, as the project's Makefile computes it for the firmware."""
    paths = [*(project / "src").glob("*.c"), *(project / "src" / "kernels").glob("*.c")]
    digest = hashlib.sha256()
    for path in sorted(paths, key=lambda path: path.relative_to(project).as_posix()):
        digest.update(path.read_bytes())
    return int(digest.hexdigest()[:8], 16)


def run(
    project: Path,
    images: Images | Batch,
    port: SerialPort | None,
    progress: Callable[[str], None] = lambda _: None,
    *,
    waits: Waits | None = None,
) -> RunResult:
    """Runs the firmware on the board at `port` over `images`, uint8 [N, H, W, C] or a batch.

    It is traced if the firmware is. UsageError without a port, where the port cannot be had, or where the
    board has other firmware; ToolMissingError where nobody answers; RunError for a fault, a status other than
    0, a lost canary, a board that is reset or falls silent; LineLostError where the port vanishes.
    """
    if port is None:
        raise UsageError("engine 'hardware' needs the board's serial port: give --port, such as /dev/ttyACM0")
    described, runs = Project.load(project), batch_of(images)
    records = batch.as_bytes(described, runs)
    if len(records) > _MOST_BYTES:
        raise UsageError(
            f"{len(runs)} images are {len(records):,} bytes, allowed: {_MOST_BYTES:,} in one run"
        )
    with opened(port) as line:
        session = _Session(
            line, port, described.name, source_hash(project), len(runs), records, waits or Waits(), progress
        )
        session.serve()
    result = protocol.result(
        ENGINE,
        session.text.decode("utf-8", "replace"),
        bytes(session.outputs),
        output_bytes=described.output_bytes,
        images=len(runs),
    )
    return replace(result, transfer=session.transfer)


@dataclass
class _Session:
    """One conversation with a board, from its hello to its end."""

    line: SerialLine
    port: SerialPort
    name: str
    hash: int
    images: int
    records: bytes
    waits: Waits
    progress: Callable[[str], None]
    text: bytearray = field(default_factory=bytearray)
    outputs: bytearray = field(default_factory=bytearray)
    repeated: int = 0
    done: int = 0  # images
    _greeted: bool = False
    _last: Frame | None = None  # that was answered, since the hello
    _answer: Frame | None = None
    _reader: FrameReader = field(default_factory=FrameReader)

    @property
    def transfer(self) -> Transfer:
        """How the line did."""
        return Transfer(self._reader.frames, self._reader.damaged, self.repeated)

    def serve(self) -> None:
        """Answers until the board has ended; an interruption sends it back to its beginning."""
        try:
            for frame in self._frames():
                self._take(frame)
                if frame.kind == frames.END and frame.sequence:
                    break
        except LineLostError as error:
            raise LineLostError(f"{error} {self._progress()}") from error
        except BaseException:
            self._stop()
            raise
        self._linger()

    def _frames(self) -> Iterator[Frame]:
        """Frames as they come; an error when none does for too long."""
        heard = time.monotonic()
        while True:
            for frame in self._reader.feed(self.line.read(_POLL_SECONDS)):
                yield frame
                heard = heard if self._last is None else time.monotonic()  # hellos alone are no progress
            wait = self.waits.hello if self._last is None else self.waits.image
            if time.monotonic() - heard > wait:
                self._tell_silence(wait)

    def _take(self, frame: Frame) -> None:
        """Answers one frame, and keeps what it brought unless it came before."""
        if frame.kind == frames.HELLO:
            self._greet(frame)
        elif not self._greeted:
            self._send(Frame(frames.STOP, frame.sequence))  # of a run whose host is gone: begin anew
        elif self._last is not None and frame == self._last:
            self.repeated += 1
            assert self._answer is not None
            self._send(self._answer)
        else:
            self._check_order(frame)
            answer = Frame(frame.kind | frames.ANSWER, frame.sequence, self._payload(frame))
            self._last, self._answer = frame, answer
            self._send(answer)

    def _send(self, frame: Frame) -> None:
        self.line.write(frame.encode())

    def _greet(self, frame: Frame) -> None:
        if self._last is not None:
            raise RunError(
                "hardware: the board began anew in the middle: a reset, its power, or a line so bad that it "
                f"gave up; {self._progress()}"
            )
        if len(frame.payload) < _HELLO.size:
            raise UsageError(
                f"{self.port.name}: a hello of {len(frame.payload)} bytes; {self._flash_advice()}"
            )
        version, _flags, found = _HELLO.unpack(frame.payload[: _HELLO.size])
        name = frame.payload[_HELLO.size :].decode("utf-8", "replace")
        if version != frames.VERSION:
            raise UsageError(
                f"{self.port.name}: the firmware speaks version {version} of the protocol, this program "
                f"{frames.VERSION}; compile the model again, then {self._flash_advice()}"
            )
        if name != self.name:
            raise UsageError(
                f"{self.port.name}: the board runs '{name}', not '{self.name}'; {self._flash_advice()}"
            )
        if found != self.hash:
            raise UsageError(
                f"{self.port.name}: the board runs a '{name}' that was built from other sources (hash "
                f"{found:08x}, this folder's is {self.hash:08x}); {self._flash_advice()}"
            )
        self.repeated += self._greeted
        self._greeted = True
        self._send(Frame(frames.HELLO | frames.ANSWER, frame.sequence, struct.pack("<I", self.images)))

    @staticmethod
    def _flash_advice() -> str:
        return "write this folder's firmware to it: rnnpool-mcu flash DIR"

    def _check_order(self, frame: Frame) -> None:
        last = 0 if self._last is None else self._last.sequence
        wanted = 1 if last == 255 else last + 1
        if frame.sequence != wanted:
            raise RunError(
                f"hardware: request {frame.sequence} came, {wanted} is next; does a second program answer at "
                f"{self.port.name}?"
            )

    def _payload(self, frame: Frame) -> bytes:
        """What a request is answered with."""
        if frame.kind == frames.READ and len(frame.payload) == _READ.size:
            position, count = _READ.unpack(frame.payload)
            wanted = self.records[position : position + count]
            if len(wanted) == count:
                return wanted
            raise RunError(
                f"hardware: bytes {position} to {position + count - 1} of the input are asked for, it has "
                f"{len(self.records)}; {self._flash_advice()}"
            )
        if frame.kind == frames.TEXT:
            self.text += frame.payload
            self.done += frame.payload.startswith(b"image ")
            self.progress(f"{ENGINE}: {self.done} of {self.images} images")
        elif frame.kind == frames.OUTPUT:
            self.outputs += frame.payload
        if len(self.text) + len(self.outputs) > _MOST_TOLD:
            raise RunError(
                f"hardware: the board tells more than {_MOST_TOLD:,} bytes; {self._flash_advice()}"
            )
        if frame.kind not in (frames.TEXT, frames.OUTPUT, frames.END):
            raise RunError(
                f"hardware: a request of kind {frame.kind}, which is not known; {self._flash_advice()}"
            )
        return b""

    def _linger(self) -> None:
        """The board says hello again once the answer to its end has reached it; until then, gives it anew."""
        until = time.monotonic() + _LINGER_SECONDS
        try:
            while time.monotonic() < until:
                for frame in self._reader.feed(self.line.read(_POLL_SECONDS)):
                    if frame.kind == frames.HELLO:
                        return
                    if frame == self._last and self._answer is not None:
                        self.repeated += 1
                        self._send(self._answer)
        except LineLostError:
            return  # all that was wanted has come

    def _stop(self) -> None:
        """Tells a board that waits for an answer to begin anew; one that computes is told by the next run."""
        sequence = 0 if self._last is None else self._last.sequence
        try:
            self._send(Frame(frames.STOP, sequence))
        except LineLostError:
            return

    def _tell_silence(self, seconds: float) -> None:
        name, reader = self.port.name, self._reader
        if self._last is not None:
            raise RunError(
                f"hardware: the board said nothing for {seconds:.0f} s: a loose cable, no power, or an image "
                f"that takes longer; {self._progress()}"
            )
        if self._greeted:
            raise ToolMissingError(
                f"{name}: the board says hello, and does not hear the answer within {seconds:.0f} s: is its "
                f"receiving wire in, does --baud {self.port.baud} hold both ways?"
            )
        if reader.frames > 0:
            raise ToolMissingError(
                f"{name}: the board goes on with an earlier run and does not hear that it should begin anew; "
                "reset it, and look at its receiving wire"
            )
        if reader.bytes == 0:
            raise ToolMissingError(
                f"{name}: no answer within {seconds:.0f} s; is the board's firmware the one of this folder "
                "(rnnpool-mcu flash DIR), and this its port? A reset helps where it still computes"
            )
        raise ToolMissingError(
            f"{name}: {reader.bytes} bytes came within {seconds:.0f} s, and no frame that is whole: other "
            f"firmware, a rate other than --baud {self.port.baud}, or a bad line; {self._flash_advice()}"
        )

    def _progress(self) -> str:
        """How far it came, and how the line did."""
        transfer = self.transfer
        damaged = f", {transfer.damaged} damaged" if transfer.damaged else ""
        return f"{self.done} of {self.images} images were done, {transfer.frames} frames whole{damaged}"
