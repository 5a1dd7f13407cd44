"""The same bytes from every compiler and flag that users build with, on the emulated board."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rnnpool_mcu.ir.graph import Graph
from rnnpool_mcu.ir.tensor_type import Quantization, TensorType
from rnnpool_mcu.ops.add import Add
from rnnpool_mcu.ops.average_pool2d import AveragePool2d
from rnnpool_mcu.ops.convolution import Padding, Window
from rnnpool_mcu.ops.l2_norm import L2Norm
from rnnpool_mcu.ops.max_pool import MaxPool2d
from rnnpool_mcu.ops.mul import Mul
from rnnpool_mcu.pipeline import Target, generate
from rnnpool_mcu.validate.engines import run_reference
from tests.graphs import INPUT, GraphBuilder
from tests.ops import layers

NEWLIB = Path("/usr/include/newlib")
CLANG = f"clang --target=arm-none-eabi -fshort-enums -isystem {NEWLIB}"
GCC_FLAGS = (
    "-O0",
    "-Og",
    "-O1",
    "-O2",
    "-O3",
    "-Os",
    "-O2 -flto",
    "-O2 -fpic",
    "-O2 -fno-omit-frame-pointer",
    "-O2 -ffixed-r9",
    "-O2 -fstack-protector-strong",
    "-O0 -fstack-protector-all",
    "-O0 -fno-omit-frame-pointer -ffixed-r9",
    "-O2 -DFIXED_POINT_M4=0",
)
CLANG_FLAGS = ("-O0", "-O2", "-Oz")
Q = Quantization(layers.OUT_SCALE, 2)


def network() -> Graph:
    """Every kernel with assembly of its own, in the shapes that choose between their loops."""
    builder = GraphBuilder(TensorType(14, 13, 3, Quantization(1 / 255, -128)))
    value = builder.conv(INPUT, 8, 3, 2)
    value = builder.depthwise(builder.depthwise(builder.residual(value), 5), 7)
    value = builder.add(Add(Quantization(0.21, 2)), value, builder.conv(value, 8))
    value = builder.add(Mul(Q), value, builder.depthwise(value, 3))
    window = Window((2, 2), (1, 1), Padding(0, 0, 0, 0))
    value = builder.add(AveragePool2d(window, Q), builder.add(MaxPool2d(window), value))
    value = builder.add(L2Norm.of(np.full(8, 6.0), Quantization(0.05, 1)), builder.conv(value, 8, 3))
    return builder.graph(value, builder.classifier(value, 5))


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, NDArray[np.uint8], bytes]:
    """A folder, two images, and what the definition says of them."""
    folder, graph = tmp_path_factory.mktemp("compilers"), network()
    generate(graph, Target("net", 2**18, "streamed", "mps2-an386", "test", "none"), folder, place_effort=0)
    images = np.random.default_rng(2).integers(0, 256, (2, *graph.input_type.shape), dtype=np.uint8)
    return folder, images, b"".join(run_reference(graph, images, lambda _: None).outputs)


def _outputs(folder: Path, images: NDArray[np.uint8], build: str, **variables: str) -> bytes:
    """What a build prints as its outputs on QEMU; it gives no warning."""
    (folder / "images.bin").write_bytes(images.tobytes())
    given = {
        "INPUT": "images.bin",
        "BUILD": f"build/{build}",
        "STACK_BYTES": "8192",
        "WERROR": "1",
    } | variables
    command = ["make", "-C", str(folder), "run-qemu", *(f"{name}={value}" for name, value in given.items())]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    warnings = re.findall(r"^.*\.[ch]:\d+:\d+: warning: .*$", done.stderr, re.MULTILINE)
    assert [line for line in warnings if "[-W#pragma-messages]" not in line] == []
    (folder / "build" / build / "report.log").write_text(done.stdout + done.stderr)
    return (folder / "build" / build / "output.bin").read_bytes()


@pytest.mark.parametrize("flags", GCC_FLAGS)
def test_gcc_gives_the_definitions_bytes(compiled: tuple[Path, NDArray[np.uint8], bytes], flags: str) -> None:
    folder, images, expected = compiled
    level, *extra = flags.split()
    build = flags.replace(" ", "").replace("=", "")
    assert _outputs(folder, images, build, OPTIMIZE=level, EXTRA_CFLAGS=" ".join(extra)) == expected


def test_a_debug_build_stays_quick(compiled: tuple[Path, NDArray[np.uint8], bytes]) -> None:
    """Kernels ask for their own optimisation: instructions at -O0 against -O2."""
    folder, images, _ = compiled
    ticks = []
    for level in ("-O0", "-O2"):
        _outputs(folder, images, f"quick{level}", OPTIMIZE=level)
        report = (folder / "build" / f"quick{level}" / "report.log").read_text()
        ticks.append(int(re.findall(r"^image index 0 .* ticks (\d+)", report, re.MULTILINE)[0]))
    assert ticks[0] < 15 * ticks[1]


@pytest.mark.skipif(
    shutil.which("clang") is None or not NEWLIB.is_dir(), reason="clang or newlib's headers are not installed"
)
@pytest.mark.parametrize("flags", CLANG_FLAGS)
def test_clang_gives_the_definitions_bytes(
    compiled: tuple[Path, NDArray[np.uint8], bytes], flags: str
) -> None:
    folder, images, expected = compiled
    assert _outputs(folder, images, f"clang{flags}", OPTIMIZE=flags, TARGET_CC=CLANG) == expected
