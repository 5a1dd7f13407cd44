"""Builds operators' kernels and runs them row by row, on the host and on the emulated Cortex-M4.

    assert_host_equals_numpy([KernelCase(op, (in_type,), (values,)), ...])
    results = run_qemu(cases)  # with instruction counts
    assert_bit_exact(cases, results)

Many cases go into one build: a compile costs far more than a case.
"""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import jinja2
import numpy as np
import pytest

from rnnpool_mcu.codegen.c_literals import c_array, c_params
from rnnpool_mcu.ir.operator import Absorber, Int8Array, Margin, Operator
from rnnpool_mcu.ir.tensor_type import BOX_BYTES, DetectionsType, TensorType
from rnnpool_mcu.system.resources import template_dir

SUPPORT = Path(__file__).parent / "kernel_support"
WARNINGS = ("-std=c99", "-Wall", "-Wextra", "-Wconversion", "-Werror")
SANITIZERS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-g")
# -ffreestanding is left out: kernels may use memcpy and memset.
CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb")
MACHINE = (
    *("-M", "mps2-an386", "-icount", "shift=0", "-semihosting-config", "enable=on,target=native"),
    *("-nographic", "-monitor", "none", "-serial", "none"),
)
SCRATCH_FILL = 0xA5


@dataclass(frozen=True, eq=False)
class KernelCase:
    """One operator with its input types and values."""

    op: Operator
    types: tuple[TensorType, ...]
    values: tuple[Int8Array, ...]

    def expected(self) -> bytes:
        """Bytes of the numpy definition."""
        return np.ascontiguousarray(self.op.eval_int8(self.types, self.values)).tobytes()


@dataclass(frozen=True)
class KernelResult:
    """What a build's run gave for one case."""

    output: bytes
    instructions: int  # of the whole operator, row loop included; 0 on the host
    guards_intact: bool  # no byte was written after the output row, the state or the scratch


def random_values(tensor: TensorType, rng: np.random.Generator) -> Int8Array:
    """Uniform int8 values of the tensor's shape."""
    return rng.integers(-128, 128, tensor.shape, dtype=np.int8)


def random_case(op: Operator, types: Sequence[TensorType], seed: int = 0) -> KernelCase:
    """The operator on uniform random inputs."""
    rng = np.random.default_rng(seed)
    return KernelCase(op, tuple(types), tuple(random_values(t, rng) for t in types))


def assert_bit_exact(cases: Sequence[KernelCase], results: Sequence[KernelResult]) -> None:
    """AssertionError naming the first case and element where C and numpy differ."""
    assert len(cases) == len(results)
    for i, (case, result) in enumerate(zip(cases, results, strict=True)):
        where = f"case {i}: {type(case.op).__name__} {[str(t) for t in case.types]}"
        expected = np.frombuffer(case.expected(), np.int8)
        actual = np.frombuffer(result.output, np.int8)
        assert expected.shape == actual.shape, f"{where}: {actual.size} bytes, expected {expected.size}"
        wrong = np.flatnonzero(expected != actual)
        assert not wrong.size, (
            f"{where}: {wrong.size} of {expected.size} bytes differ, first at {wrong[0]}: "
            f"{actual[wrong[0]]}, expected {expected[wrong[0]]}"
        )
        assert result.guards_intact, f"{where}: wrote beyond its output, state or scratch"


def assert_host_equals_numpy(cases: Sequence[KernelCase]) -> None:
    """The portable kernels, under sanitizers, give the bytes of the definition."""
    assert_bit_exact(cases, run_host(cases, sanitize=True))


def assert_cortex_m4_equals_numpy(cases: Sequence[KernelCase]) -> None:
    """The Cortex-M4's kernels, on the emulated board, give the bytes of the definition."""
    assert_bit_exact(cases, run_qemu(cases))


