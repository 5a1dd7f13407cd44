"""Which lines of the kernels' sources were run: on the host by gcov, on the board by what QEMU translated."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

from elftools.elf.elffile import ELFFile

Lines = dict[str, set[int]]  # by the source's name
TRANSLATED = "translated.txt"
LOGGED = ("-d", "in_asm", "-D", TRANSLATED)
"""QEMU writes each block of code when it first comes to it."""


def board_lines(program: Path, log: Path) -> Lines:
    """Lines of kernels that QEMU came to."""
    reached = set()
    with log.open(encoding="utf-8", errors="replace") as text:
        for line in text:
            if line.startswith("0x"):
                reached.add(int(line.partition(":")[0], 16))
    found: Lines = {}
    for name, number, first, end in _spans(program):
        if any(address in reached for address in range(first, end, 2)):
            found.setdefault(name, set()).add(number)
    return found


def board_code(objects: Path) -> Lines:
    """Lines of kernels that have code on the board."""
    found: Lines = {}
    for path in sorted(objects.glob("*.o")):
        for name, number, _, _ in _spans(path):
            found.setdefault(name, set()).add(number)
    return found


def _spans(path: Path) -> Iterator[tuple[str, int, int, int]]:
    """Source, line, first address and end of each piece of a kernel's code; inlined headers are left out."""
    with path.open("rb") as file:
        elf = ELFFile(file)
        if not elf.has_dwarf_info():
            return
        dwarf = elf.get_dwarf_info()
        for unit in dwarf.iter_CUs():
            program = dwarf.line_program_for_CU(unit)
            name = Path(unit.get_top_DIE().get_full_path()).name
            own = {i for i, entry in enumerate(program["file_entry"]) if entry.name.decode() == name}
            version5 = program["version"] >= 5
            before = None
            for entry in program.get_entries():
                state = entry.state
                if state is None:
                    continue
                if before is not None and state.address > before.address:
                    index = before.file if version5 else before.file - 1
                    if index in own:
                        yield name, before.line, before.address, state.address
                before = None if state.end_sequence else state


def host_lines(objects: Path) -> tuple[Lines, Lines]:
    """Lines of kernels that were run on the host, and those that have code there."""
    run: Lines = {}
    code: Lines = {}
    for data in sorted(objects.glob("*.gcda")):
        command = ["gcov", "--json-format", "--stdout", data.name]
        told = subprocess.run(command, cwd=objects, capture_output=True, text=True, check=False).stdout
        for line in told.splitlines():
            for file in json.loads(line)["files"]:
                name = Path(file["file"]).name
                if name != f"{data.stem}.c":
                    continue
                code.setdefault(name, set()).update(one["line_number"] for one in file["lines"])
                ran = (one["line_number"] for one in file["lines"] if one["count"])
                run.setdefault(name, set()).update(ran)
    return run, code
