"""Files for CI: what they say, and what they refuse."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from click.testing import CliRunner

from rnnpool_mcu.cli import main
from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.toolchain.ci_files import RENODE, ci_file
from rnnpool_mcu.toolchain.project_files import write_project_files
from tests.firmware.conftest import FAKE, write_fake_project


@pytest.mark.parametrize(
    ("service", "path"), [("github", ".github/workflows/fake.yml"), ("gitlab", ".gitlab-ci.yml")]
)
def test_the_file_runs_the_folders_own_checks(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, service: str, path: str
) -> None:
    write_fake_project(tmp_path / "firmware" / "fake")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(main, ["export", "firmware/fake", "--ci", service])
    assert done.exit_code == 0, done.output
    text = (tmp_path / path).read_text()
    assert "make -C firmware/fake qemu" in text
    assert "firmware/fake/renode/fake.robot" in text and RENODE in text
    assert "{{" not in text and "{%" not in text and "\t" not in text
    again = CliRunner().invoke(main, ["export", "firmware/fake", "--ci", service])
    assert again.exit_code == 2 and "is there already" in again.output


def test_boards_without_a_platform_get_no_renode_job(tmp_path: Path) -> None:
    project = write_fake_project(tmp_path / "fake")
    write_project_files(project, dataclasses.replace(FAKE, board="mps2-an505"))
    for service in ("github", "gitlab"):
        assert "renode" not in ci_file(service, project, tmp_path)[1].replace("codegen", "")


def test_folders_elsewhere_and_odd_names_are_refused(tmp_path: Path) -> None:
    project = write_fake_project(tmp_path / "a b")
    with pytest.raises(UsageError, match="is not below"):
        ci_file("github", project, tmp_path / "other")
    with pytest.raises(UsageError, match="rename the folder"):
        ci_file("github", project, tmp_path)


def test_one_of_the_two_forms_is_asked_for(tmp_path: Path) -> None:
    project = write_fake_project(tmp_path / "fake")
    for options in ([], ["--onnx", "--ci", "github"]):
        done = CliRunner().invoke(main, ["export", str(project), *options])
        assert done.exit_code == 2 and "give --onnx or --ci" in done.output
    folder = CliRunner().invoke(main, ["export", str(project), "--onnx"])
    assert folder.exit_code == 2 and "is a folder" in folder.output
