"""Cycles of Cortex-M4 instructions when memory never makes the core wait.

After Arm's Cortex-M4 technical reference manual (DDI 0439, "Instruction set summary" and "Load/store
timings"):

| instruction                               | cycles                                             |
|-------------------------------------------|----------------------------------------------------|
| data processing, multiplies, DSP, IT, NOP | 1                                                  |
| single load                               | 2; 1 after another single load that does not       |
|                                           | produce its address                                |
| single store                              | 1 (write buffer)                                   |
| LDM, STM, LDRD, STRD, PUSH, POP           | 1 + number of registers                            |
| SDIV, UDIV                                | 2 to 12, by the operands; `DIVIDE` is taken        |
| branch not taken                          | 1                                                  |
| branch taken, target known                | 2, or 3 to a 32-bit instruction that lies across a |
|                                           | word boundary and so takes two fetches             |
| branch taken, target from a register,     | 2 more than not taken                              |
| from memory or from a table               |                                                    |
| VDIV, VSQRT 14; VMLA, VFMA 3; other float | 1; loads and stores as above                       |

An instruction that an IT block skips is taken to cost what it costs when executed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from rnnpool_mcu.run.disassembly import Instruction

DIVIDE = 7  # the middle of 2 to 12
BARRIER = 4

_CONDITION = "(?:eq|ne|cs|cc|mi|pl|vs|vc|hi|ls|ge|lt|gt|le|hs|lo)?"
_KINDS = {
    "load": rf"ldr(?:b|h|sb|sh)?(?:t|ex|exb|exh)?{_CONDITION}|vldr{_CONDITION}",
    "multiple": rf"(?:ldm|stm)(?:ia|db|fd|ea)?{_CONDITION}|(?:push|pop){_CONDITION}|(?:ldrd|strd){_CONDITION}"
    rf"|v(?:ldm|stm)(?:ia|db)?{_CONDITION}|(?:vpush|vpop){_CONDITION}",
    "divide": rf"(?:s|u)div{_CONDITION}",
    "direct": rf"bl?{_CONDITION}|cbn?z",
    "indirect": rf"blx?{_CONDITION}|bx{_CONDITION}|tb[bh]{_CONDITION}",
    "barrier": "dsb|dmb|isb",
    "long_float": rf"v(?:div|sqrt){_CONDITION}",
    "float_accumulate": rf"v(?:n?ml[as]|fn?m[as]){_CONDITION}",
}
_PATTERNS = {kind: re.compile(pattern) for kind, pattern in _KINDS.items()}
_NUMBERS = {"sl": 10, "fp": 11, "ip": 12, "sp": 13, "lr": 14, "pc": 15}
_ALIASES = {name: f"r{number}" for name, number in _NUMBERS.items()}
_ALIGNED = ("ldm", "stm", "push", "pop", "ldrd", "strd", "vldm", "vstm", "vpush", "vpop", "vldr", "vstr")


def kind_of(mnemonic: str) -> str:
    """The timing class of an instruction: a key of the table above, or "other"."""
    base = mnemonic.split(".")[0]
    for kind, pattern in _PATTERNS.items():
        if pattern.fullmatch(base):
            return kind
    return "other"


def needs_alignment(mnemonic: str) -> bool:
    """Whether an address off a word is a UsageFault (ARMv7-M, A3.2.1), whatever CCR.UNALIGN_TRP says."""
    return mnemonic.startswith(_ALIGNED) or mnemonic.startswith(("ldrex", "strex"))


def registers(operands: str) -> int:
    """How many words an instruction with a register list, or LDRD or STRD, transfers."""
    if "{" not in operands:
        return 2
    words = 0
    for part in operands[operands.index("{") + 1 : operands.index("}")].split(","):
        first, _, last = part.strip().partition("-")
        width = 2 if first.startswith("d") else 1
        words += width * (_number(last or first) - _number(first) + 1)
    return words


def _number(register: str) -> int:
    return _NUMBERS[register] if register in _NUMBERS else int(register[1:])


def core_cycles(instruction: Instruction, previous: Instruction | None = None) -> int:
    """Cycles of an instruction that branches nowhere, after the one executed before it (None: unknown)."""
    kind = kind_of(instruction.mnemonic)
    if kind == "load":
        return 1 if previous is not None and _overlaps(previous, instruction) else 2
    if kind == "multiple":
        return 1 + registers(instruction.operands)
    fixed = {"divide": DIVIDE, "barrier": BARRIER, "long_float": 14, "float_accumulate": 3}
    return fixed.get(kind, 1)


def _overlaps(previous: Instruction, load: Instruction) -> bool:
    """Whether a load's address phase runs during the data phase of the load before it."""
    if kind_of(previous.mnemonic) != "load":
        return False
    result = previous.operands.partition(",")[0].strip()
    address = load.operands[load.operands.find("[") + 1 :]
    return _plain(result) not in {_plain(word) for word in re.findall(r"\w+", address)}


def _plain(register: str) -> str:
    return _ALIASES.get(register, register)


def taken_cycles(instruction: Instruction, image: Mapping[int, Instruction]) -> int:
    """Cycles a branch costs more when it is taken."""
    kind = kind_of(instruction.mnemonic)
    if kind == "direct":
        address = re.search(r"\b([0-9a-f]+) <", instruction.operands)
        target = image.get(int(address[1], 16)) if address else None
        return 2 if target is not None and target.size == 4 and target.address % 4 == 2 else 1
    loads_counter = kind in ("load", "multiple") and re.search(r"\bpc\b", _written(instruction)) is not None
    if kind == "indirect" or loads_counter or instruction.operands.startswith("pc,"):
        return 2
    return 0


def _written(instruction: Instruction) -> str:
    """The operands a load writes to."""
    if "{" in instruction.operands:
        return instruction.operands[instruction.operands.index("{") :]
    return instruction.operands.partition(",")[0]


def block_cycles(block: Sequence[Instruction]) -> list[int]:
    """Cycles of each instruction of straight-line code that is entered at its first."""
    return [core_cycles(i, before) for i, before in zip(block, [None, *block[:-1]], strict=True)]
