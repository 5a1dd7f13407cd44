"""The page that holds the benchmarks' tables, each between markers of its own."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def write_results(file: Path, record: dict[str, Any], with_table: Callable[[str], str]) -> None:
    """Writes the record as JSON, and the page as `with_table` makes it from what it was."""
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(record, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(with_table(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


def with_block(page: str, name: str, block: str) -> str:
    """The page with the text between the markers of `name` replaced; ValueError without them."""
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise ValueError(f"{PAGE}: no lines '{first}' and '{last}'")
    return f"{before}{begin}\n{block}\n{end}{after}"
