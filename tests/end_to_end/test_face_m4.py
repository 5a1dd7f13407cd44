"""The shipped face detector, from checkpoint to emulated board: what is promised of it is measured."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

pytest.importorskip("torch")
pytest.importorskip("torchao")

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.detections import parse_detections
from rnnpool_mcu.ir.run_result import RunResult
from rnnpool_mcu.ops.graph_file import FILE_NAME, load_graph
from rnnpool_mcu.report import read_report, with_run
from rnnpool_mcu.run import host, qemu
from rnnpool_mcu.system.images import fit, model_image
from rnnpool_mcu.training.data.boxed_images import load_split
from rnnpool_mcu.validate.engines import run_reference

MODEL = Path(__file__).parents[2] / "examples" / "models" / "face_m4.pt"
SIZE = (240, 320, 1)
RESIDENT_BUDGET_BYTES = 120 * 1024
STREAMED_BUDGET_BYTES = 64 * 1024
MAX_INSTRUCTIONS = 250_000_000
MAX_COMPILE_SECONDS = 60
REAL_IMAGES = 50

pytestmark = [
    pytest.mark.xdist_group("face_m4"),
    pytest.mark.skipif(
        shutil.which("qemu-system-arm") is None or shutil.which("arm-none-eabi-gcc") is None,
        reason="qemu-system-arm or arm-none-eabi-gcc is not installed",
    ),
]


@dataclass(frozen=True)
class Compiled:
    """The folder `compile` wrote, and the processor time it took."""

    folder: Path
    cpu_seconds: float


def _compile(folder: Path, *options: str) -> Compiled:
    command = [sys.executable, "-m", "rnnpool_mcu", "compile", "-q", MODEL, "--name", "face", "-o", folder]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([*command, *options], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return Compiled(folder, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The detector in 120 KiB with a resident image, not to be written to."""
    return _compile(tmp_path_factory.mktemp("resident") / "face", "--ram", str(RESIDENT_BUDGET_BYTES))


@pytest.fixture(scope="module")
def compiled_streamed(tmp_path_factory: pytest.TempPathFactory) -> Compiled:
    """The detector in 64 KiB with a streamed image, not to be written to."""
    options = ("--ram", str(STREAMED_BUDGET_BYTES), "--image", "streamed")
    return _compile(tmp_path_factory.mktemp("streamed") / "face", *options)


@pytest.fixture(scope="module")
def photo() -> Image.Image:
    """scikit-image's portrait of an astronaut."""
    data = pytest.importorskip("skimage.data")
    return Image.fromarray(data.astronaut())


@pytest.fixture(scope="module")
def images(photo: Image.Image) -> NDArray[np.uint8]:
    """A photograph, and noise, which saturates what photographs do not."""
    noise = np.random.default_rng(5).integers(0, 256, SIZE, dtype=np.uint8)
    return np.stack([model_image(photo, SIZE), noise])


@pytest.fixture(scope="module")
def reference(compiled: Compiled, images: NDArray[np.uint8]) -> RunResult:
    """What the operators' definitions give for `images`."""
    return run_reference(load_graph(compiled.folder / FILE_NAME), images, lambda _: None, trace=True)


@pytest.fixture(scope="module")
def resident(compiled: Compiled, images: NDArray[np.uint8]) -> RunResult:
    """`images` on the emulated board, each whole in its RAM, which is 120 KiB and faults beyond."""
    return qemu.run(compiled.folder, images)


@pytest.fixture(scope="module")
def streamed(compiled_streamed: Compiled, images: NDArray[np.uint8]) -> RunResult:
    """`images` on the emulated board row by row, in 64 KiB of RAM."""
    return qemu.run(compiled_streamed.folder, images)


def test_compiling_takes_less_than_a_minute(compiled: Compiled, compiled_streamed: Compiled) -> None:
    assert compiled.cpu_seconds < MAX_COMPILE_SECONDS
    assert compiled_streamed.cpu_seconds < MAX_COMPILE_SECONDS


def test_the_board_gives_the_definitions_bytes(
    reference: RunResult, resident: RunResult, streamed: RunResult
) -> None:
    assert any(parse_detections(output) for output in reference.outputs)
    assert resident.outputs == reference.outputs
    assert streamed.outputs == reference.outputs


