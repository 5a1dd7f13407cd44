"""Boards the firmware knows: one folder each under `firmware/boards`, or a user's own, described by its
`board.toml` (keys and what they allow: `board.schema.json`)."""

from __future__ import annotations

import difflib
import json
import tomllib
from pathlib import Path
from typing import Any

import jsonschema

from rnnpool_mcu.errors import BudgetError, UsageError
from rnnpool_mcu.ir.firmware import Board, FlashTiming, Memory, enclosing_region
from rnnpool_mcu.system import resources

DEFAULT_BOARD = "mps2-an386"
FILE_NAME = "board.toml"
_TAKEN = (
    "arena",
    "weights",
    "origin",
    "org",
    "o",
    "length",
    "len",
    "l",
)  # by us, and by the linker's language
RAM_ALIGNMENT = 256  # bytes, of the memory protection unit


def boards_dir() -> Path:
    """The folder with one folder per board."""
    return resources.firmware_dir() / "boards"


def available_boards() -> tuple[str, ...]:
    """The names `load_board` takes, sorted."""
    return tuple(sorted(path.parent.name for path in boards_dir().glob(f"*/{FILE_NAME}")))


def load_board(name: str) -> Board:
    """The board called `name`, or the one in the folder of that path; UsageError where there is none.

    A path has a `/` in it, or is a folder with a board.toml that is no board's name.
    """
    names = available_boards()
    if name in names:
        return _read(boards_dir() / name)
    folder = Path(name)
    if (folder / FILE_NAME).is_file():
        return _read(folder)
    if "/" in name or folder.is_dir():
        raise UsageError(
            f"--board {name}: no {FILE_NAME} in it; `rnnpool-mcu boards --new NAME` makes a folder with one"
        )
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"did you mean '{near[0]}'? " if near else ""
    raise UsageError(f"no board '{name}'; {hint}boards: {', '.join(names)}, or a folder with a {FILE_NAME}")


def board_of(project: Path, name: str) -> Board:
    """The board of a compiled folder, as it came along with it."""
    folder = project / "firmware" / "boards" / name
    return _read(folder) if (folder / FILE_NAME).is_file() else load_board(name)


def board_schema() -> dict[str, Any]:
    """The JSON Schema of board.toml."""
    text = Path(__file__).with_name("board.schema.json").read_text(encoding="utf-8")
    schema: dict[str, Any] = json.loads(text)
    return schema


def _read(folder: Path) -> Board:
    path = folder / FILE_NAME
    try:
        fields = tomllib.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UsageError(f"{path}: is no TOML ({error}); correct it") from error
    except RecursionError as error:
        raise UsageError(f"{path}: is nested too deeply; a board has tables flash, ram and qemu") from error
    try:
        _check(path, fields)
    except ValueError as error:  # an integer of thousands of digits, which nothing can write out
        raise UsageError(f"{path}: holds a number that is too long ({error}); correct it") from error
    _check_files(folder, fields)
    if fields["name"] != folder.resolve().name:
        raise UsageError(
            f"{path}: name is '{fields['name']}', its folder's is '{folder.resolve().name}'; make them equal"
        )
    return Board(
        name=fields["name"],
        title=fields["title"],
        core=fields["core"],
        clock_hz=fields["clock_hz"],
        count_unit=fields["count_unit"],
        runs_on=tuple(fields["runs_on"]),
        flash_origin=fields["flash"]["origin"],
        flash_bytes=fields["flash"]["bytes"],
        ram_origin=fields["ram"]["origin"],
        ram_bytes=fields["ram"]["bytes"],
        console=fields["console"],
        folder=folder,
        port=fields.get("port"),
        probes=_probes(fields.get("probe", {})),
        qemu_machine=fields.get("qemu", {}).get("machine"),
        flash_timing=FlashTiming(**fields["flash"].get("timing", {})),
        memories=tuple(Memory(**memory) for memory in fields.get("memory", ())),
    )


def _probes(told: dict[str, Any]) -> tuple[tuple[str, str], ...]:
    """In the order of board.toml; a program that is switched off is left out."""
    return tuple((name, value if isinstance(value, str) else "") for name, value in told.items() if value)


def _is_integer(_: object, value: object) -> bool:
    """Of TOML: JSON Schema takes 1e9 for an integer, too."""
    return isinstance(value, int) and not isinstance(value, bool)


_Validator = jsonschema.validators.extend(
    jsonschema.Draft202012Validator,
    type_checker=jsonschema.Draft202012Validator.TYPE_CHECKER.redefine("integer", _is_integer),
)


def _check_text(path: Path, value: object) -> None:
    """UsageError for a text with line ends or other control characters, which would end up in a makefile."""
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    for part in parts:
        _check_text(path, part)
    if isinstance(value, str) and not value.isprintable():
        raise UsageError(f"{path}: {value!r:.60}, allowed: characters that print, in one line")


def _check_files(folder: Path, fields: dict[str, Any]) -> None:
    """UsageError where the board's C, or the platform that it names, is not there."""
    port, common = fields.get("port"), resources.firmware_dir() / "common"
    source = folder / "port.c" if port is None else common / port
    if not source.is_file():
        ports = ", ".join(sorted(file.name for file in common.glob("port_*.c")))
        raise UsageError(
            f"{folder}: {source.name} is not there; write the folder's own port.c, or name one of these as "
            f"port in {FILE_NAME}: {ports}"
        )
    if not (folder / "board.h").is_file():
        raise UsageError(
            f"{folder}: board.h is not there; it defines PORT_COUNT_UNIT and PORT_COUNT_PER_TICK"
        )
    if "renode" in fields["runs_on"] and not (folder / "board.repl").is_file():
        raise UsageError(
            f"{folder}: board.repl is not there; write Renode's platform, or take renode out of runs_on "
            f"in {FILE_NAME}"
        )