def run_host(
    cases: Sequence[KernelCase], *, sanitize: bool = False, compiler: str = "gcc", optimize: str = "-O2"
) -> list[KernelResult]:
    """Results of the portable kernels; with `sanitize`, any overrun or undefined behaviour raises.

    Sanitized builds are not optimized: the many small cases take longer to compile than to run.
    """
    flags = ("-O0", *SANITIZERS) if sanitize else (optimize,)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_sources(cases, work)
        return _parse(cases, run_program_host(work, compiler, flags))


def run_qemu(
    cases: Sequence[KernelCase], *, optimize: str = "-O2", counted: bool = True
) -> list[KernelResult]:
    """Results and instruction counts on QEMU's mps2-an386, with the Cortex-M4 variants.

    Without `counted` only the kernels are optimized: thousands of cases compile in a fourth of the time.
    """
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        write_sources(cases, work, optimized=counted)
        return _parse(cases, run_program_qemu(work, (optimize,)))


def run_program_host(work: Path, compiler: str = "gcc", flags: Sequence[str] = ("-O2",)) -> bytes:
    """Build every C and assembler file in `work`, which defines main() on port.h; gives what it wrote."""
    if compiler != "gcc" and shutil.which(compiler) is None:  # set-up installs gcc only
        pytest.skip(f"{compiler} is not installed")
    command = [compiler, *WARNINGS, *flags, *_add_support(work), str(SUPPORT / "host.c"), "-o", "program"]
    _call(command, work)
    return _call(["./program"], work)


def run_program_qemu(work: Path, flags: Sequence[str] = ("-O2",)) -> bytes:
    """The same on QEMU's mps2-an386."""
    link = ("-nostartfiles", "--specs=nano.specs", f"-T{SUPPORT / 'mps2.ld'}")
    sources = [*_add_support(work), str(SUPPORT / "mps2.c")]
    _call(["arm-none-eabi-gcc", *CORTEX_M4, *WARNINGS, *flags, *link, *sources, "-o", "program.elf"], work)
    _call(["qemu-system-arm", *MACHINE, "-kernel", "program.elf"], work)
    return (work / "result.bin").read_bytes()


