"""Fixtures shared by all tests."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

# Tests run side by side: threads of torch's own would only wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
# Makefiles of compiled folders: every build of a test fails where it warns.
os.environ.setdefault("WERROR", "1")

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def repository() -> Path:
    """The checkout's root."""
    return ROOT


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real data sets: $RNNPOOL_MCU_DATA, or shared/data beside the checkout; else a skip."""
    named = os.environ.get("RNNPOOL_MCU_DATA")
    folder = Path(named) if named else ROOT.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no data sets in {folder}; set RNNPOOL_MCU_DATA to their folder (docs/training.md)")
    return folder
