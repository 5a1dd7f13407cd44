"""Many networks as one program: their C in one compiler run, kernels from objects that are kept."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import subprocess
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rnnpool_mcu.codegen.emit import emit
from rnnpool_mcu.ir.plan import Plan
from rnnpool_mcu.system.programs import run_program
from rnnpool_mcu.system.resources import template_dir
from tests.ops.kernel_harness import CORTEX_M4, MACHINE, SANITIZERS, SUPPORT, WARNINGS
from tests.soak.lines import LOGGED, TRANSLATED, Lines, board_lines
from tests.soak.model_text import model_text, write_inputs
from tests.soak.networks.network import Network

PROGRAM = Path(__file__).parent / "program"
RUN_SECONDS = 120
RESULT = "result.bin"
BOARD_LINES = "board_lines.json"
NOT_COUNTED = tuple(word for word in MACHINE if word not in ("-icount", "shift=0"))
"""The emulated board as fast as it goes: nothing is timed here."""


@dataclass(frozen=True)
class Engine:
    """Where a program runs: its compiler with flags for kernels and for models, and what starts it."""

    name: str
    compiler: tuple[str, ...]
    kernel_flags: tuple[str, ...]
    model_flags: tuple[str, ...]
    support: Path
    link: tuple[str, ...]
    start: tuple[str, ...]


HOST = Engine(
    "host",
    compiler=("gcc",),
    kernel_flags=("-O1", "--coverage", *SANITIZERS[:2]),
    model_flags=("-O0", *SANITIZERS[:2]),
    support=SUPPORT / "host.c",
    link=("--coverage",),
    start=("sh", "-c", f"exec ./program > {RESULT}"),
)
BOARD = Engine(
    "qemu",
    compiler=("arm-none-eabi-gcc", *CORTEX_M4),
    kernel_flags=("-O2", "-g"),
    model_flags=("-O2", "-Wno-error=stringop-overflow"),  # which takes a row's number for negative
    support=SUPPORT / "mps2.c",
    link=("-nostartfiles", "--specs=nano.specs", f"-T{SUPPORT / 'mps2.ld'}"),
    start=("qemu-system-arm", *NOT_COUNTED, "-kernel", "program"),
)
ENGINES = (HOST, BOARD)


class ProgramError(Exception):
    """A program that does not compile."""


@dataclass(frozen=True)
class Ran:
    """What a program wrote, and what it said if it did not end well."""

    output: bytes
    complaint: str = ""


class Workshop:
    """Objects of kernels and of what runs them, kept in a folder while their sources are the same."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder / _digest()
        self.sources = self.folder / "src"
        (self.sources / "kernels").mkdir(parents=True, exist_ok=True)

    def run(self, engine: Engine, models: Sequence[tuple[Network, Plan]], *, lines: bool = False) -> Ran:
        """Builds the models as one program, and runs it; ProgramError where it does not compile.

        With `lines` it is added to `board_lines.json` which lines of kernels the board ran.
        """
        with tempfile.TemporaryDirectory(prefix="soak-") as temporary:
            folder = Path(temporary)
            kernels = self._write(models, folder)
            objects = [self._object(engine, path) for path in sorted(kernels)]
            objects += [self._object(engine, path) for path in (PROGRAM / "soak.c", engine.support)]
            command = [*engine.compiler, *WARNINGS, *engine.model_flags, *self._includes(), "-I."]
            command += [*engine.link, "models.c", "inputs.S", *map(str, objects), "-o", "program"]
            if complaint := _complaint(command, folder):
                raise ProgramError(complaint)
            ran = _ran((*engine.start, *(LOGGED if lines else ())), folder)
            if lines:
                self._add_lines(board_lines(folder / "program", folder / TRANSLATED))
            return ran

    def objects(self, engine: Engine) -> Path:
        """The folder of an engine's objects."""
        folder = self.folder / engine.name
        folder.mkdir(exist_ok=True)
        return folder

    def _write(self, models: Sequence[tuple[Network, Plan]], folder: Path) -> frozenset[Path]:
        """The C of every model and a main() that runs them, below `folder`; gives the kernels' sources."""
        parts, inputs, kernels = ['#include "soak.h"\n'], ['.section .rodata,"a"'], set[Path]()
        for i, (network, plan) in enumerate(models):
            for path, text in emit(plan, name=f"n{i}", title="soak").items():
                if path.startswith("kernels/"):
                    kernels.add(self._kept(path, text))
                else:
                    (folder / path).write_text(text)
            parts.append(model_text(f"n{i}", network, plan))
            inputs += write_inputs(f"n{i}", network, folder)
        calls = "".join(f"    soak_run(&soak_n{i});\n" for i in range(len(models)))
        parts.append(f"int main(void);\nint main(void)\n{{\n{calls}    return 0;\n}}\n")
        (folder / "models.c").write_text("\n".join(parts))
        (folder / "inputs.S").write_text("\n".join(inputs) + '\n.section .note.GNU-stack,"",%progbits\n')
        return frozenset(path for path in kernels if path.suffix == ".c")

    def _kept(self, path: str, text: str) -> Path:
        """A kernel's source or header, which is the same for every model."""
        kept = self.sources / path
        if not kept.is_file():
            part = kept.with_name(f"{kept.name}.{os.getpid()}")
            part.write_text(text)
            part.rename(kept)
        return kept

    def _object(self, engine: Engine, source: Path) -> Path:
        folder = self.objects(engine)
        made, done = folder / f"{source.stem}.o", folder / f"{source.stem}.done"
        with self._locked():
            if not done.is_file():
                command = [*engine.compiler, *WARNINGS, *engine.kernel_flags, *self._includes()]
                complaint = _complaint([*command, "-c", str(source), "-o", str(made)], folder)
                assert not complaint, complaint
                done.touch()
        return made

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Others work in the same folder."""
        with (self.folder / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def board_lines(self) -> Lines:
        """Lines of kernels that were run on the board so far."""
        file = self.folder / BOARD_LINES
        stored = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
        return {name: set(numbers) for name, numbers in stored.items()}

    def _add_lines(self, found: Lines) -> None:
        with self._locked():
            total = self.board_lines()
            for name, numbers in found.items():
                total[name] = total.get(name, set()) | numbers
            part = self.folder / f"{BOARD_LINES}.part"
            part.write_text(json.dumps({name: sorted(n) for name, n in total.items()}), encoding="utf-8")
            part.replace(self.folder / BOARD_LINES)

    def _includes(self) -> tuple[str, ...]:
        return f"-I{self.sources}", f"-I{PROGRAM}", f"-I{SUPPORT}"


def _ran(command: Sequence[str], folder: Path) -> Ran:
    """A program in `folder`, run to its end or for as long as it may take."""
    try:
        done = run_program(command, folder=folder, timeout=RUN_SECONDS)
        complaint = f"ended with {done.returncode}: {done.stderr[-3000:]}" if done.returncode else ""
    except subprocess.TimeoutExpired:
        complaint = f"no end after {RUN_SECONDS} s"
    result = folder / RESULT
    return Ran(result.read_bytes() if result.is_file() else b"", complaint)


def _complaint(command: Sequence[str], folder: Path) -> str:
    """What a compiler said, if it failed."""
    done = run_program(command, folder=folder)
    return f"{' '.join(command)}\n{done.stderr[-6000:]}" if done.returncode else ""


def _digest() -> str:
    """Of all that objects are made of but the models."""
    flags = [(one.name, one.compiler, one.kernel_flags) for one in ENGINES]
    digest = hashlib.sha256(repr((flags, WARNINGS)).encode())
    files = [*template_dir().rglob("*"), *PROGRAM.iterdir(), *SUPPORT.iterdir()]
    for path in sorted(path for path in files if path.is_file()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]