def _check(path: Path, fields: dict[str, Any]) -> None:
    """UsageError with the key, what it holds and what is allowed."""
    _check_text(path, fields)
    validator = _Validator(board_schema())
    for error in sorted(validator.iter_errors(fields), key=lambda found: list(map(str, found.absolute_path))):
        key = ".".join(map(str, error.absolute_path)) or "the file"
        raise UsageError(f"{path}: {key}: {_told(error)}; keys are explained in docs/boards.md")
    flash, ram = fields["flash"], fields["ram"]
    opened = enclosing_region(flash["origin"], flash["bytes"])
    if opened.start < ram["origin"] + ram["bytes"] and ram["origin"] < opened.stop:
        raise UsageError(
            f"{path}: flash: {flash['bytes']} bytes at {flash['origin']:#x} lie in the region "
            f"{opened.start:#x}..{opened.stop - 1:#x}, which the memory protection unit opens for reading; "
            "allowed: a region without ram; name the part of the flash that has one"
        )
    for key, origin in (("flash", flash["origin"]), ("ram", ram["origin"])):
        if origin % RAM_ALIGNMENT:  # so that the vector table, the flash's first, lies where VTOR can point
            raise UsageError(f"{path}: {key}.origin: {origin:#x}, allowed: multiples of {RAM_ALIGNMENT}")
    if "qemu" in fields["runs_on"] and "qemu" not in fields:
        raise UsageError(f"{path}: runs_on: qemu, but no qemu.machine; name QEMU's -M, or leave qemu out")
    _check_memories(path, fields)


def _check_memories(path: Path, fields: dict[str, Any]) -> None:
    """UsageError for memories of one name, of odd bounds, or that lie over one another."""
    taken = {
        key: range(part["origin"], part["origin"] + part["bytes"])
        for key, part in (("flash", fields["flash"]), ("ram", fields["ram"]))
    }
    for number, told in enumerate(fields.get("memory", ())):
        memory, key = Memory(**told), f"memory[{number}]"
        if memory.name in (*taken, *_TAKEN):
            raise UsageError(f"{path}: {key}.name: '{memory.name}' is taken, allowed: another name")
        if memory.origin % RAM_ALIGNMENT or memory.bytes % RAM_ALIGNMENT:
            raise UsageError(
                f"{path}: {key}: {memory.bytes} bytes at {memory.origin:#x}, "
                f"allowed: multiples of {RAM_ALIGNMENT}"
            )
        own = memory.opened if memory.kind == "flash" else range(memory.origin, memory.origin + memory.bytes)
        for other, there in taken.items():
            if own.start < there.stop and there.start < own.stop:
                raise UsageError(
                    f"{path}: {key}: '{memory.name}' takes {own.start:#x}..{own.stop - 1:#x}, where {other} "
                    f"lies ({there.start:#x}..{there.stop - 1:#x}); allowed: addresses of its own"
                )
        taken[memory.name] = own


def _told(error: jsonschema.ValidationError) -> str:
    """A schema's complaint in one short line."""
    allowed = error.validator_value
    if error.validator == "enum":
        return f"{error.instance!r}, allowed: {', '.join(map(str, allowed))}"
    if error.validator == "type":
        return f"{error.instance!r:.60}, allowed: of type {allowed}"
    if error.validator in ("minimum", "maximum"):
        side = "at least" if error.validator == "minimum" else "at most"
        return f"{error.instance!r}, allowed: {side} {allowed}"
    return str(error.message)[:200]


def check_ram(board: Board, ram_bytes: int, arena_region: str | None = None) -> None:
    """UsageError when the budget is more than the board has: contiguous, and where the arena lies apart."""
    most = board.most_ram_bytes(arena_region)
    if ram_bytes <= most:
        return
    where = "contiguous RAM" if most == board.ram_bytes else f"RAM with '{arena_region}'"
    beside = [m.name for m in board.memories if m.kind == "ram" and m.name != arena_region]
    hint = f", --arena-region {beside[0]}" if beside else ""
    raise UsageError(
        f"board '{board.name}' has {most} bytes of {where}, the budget is {ram_bytes}; "
        f"use --ram {most // 1024}k{hint} or another --board"
    )


def check_regions(board: Board, arena_region: str | None, weights_region: str | None) -> None:
    """UsageError where the board has no such memory."""
    for option, name, kind in (
        ("--arena-region", arena_region, "ram"),
        ("--weights-region", weights_region, "flash"),
    ):
        if name is not None and board.memory(name, kind) is None:
            names = ", ".join(m.name for m in board.memories if m.kind == kind) or "none on this board"
            raise UsageError(
                f"{option} {name}: board '{board.name}' has no such memory of kind {kind}; allowed: {names}"
            )


def check_flash(board: Board, constants_bytes: int, weights_region: str | None = None) -> None:
    """BudgetError when weights and tables alone are more than the memory that holds them."""
    memory = board.memory(weights_region, "flash")
    most, name = (board.flash_bytes, "flash") if memory is None else (memory.bytes, f"'{memory.name}'")
    if constants_bytes > most:
        raise BudgetError(
            f"weights and tables take {constants_bytes:,} bytes, board '{board.name}' has "
            f"{most:,} bytes of {name}; use fewer weights, or a --board with more flash"
        )
