"""A small reader of Renode's platform descriptions and scripts, as much of them as projects emit."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

_ENTRY = re.compile(
    r"^(?P<name>[a-z]\w*): (?P<kind>[A-Z]\w*\.[A-Z]\w*) @ (?P<parent>\w+)"
    r"(?: (?:(?P<address>0x[0-9A-F]+)|<(?P<start>0x[0-9A-F]+), \+(?P<size>0x[0-9A-F]+)>))?$"
)
_PROPERTY = re.compile(r'^ {4}(?P<name>[a-z]\w*): (?P<value>0x[0-9A-F]+|\d+|"[^"]*"|[a-z]\w*)$')
_CONNECTION = re.compile(
    r"^ {4}(?P<source>[A-Z]\w*|\d+|\[\d+-\d+\])? ?-> (?P<to>[a-z]\w*)@(?P<line>\d+|\[\d+-\d+\])$"
)
_COMMANDS = (
    re.compile(r'^mach create "\w+"$'),
    re.compile(r"^machine LoadPlatformDescription \S+$"),
    re.compile(r"^sysbus LoadBinary \S+ 0x[0-9a-f]+$"),
    re.compile(r"^sysbus LoadELF \S+$"),
    re.compile(
        r"^sysbus\.(?P<peripheral>\w+) "
        r"(VectorTableOffset 0x[0-9a-f]{8}|CreateFileBackend \S+ true|ExecutedInstructions)$"
    ),
    re.compile(r"^emulation RunFor \S+$"),
    re.compile(r'^emulation SetGlobalQuantum "0\.\d+"$'),
    re.compile(r"^emulation SetGlobalAdvanceImmediately true$"),
    re.compile(r"^\$\w+\?=(\$ORIGIN/\S+|\"\d+\")$"),
    re.compile(r"^:(name|description): .+$"),
)
_PINS = {
    "IRQControllers.NVIC": {"IRQ"},
    "UART.CMSDK_APB_UART": {"TxInterrupt", "RxInterrupt"},
    "UART.STM32_UART": {"IRQ"},
}
"""What may be connected, by kind; of a pin that is not there Renode refuses the platform (error E13)."""
_PROPERTIES = {
    "CPU.CortexM": {"cpuType", "nvic"},
    "IRQControllers.NVIC": {"priorityMask", "systickFrequency"},
    "Memory.MappedMemory": {"size"},
    "Miscellaneous.DWT": {"frequency"},
    "UART.CMSDK_APB_UART": set[str](),
    "UART.STM32_UART": set[str](),
}
"""The kinds that releases from 1.14 on have, with the properties that are used of them."""


@dataclass
class Peripheral:
    """One entry of a platform."""

    kind: str
    parent: str
    address: int | None
    register_bytes: int = 0x1000  # where the entry does not say
    properties: dict[str, str] = field(default_factory=dict)
    connections: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        """How much of the address space it answers."""
        return int(self.properties["size"], 16) if "size" in self.properties else self.register_bytes


def parse_platform(text: str) -> dict[str, Peripheral]:
    """The entries of a `.repl` file by name; ValueError with the line that is none of what is known."""
    entries: dict[str, Peripheral] = {}
    current: Peripheral | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("//"):
            continue
        entry, prop, connection = _ENTRY.match(line), _PROPERTY.match(line), _CONNECTION.match(line)
        if entry:
            address = entry["address"] or entry["start"]
            current = Peripheral(entry["kind"], entry["parent"], int(address, 16) if address else None)
            if entry["size"]:
                current.register_bytes = int(entry["size"], 16)
            if entry["kind"] not in _PROPERTIES:
                raise ValueError(f"line {number}: {entry['kind']} is in no release that is looked at")
            if entry["name"] in entries:
                raise ValueError(f"line {number}: {entry['name']} twice")
            entries[entry["name"]] = current
        elif prop and current:
            if prop["name"] not in _PROPERTIES.get(current.kind, set()):
                raise ValueError(f"line {number}: {current.kind} has no property {prop['name']}")
            current.properties[prop["name"]] = prop["value"]
        elif connection and current:
            if (connection["source"] or "IRQ") not in _PINS.get(current.kind, set()):
                raise ValueError(f"line {number}: {current.kind} has no pin {connection['source']}")
            current.connections.append(connection["to"])
        else:
            raise ValueError(f"line {number}: {line}")
    _check_references(entries)
    return entries


def _check_references(entries: dict[str, Peripheral]) -> None:
    for name, entry in entries.items():
        named = [value for value in entry.properties.values() if re.fullmatch(r"[a-z]\w*", value)]
        for reference in (*named, *entry.connections):
            if reference not in entries:
                raise ValueError(f"{name}: refers to {reference}, which is no entry")


def check_script(text: str, platform: dict[str, Peripheral]) -> None:
    """ValueError for a `.resc` line that is no known command, an unknown peripheral or an unset variable."""
    variables = {"ORIGIN"}
    for number, line in enumerate(text.splitlines(), start=1):
        if not line or line.startswith("#"):
            continue
        matches = [match for pattern in _COMMANDS if (match := pattern.match(line))]
        if not matches:
            raise ValueError(f"line {number}: {line}")
        peripheral = matches[0].groupdict().get("peripheral")
        if peripheral is not None and peripheral not in platform:
            raise ValueError(f"line {number}: no peripheral {peripheral}")
        definition = re.match(r"^\$(\w+)\?=", line)
        if definition:
            variables.add(definition[1])
        for used in re.findall(r"\$(\w+)", line):
            if used not in variables:
                raise ValueError(f"line {number}: ${used} is not set")
