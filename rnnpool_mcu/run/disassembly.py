"""The instructions of a built image by address, with function and source line, as objdump tells them."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from rnnpool_mcu.system import tools

OBJDUMP = "arm-none-eabi-objdump"

_FUNCTION = re.compile(r"^[0-9a-f]+ <(?P<name>[^>]+)>:$")
_SOURCE = re.compile(r"^(?P<path>[^\t]+):(?P<line>\d+)(?: \(discriminator \d+\))?$")
_INSTRUCTION = re.compile(
    r"^\s*(?P<address>[0-9a-f]+):\t(?P<code>[0-9a-f]{4}(?: [0-9a-f]{4})?) *\t"
    r"(?P<mnemonic>\S+)(?:\t(?P<operands>[^@;]*))?"
)


@dataclass(frozen=True)
class Instruction:
    """One Thumb instruction; `mnemonic` and `operands` as objdump prints them."""

    address: int
    size: int  # 2 or 4 bytes
    mnemonic: str
    operands: str
    function: str = ""
    source: str = ""  # file:line, without folders

    @property
    def text(self) -> str:
        return f"{self.mnemonic} {self.operands}".strip()


def disassemble(elf: Path) -> dict[int, Instruction]:
    """All instructions of an image by address; ToolMissingError without objdump."""
    command = [str(tools.find_tool(OBJDUMP)), "-d", "-l", str(elf)]
    listing = tools.output_of(command)
    return parse_listing(listing)


def parse_listing(listing: str) -> dict[int, Instruction]:
    """The instructions of an `objdump -d -l` listing."""
    found: dict[int, Instruction] = {}
    function = source = ""
    for line in listing.splitlines():
        instruction = _INSTRUCTION.match(line)
        if instruction is not None:
            made = _instruction(instruction.groupdict(default=""), function, source)
            found[made.address] = made
        elif (header := _FUNCTION.match(line)) is not None:
            function, source = header["name"], ""
        elif (place := _SOURCE.match(line)) is not None:
            source = f"{Path(place['path']).name}:{place['line']}"
    return found


def _instruction(fields: Mapping[str, str], function: str, source: str) -> Instruction:
    return Instruction(
        address=int(fields["address"], 16),
        size=4 if " " in fields["code"] else 2,
        mnemonic=fields["mnemonic"],
        operands=fields["operands"].strip(),
        function=function,
        source=source,
    )
