"""A jump into an unrolled loop of the same function is no call; a jump to an unknown address is."""

from __future__ import annotations

import pytest

from rnnpool_mcu.toolchain.stack import parse_functions

LISTING = """
00002930 <kernel>:
    2930:\te92d 4ff0 \tstmdb\tsp!, {{r4, lr}}
    2ad0:\tf20f 0418 \t{origin}
    2ad4:\teb04 0485 \tadd.w\tr4, r4, r5, lsl #2
    2aea:\t46a7      \tmov\tpc, r4
    2e08:\te8bd 8ff0 \tldmia.w\tsp!, {{r4, pc}}
"""


@pytest.mark.parametrize(
    ("origin", "indirect"),
    [
        ("addw\tr4, pc, #24", False),
        ("adr.w\tr4, 2aec <kernel+0x1bc>", False),
        ("addw\tr6, pc, #24", True),
        ("ldr\tr4, [r0, #8]", True),
        ("add.w\tr4, r0, #24", True),
    ],
)
def test_jumps(origin: str, indirect: bool) -> None:
    (kernel,) = parse_functions(LISTING.format(origin=origin), {})
    assert kernel.indirect is indirect
    assert kernel.frame_bytes == 8
