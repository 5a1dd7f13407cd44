"""What the training package offers, and what it does not load before it is needed."""

from __future__ import annotations

import subprocess
import sys

import pytest

import rnnpool_mcu.training as training


def test_every_name_it_offers_is_there() -> None:
    pytest.importorskip("torch")
    assert all(getattr(training, name) is not None for name in training.__all__)
    with pytest.raises(AttributeError, match="no attribute 'subjects'"):
        training.subjects  # noqa: B018


def test_looking_at_data_needs_no_torch() -> None:
    code = "import rnnpool_mcu.training.data.check, sys; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
