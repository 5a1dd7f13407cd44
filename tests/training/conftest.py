"""The detectors' made-up data, written once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training.detection_training import write_data


@pytest.fixture(scope="session")
def tiny_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Read only: tests that break pictures copy it."""
    return write_data(tmp_path_factory.mktemp("data"))
