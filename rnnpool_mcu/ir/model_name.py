"""The name of a compiled model: prefix of its C symbols, name of its files and of its CMake target."""

from __future__ import annotations

import re
from functools import lru_cache

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.system.resources import firmware_dir, template_dir

STANDARD_HEADERS = frozenset(
    """
    assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg
    stdatomic stdbit stdbool stdckdint stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar
    wchar wctype alloca arm_acle endian features getopt malloc memory newlib strings unistd xlocale
    """.split()  # noqa: SIM905  a list of words
)
"""Headers of C, and those of C libraries that their own headers include by a bare name."""

CMAKE_TARGETS = frozenset(("all", "clean", "edit_cache", "help", "install", "preinstall", "rebuild_cache"))


def check_name(name: str, option: str = "--name") -> None:
    """Raises UsageError, which begins with `option`, unless a model may have that name."""
    if re.fullmatch(r"[a-z][a-z0-9_]*", name) is None:
        raise UsageError(f"{option} '{name}': is no C prefix; use a-z, 0-9 and _, a letter first, e.g. face")
    if name in CMAKE_TARGETS:
        raise UsageError(f"{option} '{name}': is a target of CMake's own; give another, e.g. {name}_model")
    if name in _headers():
        raise UsageError(
            f"{option} '{name}': {name}.h is a header that the C includes; give another, e.g. {name}_model"
        )


def default_name(stem: str) -> str:
    """The name of a model whose file has that stem: one that `check_name` takes."""
    name = re.sub(r"[^a-z0-9_]", "_", stem.lower())
    if not name.strip("_"):
        return "model"
    if not name[0].isalpha():
        name = f"model_{name.lstrip('_')}" if name.lstrip("_")[0].isdigit() else name.lstrip("_")
    return f"{name}_model" if name in _headers() | CMAKE_TARGETS else name


def printable(file_name: str) -> str:
    """A file's name as text that can be written anywhere: bytes that are no UTF-8 become `?`."""
    return file_name.encode("utf-8", "replace").decode("utf-8")


@lru_cache(maxsize=1)
def _headers() -> frozenset[str]:
    """Stems of all headers that generated sources or the firmware include."""
    templates = template_dir()
    files = [*templates.rglob("*.h"), *firmware_dir().rglob("*.h")]
    files += [*templates.glob("ops/*.c.j2"), *templates.glob("project/*.h.j2")]  # rendered as headers
    return STANDARD_HEADERS.union(file.name.split(".")[0] for file in files)
