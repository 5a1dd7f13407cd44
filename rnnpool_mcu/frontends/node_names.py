"""Names of graph nodes from the paths of the modules that made them: readable C identifiers."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Container, Sequence


def readable_names(paths: Sequence[str], taken: Sequence[str] = ()) -> list[str]:
    """One unique lower-case C identifier per dotted path, in order.

    1. A path is cut to its shortest prefix that no other path starts with: `stem` for `stem.0`.
    2. Anything that is no letter or digit becomes `_`; a leading digit gets `layer_` before it.
    3. A name that is taken gets `_2`, `_3`, ...
    """
    shared = Counter(prefix for path in paths for prefix in _prefixes(path))
    names: list[str] = []
    used = set(taken)
    for path in paths:
        unique = next((prefix for prefix in _prefixes(path) if shared[prefix] == 1), path)
        name = free_name(_identifier(unique), used)
        used.add(name)
        names.append(name)
    return names


def input_names(told: Sequence[str], single: str) -> tuple[str, ...]:
    """Names of a graph's inputs: `single` of one, else what the file calls them."""
    return (single,) if len(told) == 1 else tuple(readable_names([name.replace("/", "_") for name in told]))


def _prefixes(path: str) -> list[str]:
    """`a`, `a.b`, `a.b.c` of `a.b.c`."""
    parts = path.split(".")
    return [".".join(parts[: count + 1]) for count in range(len(parts))]


def _identifier(path: str) -> str:
    name = re.sub(r"[^a-z0-9]+", "_", path.lower()).strip("_") or "node"
    return f"layer_{name}" if name[0].isdigit() else name


def free_name(name: str, taken: Container[str]) -> str:
    """The name, numbered where it is taken."""
    found, count = name, 1
    while found in taken:
        count += 1
        found = f"{name}_{count}"
    return found
