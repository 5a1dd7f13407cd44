"""The worst-case stack of a built image: its call graph, each function's frame, the deepest chain.

Calls come from the disassembly, so they are those of the code that runs, after inlining. A function's
frame is the larger of two figures: what the compiler wrote in its stack-usage file (`.su`), and the sum of
all pushes and stack pointer subtractions in its disassembly. The second covers functions without such a
file, the C library's and libgcc's assembly (`memcpy`, `__aeabi_ldivmod`), and checks the others.

Three things make a bound impossible and are errors: recursion, a frame whose size depends on data, and an
indirect call anywhere but in the model's own file, where it is the row callback. A jump through a register
that is no return counts as an indirect call, but for a switch table.
"""

from __future__ import annotations

import bisect
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass
from pathlib import Path

from rnnpool_mcu.errors import UserError
from rnnpool_mcu.ir.firmware import ElfImage, StackBound
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.system import tools

OBJDUMP = "arm-none-eabi-objdump"
ROOT = "reset_handler"
ROW_CALLBACKS = ("harness_row",)

_FUNCTION = re.compile(r"^(?P<address>[0-9a-f]+) <(?P<name>[^>]+)>:$")
_INSTRUCTION = re.compile(r"^\s*[0-9a-f]+:\t[0-9a-f ]+\t(?P<name>\S+)(?:\t(?P<operands>[^;@]*))?")
_TARGET = re.compile(r"^(?P<address>[0-9a-f]+) <")
_STACK_USAGE = re.compile(r"^.*:(?P<name>[^:\t]+)\t(?P<bytes>\d+)\t(?P<kind>\S+)$")
_BRANCH = re.compile(r"^(b|bl|b(?:eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|hs|lo))(\.[nw])?$")


class StackBoundError(UserError):
    """No bound exists for the stack of this code."""


@dataclass(frozen=True)
class Function:
    """One function of the image: its frame in bytes and what it calls."""

    name: str
    frame_bytes: int
    calls: frozenset[str]
    indirect: bool = False


@dataclass(frozen=True)
class _Body:
    name: str
    address: int
    instructions: list[tuple[str, str]]  # operation, operands


@dataclass(frozen=True)
class _StackUsage:
    frames: Mapping[str, int]
    sources: Mapping[str, str]  # function -> stem of its source file


def worst_case(elf: ElfImage, su_dir: Path | None = None) -> StackBound:
    """The deepest stack from reset; StackBoundError where there is no bound.

    `su_dir` is searched for `.su` files, by default the folder the image was built in.
    """
    project = Project.load(elf.project)
    usage = read_stack_usage(elf.build_dir if su_dir is None else su_dir)
    listing = tools.output_of([str(tools.find_tool(OBJDUMP)), "-d", str(elf.path)])
    functions = {function.name: function for function in parse_functions(listing, usage.frames)}
    resolved = _resolve_row_callback(functions, usage, project.name)
    total, path = deepest(resolved, ROOT)
    model_bytes, _ = deepest(resolved, f"{project.name}_run")
    return StackBound(bytes=total, path=path, model_bytes=model_bytes)


def read_stack_usage(su_dir: Path) -> _StackUsage:
    """Frames and source files of all functions with a `.su` line; StackBoundError for a dynamic frame."""
    frames: dict[str, int] = {}
    sources: dict[str, str] = {}
    for path in sorted(su_dir.rglob("*.su")):
        for line in path.read_text(encoding="utf-8").splitlines():
            match = _STACK_USAGE.match(line)
            if match is None:
                raise StackBoundError(f"{path}: line '{line}' is no stack-usage line")
            if match["kind"] not in ("static", "dynamic,bounded"):
                raise StackBoundError(f"{path.stem}.c: the frame of {match['name']} depends on data")
            frames[match["name"]] = max(frames.get(match["name"], 0), int(match["bytes"]))
            sources[match["name"]] = path.stem
    return _StackUsage(frames, sources)


def parse_functions(listing: str, frames: Mapping[str, int]) -> Iterator[Function]:
    """The functions of an `objdump -d` listing, with frames of at least those in `frames`."""
    bodies = sorted(_split_functions(listing), key=lambda body: body.address)
    starts = [body.address for body in bodies]
    for body in bodies:
        calls: set[str] = set()
        pushed = 0
        indirect = False
        labels: set[str] = set()  # registers that hold an address within this function
        for operation, operands in body.instructions:
            pushed += pushed_bytes(operation, operands)
            address = _branch_target(operation, operands)
            if address is not None:
                target = bodies[max(bisect.bisect_right(starts, address) - 1, 0)].name
                if target != body.name or operation.split(".")[0] == "bl":
                    calls.add(target)
            labels |= _own_label(operation, operands)
            indirect = indirect or _is_indirect(operation, operands, labels)
        known = max(frames.get(body.name, 0), frames.get(body.name.split(".")[0], 0))
        yield Function(body.name, max(known, pushed), frozenset(calls), indirect)


