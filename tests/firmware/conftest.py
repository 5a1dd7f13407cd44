"""A project folder around a hand-written model, so that the firmware is tested without the compiler."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.toolchain.project_files import write_project_files

FAKE = Project(
    name="fake",
    kind="classifier",
    input_height=24,
    input_width=32,
    input_channels=1,
    output_bytes=24,
    arena_bytes=1024,
    image_mode="streamed",
    ram_bytes=8192,
    board="mps2-an386",
)


def write_fake_project(folder: Path, **settings: int) -> Path:
    """The fake model as a project; settings are macros, such as FAKE_FAULT=1."""
    shutil.copytree(Path(__file__).parent / "fake_model", folder, dirs_exist_ok=True)
    header = folder / "src" / "fake.h"
    macros = "".join(f"#define {name} {value}\n" for name, value in settings.items())
    header.write_text(macros + header.read_text())
    write_project_files(folder, FAKE)
    return folder


@pytest.fixture(scope="session")
def fake_project(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The fake model, behaving."""
    return write_fake_project(tmp_path_factory.mktemp("fake"))


@pytest.fixture
def faulty_project(tmp_path: Path) -> Callable[..., Path]:
    """The fake model with one fault: `faulty_project(FAKE_FAULT=1)`."""
    return lambda **settings: write_fake_project(tmp_path / "faulty", **settings)


@pytest.fixture(scope="session")
def images() -> NDArray[np.uint8]:
    """Three random images of the fake model's size."""
    return np.random.default_rng(7).integers(0, 256, (3, 24, 32, 1), dtype=np.uint8)
