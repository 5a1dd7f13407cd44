"""The kernel files of a model, written so that the kernels of several models link into one firmware.

Every function of a kernel is weak: of equal copies, one for each model, the linker keeps one. Its header
defines an absolute symbol whose value stands for the kernel's text: the same symbol of the same value may be
defined as often as one likes, of two values it is an error of the linker.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable

from rnnpool_mcu.codegen.render import read_plain, render
from rnnpool_mcu.ir.graph import Graph

SHARED = ("fixed_point.h", "row_buffer.h")
"""Headers that kernels and models include, of codegen_templates/include."""
_PROTOTYPE = re.compile(r"^[a-z][\w ]*[ *](\w+)\([^;{]*\);", re.MULTILINE)
_VALUE_BITS = 31
_LICENCE = "/* SPDX-License-Identifier: Apache-2.0 */\n"


def kernel_files(graph: Graph) -> dict[str, str]:
    """Header and sources of every kernel that a graph calls: name below src/ -> text."""
    files = {f"kernels/{name}": _LICENCE + read_plain(f"include/{name}") for name in SHARED}
    for kernel, variants in sorted({found for node in graph.nodes for found in node.op.kernels()}):
        files |= kernel_sources(kernel, variants)
    return files


def kernel_sources(kernel: str, variants: Iterable[str]) -> dict[str, str]:
    """Header and sources of one kernel: name below src/ -> text."""
    header = render(f"ops/{kernel}.c.j2", part="header")
    templates = {kernel: f"ops/{kernel}.c.j2"}
    templates |= {f"{kernel}_{variant}": f"ops/{kernel}_{variant}.c.j2" for variant in variants}
    sources = {file: render(template, part="source") for file, template in templates.items()}
    weak = "".join(f"#pragma weak {function}\n" for function in _PROTOTYPE.findall(header))
    files = {f"kernels/{kernel}.h": _with_version(kernel, header, sources.values())}
    for file, text in sources.items():
        files[f"kernels/{file}.c"] = _after_own_header(kernel, text, weak)
    return files


def _with_version(kernel: str, header: str, sources: Iterable[str]) -> str:
    """The header with the symbol that tells objects of other versions apart."""
    digest = hashlib.sha256("".join([*map(read_plain, _paths()), header, *sources]).encode())
    value = int.from_bytes(digest.digest()[:4], "little") >> (32 - _VALUE_BITS)
    symbol = f"another_version_of_{kernel}"
    check = (
        "/* Objects that were made with another version of this kernel do not link with these. */\n"
        "#if defined(__ELF__) && defined(__GNUC__)\n"
        f'__asm__(".globl {symbol}\\n.set {symbol}, 0x{value:08x}");\n'
        "#endif\n"
    )
    body, end = header.rstrip("\n").rsplit("\n", 1)
    assert end == "#endif", f"{kernel}: its header does not end with its guard"
    return f"{_LICENCE}{body}\n{check}\n{end}\n"


def _after_own_header(kernel: str, text: str, weak: str) -> str:
    """A source whose functions are weak; what is not the kernel's own includes a header and no function."""
    own = f'#include "{kernel}.h"\n'
    assert own in text, f"{kernel}: a source does not include its header"
    note = "/* Weak: several models in one firmware share one copy. */\n"
    return _LICENCE + text.replace(own, f"{own}\n{note}{weak}", 1)


def _paths() -> tuple[str, ...]:
    return tuple(f"include/{name}" for name in SHARED)
