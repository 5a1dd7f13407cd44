"""The software bill of materials of the wheel, CycloneDX JSON, from pyproject.toml and requirements.lock.

The same files give the same bytes. What an extra brings has the scope "optional"; what only the development
needs is left out.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rnnpool_mcu import __version__

ROOT = Path(__file__).resolve().parents[1]
_NAME = re.compile(r"[A-Za-z0-9._-]+")
_DEVELOPMENT = ("dev",)


def bill_of_materials(root: Path = ROOT) -> dict[str, Any]:
    """The bill as a JSON object."""
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    pins = _pins(root)
    scopes = {_plain(name): "optional" for extra in _extras(project) for name in extra}
    scopes |= {_plain(name): "required" for name in project["dependencies"]}
    own = _reference(project["name"], __version__)
    components = [_component(name, pins.get(name), scope) for name, scope in sorted(scopes.items())]
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "application",
                "bom-ref": own,
                "name": project["name"],
                "version": __version__,
                "purl": own,
                "licenses": [{"license": {"id": project["license"]}}],
            }
        },
        "components": components,
        "dependencies": [
            {"ref": own, "dependsOn": [component["bom-ref"] for component in components]},
        ],
    }


def _extras(project: dict[str, Any]) -> list[list[str]]:
    extras = project["optional-dependencies"]
    return [requirements for name, requirements in extras.items() if name not in _DEVELOPMENT]


def _pins(root: Path) -> dict[str, str]:
    lines = (root / "requirements.lock").read_text(encoding="utf-8").splitlines()
    pairs = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {_plain(name): version for name, version in pairs}


def _plain(requirement: str) -> str:
    """A requirement's name as registries compare names."""
    found = _NAME.match(requirement)
    assert found is not None, requirement
    return re.sub(r"[-_.]+", "-", found[0]).lower()


def _component(name: str, version: str | None, scope: str) -> dict[str, Any]:
    """`version` is None for packages that are not locked, since no target installs them."""
    reference = _reference(name, version)
    found = {"type": "library", "bom-ref": reference, "name": name, "scope": scope, "purl": reference}
    return found if version is None else {**found, "version": version}


def _reference(name: str, version: str | None) -> str:
    return f"pkg:pypi/{name}" if version is None else f"pkg:pypi/{name}@{quote(version)}"


def main() -> None:
    """Write the bill to the file that is given, or to the standard output."""
    text = json.dumps(bill_of_materials(), indent=2) + "\n"
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text, encoding="utf-8")
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
