"""The Cortex-M4 timing table and the listing it is applied to."""

from __future__ import annotations

import pytest

from rnnpool_mcu.run.cycles import block_cycles, core_cycles, kind_of, registers, taken_cycles
from rnnpool_mcu.run.disassembly import Instruction, parse_listing
from rnnpool_mcu.run.layer_ranges import OUTSIDE
from rnnpool_mcu.run.plugin import BlockCount, Counts, parse_counts
from rnnpool_mcu.run.profile import instructions_of, unaligned_multiples

LISTING = """
00000100 <dot>:
dot():
/build/src/dot.c:7
     100:	6801      	ldr	r1, [r0, #0]
     102:	6842      	ldr	r2, [r0, #4]
/build/src/dot.c:8 (discriminator 3)
     104:	fb21 3302 	smlad	r3, r1, r2, r3
     108:	e9d0 4502 	ldrd	r4, r5, [r0, #8]
     10c:	d1f8      	bne.n	100 <dot+0x0>	@ a comment
     10e:	f04f 0001 	mov.w	r0, #1
     112:	4770      	bx	lr
     114:	00000100 	.word	0x00000100
"""


def _one(mnemonic: str, operands: str = "", address: int = 0, size: int = 2) -> Instruction:
    return Instruction(address, size, mnemonic, operands)


def test_listing_gives_sizes_functions_and_lines() -> None:
    code = parse_listing(LISTING)
    assert list(code) == [0x100, 0x102, 0x104, 0x108, 0x10C, 0x10E, 0x112]
    assert code[0x104] == Instruction(0x104, 4, "smlad", "r3, r1, r2, r3", "dot", "dot.c:8")
    assert code[0x10C].operands == "100 <dot+0x0>"
    assert code[0x102].source == "dot.c:7"


@pytest.mark.parametrize(
    ("mnemonic", "operands", "cycles"),
    [
        ("adds", "r0, #1", 1),
        ("smlald", "r0, r1, r2, r3", 1),
        ("umull", "r0, r1, r2, r3", 1),
        ("itt", "eq", 1),
        ("bfi", "r0, r1, #3, #2", 1),
        ("bic.w", "r0, r1, #3", 1),
        ("ldrsh.w", "r0, [r1, r2, lsl #1]", 2),
        ("ldrne", "r0, [r1]", 2),
        ("str.w", "r0, [r1, #4]", 1),
        ("strb", "r0, [r1]", 1),
        ("ldrd", "r0, r1, [r2, #8]", 3),
        ("strd", "r0, r1, [r2], #8", 3),
        ("ldmia.w", "r0!, {r4, r5, r6, r7}", 5),
        ("stmdb", "sp!, {r4, r5, r6, r7, r8, r9, sl, fp, lr}", 10),
        ("push", "{r4-r7, lr}", 6),
        ("vpop", "{d8-d9}", 5),
        ("sdiv", "r0, r1, r2", 7),
        ("bne.n", "100 <dot>", 1),
        ("cbz", "r0, 100 <dot>", 1),
        ("vdiv.f32", "s0, s1, s2", 14),
        ("vfma.f32", "s0, s1, s2", 3),
        ("vadd.f32", "s0, s1, s2", 1),
    ],
)
def test_cycles_of_one_instruction(mnemonic: str, operands: str, cycles: int) -> None:
    assert core_cycles(_one(mnemonic, operands)) == cycles


@pytest.mark.parametrize(
    ("before", "load", "cycles"),
    [
        (("ldr", "r1, [r0]"), ("ldr", "r2, [r0, #4]"), 1),
        (("ldr", "r1, [r0]"), ("ldr", "r2, [r1, #4]"), 2),  # its address is what was loaded
        (("ldr", "ip, [r0]"), ("ldrb", "r2, [r3, r12]"), 2),  # the same under its other name
        (("ldr", "r1, [r0]"), ("ldrsb.w", "r2, [r10, #1]"), 1),  # r10 is not r1
        (("str", "r1, [r0]"), ("ldr", "r2, [r0]"), 2),
        (("ldrd", "r4, r5, [r0]"), ("ldr", "r2, [r0]"), 2),
    ],
)
def test_a_load_overlaps_the_load_before_it(
    before: tuple[str, str], load: tuple[str, str], cycles: int
) -> None:
    assert core_cycles(_one(*load), _one(*before)) == cycles


@pytest.mark.parametrize(
    ("mnemonic", "operands", "cycles"),
    [
        ("bne.n", "100 <near>", 1),
        ("bl", "106 <wide across a word>", 2),
        ("b.w", "108 <wide within a word>", 1),
        ("bx", "lr", 2),
        ("blx", "r3", 2),
        ("pop", "{r4, pc}", 2),
        ("ldmia.w", "sp!, {r4, r5, pc}", 2),
        ("ldr.w", "pc, [sp], #4", 2),
        ("mov", "pc, r4", 2),
        ("tbb", "[pc, r2]", 2),
        ("ldr", "r0, [pc, #8]", 0),  # a literal: what follows elsewhere is no branch of its own
        ("bkpt", "0x00ab", 0),
        ("blt.n", "100 <near>", 1),
    ],
)
def test_a_taken_branch_refills_the_pipeline(mnemonic: str, operands: str, cycles: int) -> None:
    image = {at: _one("x", address=at, size=size) for at, size in ((0x100, 2), (0x106, 4), (0x108, 4))}
    assert taken_cycles(_one(mnemonic, operands), image) == cycles


def test_kinds_that_look_alike_are_told_apart() -> None:
    assert [kind_of(name) for name in ("bls.n", "bleq", "blx", "blxne", "bic", "bx")] == [
        "direct",
        "direct",
        "indirect",
        "indirect",
        "other",
        "indirect",
    ]
    assert registers("r0, {r1-r3, ip, lr}") == 5


def test_a_block_is_the_instructions_from_its_start() -> None:
    code = parse_listing(LISTING)
    block = BlockCount(0x100, 5, "stem", 9, 8, 0, 0, 0)
    body = instructions_of(block, code)
    assert [instruction.mnemonic for instruction in body] == ["ldr", "ldr", "smlad", "ldrd", "bne.n"]
    assert block_cycles(body) == [2, 1, 1, 3, 1]


def test_counts_are_read_back() -> None:
    text = "block 256 5 1 900 899 10 20 3\nunaligned 264 4\nend\n"
    counts = parse_counts(text, [OUTSIDE, "stem"])
    assert counts == Counts((BlockCount(256, 5, "stem", 900, 899, 10, 20, 3),), {264: 4})


def test_only_multiple_transfers_off_a_word_are_faults() -> None:
    code = parse_listing(LISTING)
    found = unaligned_multiples(Counts((), {0x100: 7, 0x108: 4}), code)
    assert [(f.instruction, f.function, f.source, f.accesses) for f in found] == [
        ("ldrd r4, r5, [r0, #8]", "dot", "dot.c:8", 4)
    ]