def _split_functions(listing: str) -> Iterator[_Body]:
    body: _Body | None = None
    for line in listing.splitlines():
        header = _FUNCTION.match(line)
        if header is not None:
            if body is not None:
                yield body
            body = _Body(header["name"], int(header["address"], 16), [])
            continue
        instruction = _INSTRUCTION.match(line)
        if instruction is not None and body is not None:
            body.instructions.append((instruction["name"], (instruction["operands"] or "").strip()))
    if body is not None:
        yield body


def pushed_bytes(operation: str, operands: str) -> int:
    """By how many bytes one instruction lowers the stack pointer."""
    base = operation.split(".")[0]
    lowers = base in ("stmdb", "stmfd", "vstmdb") and operands.startswith("sp!")
    if base in ("push", "vpush") or lowers:
        registers = operands[operands.index("{") + 1 : operands.index("}")]
        return sum(_register_bytes(part.strip()) for part in registers.split(","))
    if base in ("sub", "subw", "subs") and re.match(r"sp,(?: sp,)? #\d+", operands):
        return int(operands.rsplit("#", 1)[1].split()[0])
    written_back = re.search(r"\[sp, #-(\d+)\]!", operands)
    if base.startswith("str") and written_back is not None:
        return int(written_back[1])
    return 0


def _register_bytes(register: str) -> int:
    first, _, last = register.partition("-")
    width = 8 if first.startswith("d") else 4
    if not last:
        return width
    numbers = {"ip": 12, "fp": 11, "sl": 10, "sp": 13, "lr": 14, "pc": 15}
    low = numbers.get(first) if first in numbers else int(first[1:])
    high = numbers.get(last) if last in numbers else int(last[1:])
    assert low is not None and high is not None
    return width * (high - low + 1)


def _branch_target(operation: str, operands: str) -> int | None:
    """The address a branch goes to; None for other instructions. (The name beside it in the listing may
    be that of any symbol with a near value, such as a size the linker was given.)"""
    if _BRANCH.match(operation) is None:
        return None
    target = _TARGET.match(operands)
    return None if target is None else int(target["address"], 16)


def _own_label(operation: str, operands: str) -> set[str]:
    """The register that an instruction makes point near itself, as a jump into an unrolled loop does."""
    base = operation.split(".")[0]
    near = base == "adr" or (base in ("add", "addw") and re.fullmatch(r"\w+, pc, #\d+", operands.strip()))
    return {operands.partition(",")[0]} if near else set()


def _is_indirect(operation: str, operands: str, labels: Set[str]) -> bool:
    base = operation.split(".")[0]
    if base == "blx":
        return True
    if base.startswith("bx") and operands != "lr":
        return True
    if not (base.startswith("mov") and operands.startswith("pc, ")):
        return False
    return operands != "pc, lr" and operands.removeprefix("pc, ") not in labels


def _resolve_row_callback(
    functions: Mapping[str, Function], usage: _StackUsage, model_name: str
) -> dict[str, Function]:
    """Replaces the model's indirect calls by calls of the harness's row functions."""
    callbacks = frozenset(name for name in ROW_CALLBACKS if name in functions)
    resolved = dict(functions)
    for function in functions.values():
        if not function.indirect:
            continue
        source = usage.sources.get(function.name, usage.sources.get(function.name.split(".")[0]))
        if source != model_name:
            continue  # an error only if it can be reached, see deepest
        resolved[function.name] = Function(
            function.name, function.frame_bytes, function.calls | callbacks, indirect=False
        )
    return resolved


def deepest(functions: Mapping[str, Function], root: str) -> tuple[int, tuple[str, ...]]:
    """The largest sum of frames along any chain of calls from `root`, and that chain."""
    known: dict[str, tuple[int, tuple[str, ...]]] = {}
    return _deepest(functions, root, known, ())


def _deepest(
    functions: Mapping[str, Function],
    name: str,
    known: dict[str, tuple[int, tuple[str, ...]]],
    chain: tuple[str, ...],
) -> tuple[int, tuple[str, ...]]:
    if name in chain:
        cycle = " -> ".join((*chain[chain.index(name) :], name))
        raise StackBoundError(f"recursion, so the stack has no bound: {cycle}")
    if name in known:
        return known[name]
    if name not in functions:
        raise StackBoundError(f"{name}: called by {chain[-1] if chain else 'nobody'}, but not in the image")
    function = functions[name]
    if function.indirect:
        raise StackBoundError(f"{name}: a call through a pointer that is not the model's row callback")
    below: tuple[int, tuple[str, ...]] = (0, ())
    for callee in sorted(function.calls):
        below = max(below, _deepest(functions, callee, known, (*chain, name)), key=lambda found: found[0])
    known[name] = (function.frame_bytes + below[0], (name, *below[1]))
    return known[name]
