"""Ready files for continuous integration: a compiled folder on QEMU and Renode at every push."""

from __future__ import annotations

from pathlib import Path

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.toolchain.board import board_of
from rnnpool_mcu.toolchain.project_files import project_environment

SERVICES = {"github": ".github/workflows/{name}.yml", "gitlab": ".gitlab-ci.yml"}
"""Where a service looks for its file, from the root of the repository."""
RENODE = "1.15.3"
_PACKAGES = "gcc-arm-none-eabi libnewlib-arm-none-eabi"


def ci_file(service: str, project: Path, root: Path) -> tuple[Path, str]:
    """Path below `root` and text of the file for one of SERVICES; `project` is a compiled folder below it.

    UsageError where it lies elsewhere, or has a name that a shell would take apart.
    """
    described = Project.load(project)
    try:
        folder = project.resolve().relative_to(root.resolve())
    except ValueError:
        raise UsageError(
            f"{project}: is not below {root.resolve()}; run this in the root of the repository that holds it"
        ) from None
    if not all(part.replace("-", "").replace("_", "").replace(".", "").isalnum() for part in folder.parts):
        raise UsageError(f"{folder}: allowed in its path: letters, digits, -, _ and .; rename the folder")
    runs_on = board_of(project, described.board).runs_on
    text = (
        project_environment()
        .get_template(f"ci_{service}.yml.j2")
        .render(
            name=described.name,
            folder=folder.as_posix(),
            packages=_PACKAGES,
            renode=RENODE if "renode" in runs_on else None,
        )
    )
    return root / SERVICES[service].format(name=described.name), text