@functools.cache
def render_kernel(kernel: str, variants: tuple[str, ...]) -> dict[str, str]:
    """File name -> text of a kernel's header, portable source and variants."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(template_dir()), undefined=jinja2.StrictUndefined, trim_blocks=True
    )
    template = environment.get_template(f"ops/{kernel}.c.j2")
    files = {f"{kernel}.h": template.render(part="header"), f"{kernel}.c": template.render(part="source")}
    for variant in variants:
        text = environment.get_template(f"ops/{kernel}_{variant}.c.j2").render(part="source")
        files[f"{kernel}_{variant}.c"] = text
    return files


def _call(command: list[str], work: Path) -> bytes:
    done = subprocess.run(command, cwd=work, capture_output=True, timeout=300, check=False)
    if done.returncode != 0:
        said = done.stderr.decode()[-4000:]
        raise AssertionError(f"{' '.join(command)} ended with {done.returncode}\n{said}")
    return done.stdout


def _add_support(work: Path) -> list[str]:
    """Copy the headers that programs include; gives the include option and the sources in `work`."""
    for header in [*(template_dir() / "include").glob("*.h"), *SUPPORT.glob("*.h")]:
        (work / header.name).write_text(header.read_text())
    return ["-I.", *sorted(path.name for path in work.iterdir() if path.suffix in (".c", ".S"))]


def write_sources(cases: Sequence[KernelCase], work: Path, *, optimized: bool = True) -> None:
    """Write the kernels and a main() that runs every case, the i-th in a function `case<i>`."""
    files: dict[str, str] = {}
    for case in cases:
        for kernel, variants in case.op.kernels():
            files |= render_kernel(kernel, variants)
    lines = [] if optimized else ['#pragma GCC optimize("O0")']
    lines += [f'#include "{kernel}.h"' for kernel in sorted({case.op.kernel for case in cases})]
    lines += ['#include "run_case.h"', "", "int main(void);"]
    for i, case in enumerate(cases):
        lines.append(_case_source(i, case, work))
    calls = "".join(f"    case{i}();\n    port_release();\n" for i in range(len(cases)))
    lines.append(f"int main(void)\n{{\n{calls}    return 0;\n}}\n")
    files["cases.c"] = "\n".join(lines)
    files["data.S"] = _data_source(cases)
    for name, text in files.items():
        (work / name).write_text(text)


def _data_source(cases: Sequence[KernelCase]) -> str:
    """Inputs as binary files pulled in by the assembler: literals would take long to compile."""
    lines = ['.section .rodata,"a"']
    for i, case in enumerate(cases):
        for j in range(len(case.types)):
            name = f"case{i}_in{j}"
            lines += [".balign 16", f".global {name}", f"{name}:", f'.incbin "{name}.bin"']
    return "\n".join(lines) + '\n.section .note.GNU-stack,"",%progbits\n'


def padded_rows(tensor: TensorType, values: Int8Array, margin: Margin) -> Int8Array:
    """Rows with margins, then a row of zero points: [height + 1, (left + width + right) * channels]."""
    assert values.shape == tensor.shape and values.dtype == np.int8
    pad = ((0, 1), (margin.left, margin.right), (0, 0))
    padded = np.pad(values, pad, constant_values=tensor.zero_point)
    return padded.reshape(tensor.height + 1, -1)


def _case_source(i: int, case: KernelCase, work: Path) -> str:
    op, kernel = case.op, case.op.kernel
    params = op.c_params(case.types)
    inputs = []
    lines = [f"static {c_array(f'case{i}_p_{name}', array)}" for name, array in params.arrays()]
    for j, (tensor, values) in enumerate(zip(case.types, case.values, strict=True)):
        rows = padded_rows(tensor, values, op.margins(case.types)[j])
        (work / f"case{i}_in{j}.bin").write_bytes(rows.tobytes())
        lines.append(f"extern const int8_t case{i}_in{j}[];")
        inputs.append(f"        {{case{i}_in{j}, {tensor.height}, {rows.shape[1]}u}},")
    lines.append(c_params(f"{kernel}_params", f"case{i}_p", params))
    body = _absorber_body(i, case) if isinstance(op, Absorber) else _row_body(i, case)
    memory = _memory(case)
    return "\n".join(
        [
            *lines,
            f"static __attribute__((noinline)) void case{i}(void)",  # so that profilers tell the cases apart
            "{",
            f"    const case_input inputs[{len(inputs)}] = {{",
            *inputs,
            "    };",
            f"    const int8_t **rows[{len(inputs)}];",
            f"    for (size_t i = 0; i < {len(inputs)}; ++i) {{",
            "        rows[i] = case_rows(&inputs[i]);",
            "    }",
            *memory,
            *body,
            "    write_result(out, out_bytes, count, intact);",
            "}",
            "",
        ]
    )


def _memory(case: KernelCase) -> list[str]:
    out = case.op.infer_type(case.types)
    lines = [f"    const uint32_t out_bytes = {out.bytes}u;", "    uint8_t *out = guarded_block(out_bytes);"]
    if case.op.state_bytes(case.types):
        lines.append(f"    void *state = guarded_block({case.op.state_bytes(case.types)}u);")
    if case.op.scratch_bytes(case.types):
        lines.append(f"    uint8_t *scratch = guarded_block({case.op.scratch_bytes(case.types)}u);")
    return lines


def _intact(case: KernelCase) -> str:
    checks = ["guard_intact(out, out_bytes)"]
    for name, size in (
        ("state", case.op.state_bytes(case.types)),
        ("scratch", case.op.scratch_bytes(case.types)),
    ):
        if size:
            checks.append(f"guard_intact({name}, {size}u)")
    return f"    const uint32_t intact = {' & '.join(checks)};"


def _row_body(i: int, case: KernelCase) -> list[str]:
    """One call per output row, in order, with the pointers that the operator's windows ask for."""
    op, types = case.op, case.types
    out = op.infer_type(types)
    assert isinstance(out, TensorType)
    table = []
    for y in range(out.height):
        row = []
        for window, tensor in zip(op.input_windows(y, types), types, strict=True):
            row += [r if 0 <= r < tensor.height else tensor.height for r in range(window.first, window.stop)]
        table.append(row)
    sizes = [w.stop - w.first for w in op.input_windows(0, types)]
    source = [j for j, size in enumerate(sizes) for _ in range(size)]
    assert all(len(row) == len(source) for row in table)
    n, braced = len(source), ", ".join("{" + ", ".join(map(str, row)) + "}" for row in table)
    arguments = [f"&case{i}_p", "in", f"(int8_t *)out + y * {out.row_bytes}"]
    scratch_bytes = op.scratch_bytes(types)
    if op.state_bytes(types):
        arguments += ["y", "state"]
    elif op.takes_row:
        arguments += ["y", "NULL"]
    if scratch_bytes:
        arguments.append("scratch")
    spoil = [f"        memset(scratch, {SCRATCH_FILL}, {scratch_bytes}u);"] if scratch_bytes else []
    return [
        f"    static const int16_t table[{out.height}][{n}] = {{{braced}}};",
        f"    static const uint8_t source[{n}] = {{{', '.join(map(str, source))}}};",
        "    uint32_t count = 0;",
        f"    for (int32_t y = 0; y < {out.height}; ++y) {{",
        f"        const int8_t *in[{n}];",
        f"        for (size_t k = 0; k < {n}; ++k) {{",
        "            in[k] = rows[source[k]][table[y][k]];",
        "        }",
        *spoil,
        "        const uint32_t start = port_instructions();",
        f"        {op.kernel}({', '.join(arguments)});",
        "        count += port_instructions() - start;",
        "    }",
        _intact(case),
    ]


