"""What set-up installs, and what it must never install."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def pins(repository: Path) -> dict[str, str]:
    """Versions of requirements.lock by package."""
    lines = (repository / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    assert all(len(pair) == 2 for pair in pairs), "every package is pinned with =="
    return {name.lower().replace("_", "-"): version for name, version in pairs}


@pytest.fixture(scope="module")
def project(repository: Path) -> dict[str, object]:
    """The [project] table of pyproject.toml."""
    content = tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))
    table: dict[str, object] = content["project"]
    return table


def _names(requirements: object) -> set[str]:
    assert isinstance(requirements, list)
    found = [re.match(r"[A-Za-z0-9._-]+", requirement) for requirement in requirements]
    return {match[0].lower() for match in found if match is not None}


def test_torch_is_the_cpu_build_and_nothing_pulls_cuda(pins: dict[str, str]) -> None:
    assert pins["torch"] == "2.13.0+cpu"
    assert [name for name in pins if name.startswith(("nvidia", "triton", "cuda"))] == []


def test_the_base_install_is_small(project: dict[str, object]) -> None:
    heavy = {"torch", "torchao", "onnx", "onnxruntime", "tensorflow", "scikit-image", "matplotlib"}
    assert _names(project["dependencies"]) & heavy == set()


def test_the_lock_holds_what_demo_and_tests_need(project: dict[str, object], pins: dict[str, str]) -> None:
    extras = project["optional-dependencies"]
    assert isinstance(extras, dict)
    wanted = _names(project["dependencies"]).union(*(_names(extras[e]) for e in ("torch", "demo", "dev")))
    assert wanted - set(pins) == set()


def test_no_package_index_is_named(repository: Path) -> None:
    files = [
        "requirements.lock",
        "pyproject.toml",
        "Makefile",
        "scripts/setup.sh",
        "scripts/lock.sh",
        ".ci/run",
        ".github/workflows/ci.yml",
        ".pre-commit-config.yaml",
    ]
    for name in files:
        text = (repository / name).read_text(encoding="utf-8")
        assert re.search(r"https?://|index-url\s*=|--index", text) is None, name


def test_help_lists_every_target(repository: Path) -> None:
    text = (repository / "Makefile").read_text(encoding="utf-8")
    phony = re.search(r"^\.PHONY: (.*)$", text, re.MULTILINE)
    assert phony is not None
    shown = subprocess.run(
        ["make", "-s", "help"], cwd=repository, capture_output=True, text=True, check=True
    ).stdout
    assert {line.split()[1] for line in shown.splitlines()} == set(phony[1].split())


def test_setup_without_apt_says_what_is_needed(repository: Path, tmp_path: Path) -> None:
    for tool in ("sh", "dirname", "python3", "env"):
        (tmp_path / tool).symlink_to(
            subprocess.run(["which", tool], capture_output=True, text=True).stdout.strip()
        )
    done = subprocess.run(
        [str(tmp_path / "sh"), str(repository / "scripts" / "setup.sh"), str(tmp_path / "venv")],
        env={"PATH": str(tmp_path), "PYTHON": sys.executable},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "no apt-get" in done.stderr
    for package in ("gcc-arm-none-eabi", "libnewlib-arm-none-eabi", "qemu-system-arm", "gcc"):
        assert package in done.stderr
    assert not (tmp_path / "venv").exists()