def test_every_layer_on_the_board_gives_the_definitions_bytes(
    compiled: Compiled, images: NDArray[np.uint8], reference: RunResult
) -> None:
    traced = qemu.run(compiled.folder, images[1:], trace=True)
    assert traced.traces == reference.traces[1:]


@pytest.mark.parametrize(("compiler", "sanitize"), [("gcc", True), ("clang", False)])
def test_the_host_gives_the_definitions_bytes(
    compiled: Compiled, images: NDArray[np.uint8], reference: RunResult, compiler: str, sanitize: bool
) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    found = host.run(compiled.folder, images, sanitize=sanitize, compiler=compiler)
    assert found.outputs == reference.outputs


def test_projects_are_built_with_all_warnings_as_errors_here(compiled: Compiled) -> None:
    """Users are not: a newer compiler may warn of more."""
    text = (compiled.folder / "Makefile").read_text(encoding="utf-8")
    assert "-std=c99 -Wall -Wextra -Wconversion $(if $(filter 1,$(WERROR)),-Werror)" in text
    assert "WERROR ?= 0" in text and os.environ["WERROR"] == "1"
    assert text.count("$(WARNINGS)") == 2  # firmware and host


def test_ram_with_a_resident_image(compiled: Compiled, resident: RunResult) -> None:
    assert resident.canaries_ok
    assert resident.ram_used_bytes is not None
    assert resident.ram_used_bytes <= RESIDENT_BUDGET_BYTES
    ram = with_run(read_report(compiled.folder), resident)["ram"]
    assert ram["stack_measured_bytes"] <= ram["stack_bytes"]
    assert ram["measured_with_image_bytes"] <= ram["total_bytes"] <= RESIDENT_BUDGET_BYTES


def test_ram_with_a_streamed_image(streamed: RunResult) -> None:
    assert streamed.canaries_ok
    assert streamed.ram_used_bytes is not None
    assert streamed.ram_used_bytes <= STREAMED_BUDGET_BYTES


def test_instructions(resident: RunResult, streamed: RunResult) -> None:
    for result in (resident, streamed):
        assert result.instructions is not None
        assert 0 < max(result.instructions) <= MAX_INSTRUCTIONS


def test_the_face_is_found(reference: RunResult, photo: Image.Image) -> None:
    """Some box whose centre lies within the astronaut's face is among those that are shown."""
    placed = fit(photo.width, photo.height, SIZE[1], SIZE[0])
    likely = [d for d in parse_detections(reference.outputs[0]) if d.score >= 0.5]
    shown = [d.scaled(1 / placed.across, 1 / placed.down) for d in likely]
    centres = [((d.x1 + d.x2) / 2, (d.y1 + d.y2) / 2) for d in shown]
    assert any(180 <= x <= 270 and 70 <= y <= 180 for x, y in centres), shown


@pytest.mark.slow
def test_the_demo(tmp_path: Path, photo: Image.Image) -> None:
    demo = Path(__file__).parents[2] / "examples" / "demo.py"
    done = subprocess.run(
        [sys.executable, demo, "--out", tmp_path / "demo"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    picture = tmp_path / "demo" / "photo_boxes.png"
    assert done.stdout.rstrip().endswith(f"The picture with its boxes: {picture}")
    with Image.open(picture) as drawn:
        assert drawn.size == photo.size
        assert (np.asarray(drawn) != np.asarray(photo)).any()


@pytest.mark.slow
def test_real_images_byte_for_byte(compiled: Compiled, real_data: Path, tmp_path: Path) -> None:
    try:
        samples = load_split(real_data, "part_b_test")[:REAL_IMAGES]
    except UsageError as error:
        pytest.skip(str(error))
    photos = tmp_path / "photos"
    photos.mkdir()
    for sample in samples:
        (photos / sample.path.name).symlink_to(sample.path.resolve())
    folder = shutil.copytree(compiled.folder, tmp_path / "face")
    command = [sys.executable, "-m", "rnnpool_mcu", "validate", folder, "--images", photos]
    done = subprocess.run(
        [*command, "--count", str(REAL_IMAGES)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    for engine in ("c", "qemu"):
        assert f"{engine}: equals int8 byte for byte on {REAL_IMAGES} images" in done.stdout
    assert read_report(folder)["validation"]["bit_exact"] is True
