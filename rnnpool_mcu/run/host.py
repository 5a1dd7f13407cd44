"""Runs a compiled project on this computer: its C sources, the host's compiler, the host runner."""

from __future__ import annotations

import tempfile
from pathlib import Path

from rnnpool_mcu.ir.batch import Batch, Images
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.run import batch, protocol
from rnnpool_mcu.run.process import execute
from rnnpool_mcu.run.protocol import RunError
from rnnpool_mcu.system import tools

ENGINE = "c"
SANITIZERS = "-fsanitize=address,undefined -fno-sanitize-recover=all"
_SECONDS_PER_IMAGE = 60


def build(project: Path, *, trace: bool = False, sanitize: bool = False, compiler: str = "gcc") -> Path:
    """Builds the host runner of a project folder; its path."""
    described = Project.load(project)
    build_dir = f"build/host-{compiler}{'-trace' if trace else ''}{'-sanitize' if sanitize else ''}"
    variables = {
        "HOST_CC": compiler,
        "HOST_BUILD": build_dir,
        "TRACE": "1" if trace else "0",
        "SANITIZE": SANITIZERS if sanitize else "",
    }
    tools.make(project, "host", variables, compiler=compiler)
    return project / build_dir / described.name


def run(
    project: Path,
    images: Images | Batch,
    *,
    trace: bool = False,
    sanitize: bool = False,
    compiler: str = "gcc",
) -> RunResult:
    """Runs the model over `images`, uint8 [N, H, W, C] or a batch.

    Raises RunError when an image fails, a canary is gone or a sanitizer reports; BuildError,
    ToolMissingError and UsageError as `build` does.
    """
    described = Project.load(project)
    pixels = batch.as_bytes(described, images)
    runner = build(project, trace=trace, sanitize=sanitize, compiler=compiler).resolve()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "input.bin").write_bytes(pixels)
        text = _execute([str(runner), "input.bin", "output.bin"], folder, len(images))
        outputs = (folder / "output.bin").read_bytes()
    return protocol.result(ENGINE, text, outputs, output_bytes=described.output_bytes, images=len(images))


def _execute(command: list[str], folder: Path, images: int) -> str:
    done = execute(ENGINE, command, folder, images, _SECONDS_PER_IMAGE)
    if done.returncode not in (0, 1):  # 1: an image failed, the report says which
        end = done.stdout[-500:] + done.stderr[-4000:]
        raise RunError(f"{ENGINE}: runner ended with {done.returncode}:\n{end}")
    if "Sanitizer" in done.stderr or "runtime error" in done.stderr:
        raise RunError(f"{ENGINE}: a sanitizer found:\n{done.stderr[-4000:]}")
    return done.stdout
