"""The stack bound on small written-out listings, where the answer is known."""

from __future__ import annotations

from pathlib import Path

import pytest

from rnnpool_mcu.toolchain.stack import (
    Function,
    StackBoundError,
    deepest,
    parse_functions,
    pushed_bytes,
    read_stack_usage,
)

LISTING = """
image.elf:     file format elf32-littlearm

Disassembly of section .text:

00000100 <main_function>:
 100:\tb510      \tpush\t{r4, lr}
 102:\tf000 f80d \tbl\t120 <near_value+0x1c>
 106:\te7fe      \tb.n\t104 <near_value>

00000120 <leaf>:
 120:\te92d 4ff0 \tstmdb\tsp!, {r4, r5, r6, r7, r8, r9, sl, fp, lr}
 124:\tb085      \tsub\tsp, #20
 126:\td0fd      \tbeq.n\t124 <leaf+0x4>
 128:\tf000 b80a \tb.w\t140 <tail>

00000140 <tail>:
 140:\t4718      \tbx\tr3
"""


def chain(*functions: Function) -> dict[str, Function]:
    return {function.name: function for function in functions}


def test_calls_and_frames_are_read_from_a_listing() -> None:
    main, leaf, tail = parse_functions(LISTING, {"leaf": 64})
    assert main == Function("main_function", 8, frozenset({"leaf"}))
    assert leaf == Function("leaf", 64, frozenset({"tail"}))
    assert tail == Function("tail", 0, frozenset(), indirect=True)


def test_disassembly_wins_where_it_is_larger() -> None:
    leaf = next(f for f in parse_functions(LISTING, {"leaf": 4}) if f.name == "leaf")
    assert leaf.frame_bytes == 9 * 4 + 20


@pytest.mark.parametrize(
    ("operation", "operands", "lowered"),
    [
        ("push", "{r4, r5, lr}", 12),
        ("stmdb", "sp!, {r4-r11, lr}", 36),
        ("vpush", "{d8-d15}", 64),
        ("vpush", "{s16}", 4),
        ("sub", "sp, #600", 600),
        ("sub.w", "sp, sp, #8192", 8192),
        ("str.w", "lr, [sp, #-4]!", 4),
        ("strd", "r2, r3, [sp, #-16]!", 16),
        ("sub", "r0, #8", 0),
        ("stmdb", "r0!, {r1, r2}", 0),
        ("pop", "{r4, pc}", 0),
    ],
)
def test_what_lowers_the_stack_pointer(operation: str, operands: str, lowered: int) -> None:
    assert pushed_bytes(operation, operands) == lowered


def test_deepest_chain_is_found() -> None:
    functions = chain(
        Function("root", 8, frozenset({"wide", "deep"})),
        Function("wide", 100, frozenset()),
        Function("deep", 50, frozenset({"deeper"})),
        Function("deeper", 60, frozenset()),
    )
    assert deepest(functions, "root") == (118, ("root", "deep", "deeper"))


def test_recursion_has_no_bound() -> None:
    functions = chain(Function("a", 8, frozenset({"b"})), Function("b", 8, frozenset({"a"})))
    with pytest.raises(StackBoundError, match=r"recursion.*a -> b -> a"):
        deepest(functions, "a")


def test_call_through_a_pointer_has_no_bound() -> None:
    functions = chain(Function("a", 8, frozenset({"b"})), Function("b", 8, frozenset(), indirect=True))
    with pytest.raises(StackBoundError, match="b: a call through a pointer"):
        deepest(functions, "a")


def test_unreached_functions_do_not_matter() -> None:
    functions = chain(Function("a", 8, frozenset()), Function("b", 8, frozenset(), indirect=True))
    assert deepest(functions, "a") == (8, ("a",))


def test_frame_that_depends_on_data_has_no_bound(tmp_path: Path) -> None:
    (tmp_path / "kernel.su").write_text("src/kernel.c:3:9:kernel\t16\tdynamic\n")
    with pytest.raises(StackBoundError, match=r"kernel\.c: the frame of kernel depends on data"):
        read_stack_usage(tmp_path)
