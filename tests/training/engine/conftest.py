"""Both tasks, for what the trainer does whatever the task."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.training import tiny_tasks
from tests.training.classification_training import write_data
from tests.training.tiny_tasks import TinyTask


@pytest.fixture(scope="session")
def tiny_classes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The classifiers' made-up data, written once."""
    return write_data(tmp_path_factory.mktemp("classes"))


@pytest.fixture(params=["detection", "classification"])
def task(request: pytest.FixtureRequest, tiny_data: Path, tiny_classes: Path) -> TinyTask:
    """Each task in turn."""
    if request.param == "detection":
        return tiny_tasks.detection(tiny_data)
    return tiny_tasks.classification(tiny_classes)
