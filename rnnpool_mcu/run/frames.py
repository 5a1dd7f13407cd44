"""Frames of the serial console, as firmware/io/frames.c has them; docs/hardware.md tells each byte."""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

VERSION = 1
PAYLOAD_BYTES = 512  # at most
FLAG, ESCAPE, FLIPPED = 0x7E, 0x7D, 0x20
HELLO, READ, TEXT, OUTPUT, END = 1, 2, 3, 4, 5
ANSWER, STOP = 0x80, 0x7F
_HEAD = struct.Struct("<BBH")
_CHECK = struct.Struct("<I")
_LONGEST = _HEAD.size + PAYLOAD_BYTES + _CHECK.size


@dataclass(frozen=True)
class Frame:
    """One whole frame."""

    kind: int
    sequence: int
    payload: bytes = b""

    def encode(self) -> bytes:
        """The bytes on the line, flags included."""
        body = _HEAD.pack(self.kind, self.sequence, len(self.payload)) + self.payload
        body += _CHECK.pack(zlib.crc32(body))
        stuffed = bytearray([FLAG])
        for byte in body:
            stuffed += bytes((ESCAPE, byte ^ FLIPPED)) if byte in (FLAG, ESCAPE) else bytes((byte,))
        return bytes(stuffed) + bytes([FLAG])


class FrameReader:
    """Finds whole frames in what comes over a line, whatever lies between them."""

    def __init__(self) -> None:
        self._body = bytearray()
        self._flip = 0
        self.bytes = 0
        """That came."""
        self.frames = 0
        """That were whole."""
        self.damaged = 0
        """Stretches between two flags that were no frame."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that end in `data`."""
        self.bytes += len(data)
        for byte in data:
            if byte == FLAG:
                frame = self._end()
                if frame is not None:
                    yield frame
            elif byte == ESCAPE:
                self._flip = FLIPPED
            else:
                if len(self._body) <= _LONGEST:
                    self._body.append(byte ^ self._flip)
                self._flip = 0

    def _end(self) -> Frame | None:
        body, self._body, self._flip = bytes(self._body), bytearray(), 0
        if not body:
            return None
        whole = _HEAD.size + _CHECK.size <= len(body) <= _LONGEST
        if whole and _CHECK.unpack(body[-_CHECK.size :])[0] == zlib.crc32(body[: -_CHECK.size]):
            kind, sequence, length = _HEAD.unpack(body[: _HEAD.size])
            if length == len(body) - _HEAD.size - _CHECK.size:
                self.frames += 1
                return Frame(kind, sequence, body[_HEAD.size : -_CHECK.size])
        self.damaged += 1
        return None