def _absorber_body(i: int, case: KernelCase) -> list[str]:
    """begin, then the groups' rows in turns (so that groups interleave), then finish."""
    op = case.op
    assert isinstance(op, Absorber)
    made = op.infer_type(case.types)
    boxes, result = isinstance(made, DetectionsType), "(void *)out"
    if isinstance(made, DetectionsType):
        result += ", (void *)(out + 4)"  # a count, then the boxes
        result += f", out + {4 + BOX_BYTES * made.max_detections}" if made.labelled else ""
    cleared = ["    memset(out, 0, out_bytes);"] if boxes else []  # as the model does before it starts
    lines = [
        *cleared,
        "    const uint32_t start = port_instructions();",
        f"    {op.kernel}_begin(&case{i}_p, state);",
    ]
    groups = op.groups()
    tallest = max(case.types[g[0]].height for g in groups)
    for_rows = [f"    for (int32_t y = 0; y < {tallest}; ++y) {{"]
    for g, members in enumerate(groups):
        pointers = ", ".join(f"rows[{j}][y]" for j in members)
        for_rows += [
            f"        if (y < {case.types[members[0]].height}) {{",
            f"            const int8_t *const in[{len(members)}] = {{{pointers}}};",
            f"            {op.kernel}_absorb(&case{i}_p, {g}, y, in, state);",
            "        }",
        ]
    return [
        *lines,
        *for_rows,
        "    }",
        f"    {op.kernel}_finish(&case{i}_p, state, {result});",
        "    const uint32_t count = port_instructions() - start;",
        _intact(case),
    ]


def _parse(cases: Sequence[KernelCase], stream: bytes) -> list[KernelResult]:
    results, at = [], 0
    for case in cases:
        size = case.op.infer_type(case.types).bytes
        instructions, intact = np.frombuffer(stream, "<u4", 2, at).tolist()
        output = stream[at + 8 : at + 8 + size]
        results.append(KernelResult(output, instructions, bool(intact)))
        at += 8 + size
    assert at == len(stream), f"{len(stream)} bytes of results, expected {at}"
    return results
