"""The house's limits: short files, short functions, folders that one looks over, no import circle.

What may import what stands in pyproject.toml and is held by import-linter, in `make lint`.
"""

from __future__ import annotations

import ast
import graphlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

ROOMS = ("rnnpool_mcu", "tests", "scripts", "firmware", "codegen_templates", "examples")
SOURCES = (".py", ".c", ".h", ".cc", ".j2", ".sh", ".S")
FILE_LINES = 400
FUNCTION_LINES = 60
FILES_ON_A_FLOOR = 16

CATALOGUES = ("ops", "zoo", "cli", "examples/models")
"""Ends of folders that hold one file (or two) per operator, model or command: they may hold any number."""


def _files(root: Path, endings: tuple[str, ...] = ()) -> Iterator[Path]:
    """All files of the rooms, by name, without what tools leave behind."""
    for room in ROOMS:
        for path in sorted((root / room).rglob("*")):
            inside = path.relative_to(root).parts
            left_behind = any(
                part.startswith((".", "__pycache__")) or part.endswith("_out") for part in inside
            )
            if path.is_file() and not left_behind and (not endings or path.suffix in endings):
                yield path


@pytest.fixture(scope="module")
def sources(repository: Path) -> dict[str, str]:
    """Text by path from the root."""
    found = {path.relative_to(repository).as_posix(): path.read_text("utf-8")
             for path in _files(repository, SOURCES)}  # fmt: skip
    assert len(found) > 500  # the rooms are where this test looks
    return found


def test_files_are_short(sources: dict[str, str]) -> None:
    lines = {path: len(text.splitlines()) for path, text in sources.items()}
    assert not {path: count for path, count in lines.items() if count > FILE_LINES}


def test_python_functions_are_short(sources: dict[str, str]) -> None:
    found = {}
    for path, text in sources.items():
        if not path.endswith(".py"):
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                assert node.end_lineno is not None
                found[f"{path}:{node.lineno} {node.name}"] = node.end_lineno - node.lineno + 1
    assert not {where: count for where, count in found.items() if count > FUNCTION_LINES}


def test_c_functions_are_short(sources: dict[str, str]) -> None:
    found = {}
    for path, text in sources.items():
        if path.endswith((".c", ".h", ".cc", ".j2")):
            found |= {f"{path}:{line}": count for line, count in _c_blocks(text)}
    assert len(found) > 200
    assert not {where: count for where, count in found.items() if count > FUNCTION_LINES}


def _c_blocks(text: str) -> Iterator[tuple[int, int]]:
    """First line and length of each function in C, or a template of C: from `) {` or `{` alone to `}`, both
    at the left margin."""
    begun: int | None = None
    for number, line in enumerate(text.splitlines(), start=1):
        if line == "{" or (line.endswith(") {") and not line.startswith((" ", "\t", "}", "#"))):
            begun = number
        elif line.startswith("}") and begun is not None:
            yield begun, number - begun + 1
            begun = None


def test_functions_of_c_are_measured() -> None:
    assert list(_c_blocks("int a(void) {\n  b();\n}\n\nstatic int c(int d)\n{\n}\n")) == [(1, 3), (6, 2)]


def test_folders_can_be_looked_over(repository: Path) -> None:
    counted = (path for path in _files(repository) if path.name != "__init__.py")
    floors = Counter(path.parent.relative_to(repository).as_posix() for path in counted)
    catalogues = tuple(f"/{end}" for end in CATALOGUES)
    crowded = {floor: count for floor, count in floors.items() if count > FILES_ON_A_FLOOR}
    assert not {floor for floor in crowded if not f"/{floor}".endswith(catalogues)}


@pytest.mark.parametrize("page", ["docs/design.md", "CONTRIBUTING.md"])
def test_files_that_the_documents_send_to_are_there(repository: Path, page: str) -> None:
    """Of paths in code type, but those with a part in capitals, which stands for a name."""
    quoted = re.findall(r"`([\w./-]+/[\w./-]*)`", (repository / page).read_text("utf-8"))
    paths = [path for path in quoted if not re.search(r"\b[A-Z]{3,}\b|_NAME|NAME_", path)]
    assert len(paths) > 10
    places = (repository, repository / "rnnpool_mcu")
    assert not [path for path in paths if not any((place / path).exists() for place in places)]


def test_files_that_sources_speak_of_are_there(repository: Path, sources: dict[str, str]) -> None:
    """Of the package's own rooms, as docstrings and comments name them."""
    package = repository / "rnnpool_mcu"
    rooms = "|".join(sorted(path.name for path in package.iterdir() if path.is_dir()))
    named = re.compile(rf"(?<![\w/.-])(?:rnnpool_mcu/)?((?:{rooms})/[\w/]+\.(?:py|json))\b")
    found = {path: named.findall(text) for path, text in sources.items()}
    assert any(found.values())
    assert not {path: gone for path, names in found.items()
                if (gone := [name for name in names if not (package / name).is_file()])}  # fmt: skip


def test_no_module_imports_itself_by_way_of_others() -> None:
    """Modules and their packages' `__init__` too, which import-linter's contract leaves out."""
    graph = grimp.build_graph("rnnpool_mcu", exclude_type_checking_imports=True, cache_dir=None)
    assert len(graph.modules) > 200
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    graphlib.TopologicalSorter(imports).prepare()  # raises CycleError, which names the circle
