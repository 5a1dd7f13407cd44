"""From what a run executed to a profile: instructions and estimated cycles by layer, function and line."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from rnnpool_mcu.ir.batch import Batch, Images
from rnnpool_mcu.ir.firmware import Board
from rnnpool_mcu.ir.profile import Profile, Share, UnalignedMultiple
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.run.cycles import block_cycles, needs_alignment, taken_cycles
from rnnpool_mcu.run.disassembly import Instruction, disassemble
from rnnpool_mcu.run.layer_ranges import OUTSIDE, SCHEDULE, layer_ranges
from rnnpool_mcu.run.plugin import BlockCount, Counts, run_counted
from rnnpool_mcu.run.protocol import RunError

MAX_LINES = 40  # source lines kept in a profile
_TIMER_TICKS = 2  # by which two readings of the board's timer may be off


def profile_elf(
    elf: Path, project: Project, image: Images | Batch, layers: Sequence[str], pixels: str, board: Board
) -> Profile:
    """Profiles one inference of firmware built for QEMU with the clock and the flash of `board`.

    `image` is uint8 [H, W, C], or a batch of one run; `layers` are the graph's nodes in order, and its inputs
    but the first, which is `pixels`.
    Raises ToolMissingError without the plugin's prerequisites, UsageError without debug information.
    """
    ranges = layer_ranges(elf, project.name, layers, pixels)
    result, counts = run_counted(elf, project, image, ranges, board.flash_timing)
    code = disassemble(elf)
    inside = [block for block in counts.blocks if block.layer != OUTSIDE]
    shares = _Shares(code, inside)
    timer = _timer_instructions(result, shares)
    order = [pixels, *(name for name in layers if name != pixels), SCHEDULE]
    return Profile(
        board=board.name,
        clock_hz=board.clock_hz,
        flash=board.flash_timing,
        layers=tuple(shares.layers.get(name, _Sum()).share(name) for name in order),
        layer_functions=tuple(_largest_first(shares.layer_functions.get(name, {})) for name in order),
        functions=_largest_first(shares.functions),
        lines=_largest_first(shares.lines)[:MAX_LINES],
        unaligned_multiples=unaligned_multiples(counts, code),
        unaligned_accesses=sum(
            count
            for address, count in counts.unaligned.items()
            if not needs_alignment(code[address].mnemonic)
        ),
        timer_instructions=timer,
        timer_resolution=result.instruction_resolution,
    )


def _timer_instructions(result: RunResult, shares: _Shares) -> int:
    """What the board's timer counted; RunError where the blocks tell something else."""
    assert result.instructions is not None, "the emulated board counts instructions"
    timer, blocks = result.instructions[0], sum(total.instructions for total in shares.layers.values())
    if abs(timer - blocks) > _TIMER_TICKS * result.instruction_resolution:
        raise RunError(
            f"the plugin counted {blocks} instructions, the board's timer {timer}: this QEMU counts blocks "
            f"otherwise than versions 7 to 9; profile with one of those"
        )
    return timer


def unaligned_multiples(counts: Counts, code: Mapping[int, Instruction]) -> tuple[UnalignedMultiple, ...]:
    """The instructions that hardware would have faulted on, by address."""
    faulty = [
        (code[address], count)
        for address, count in sorted(counts.unaligned.items())
        if needs_alignment(code[address].mnemonic)
    ]
    return tuple(UnalignedMultiple(i.text, i.function, i.source, count) for i, count in faulty)


@dataclass
class _Sum:
    instructions: int = 0
    core_cycles: int = 0
    fetch_stalls: int = 0
    data_stalls: int = 0

    def share(self, name: str) -> Share:
        return Share(name, self.instructions, self.core_cycles, self.fetch_stalls, self.data_stalls)


class _Shares:
    """Block counts, added up in four ways. Stalls of a block count for the line of its first instruction."""

    def __init__(self, code: Mapping[int, Instruction], blocks: Iterable[BlockCount]) -> None:
        self._code = code
        self.layers: dict[str, _Sum] = defaultdict(_Sum)
        self.layer_functions: dict[str, dict[str, _Sum]] = defaultdict(lambda: defaultdict(_Sum))
        self.functions: dict[str, _Sum] = defaultdict(_Sum)
        self.lines: dict[str, _Sum] = defaultdict(_Sum)
        for block in blocks:
            self._add(block)

    def _add(self, block: BlockCount) -> None:
        body = instructions_of(block, self._code)
        branch = block.taken * taken_cycles(body[-1], self._code)
        for index, (instruction, cycles) in enumerate(zip(body, block_cycles(body), strict=True)):
            first, last = index == 0, index == len(body) - 1
            line = f"{instruction.source} {instruction.function}"
            for total in (
                self.layers[block.layer],
                self.layer_functions[block.layer][instruction.function],
                self.functions[instruction.function],
                self.lines[line],
            ):
                total.instructions += block.executions
                total.core_cycles += block.executions * cycles + (branch if last else 0)
                total.core_cycles += block.extra_accesses if first else 0
                total.fetch_stalls += block.fetch_stalls if first else 0
                total.data_stalls += block.data_stalls if first else 0


def instructions_of(block: BlockCount, code: Mapping[int, Instruction]) -> list[Instruction]:
    """The instructions of a block, which lie one after the other."""
    body, address = [], block.start
    for _ in range(block.instructions):
        body.append(code[address])
        address += code[address].size
    return body


def _largest_first(sums: Mapping[str, _Sum]) -> tuple[Share, ...]:
    shares = [total.share(name) for name, total in sums.items()]
    return tuple(sorted(shares, key=lambda share: (-share.cycles, share.name)))
