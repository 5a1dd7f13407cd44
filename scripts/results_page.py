"""The page that holds the benchmarks' tables, each between markers of its own."""

from __future__ import annotations

from pathlib import Path

PAGE = Path(__file__).resolve().parents[1] / "docs" / "benchmarks.md"


def with_block(page: str, name: str, block: str) -> str:
    """The page with the text between the markers of `name` replaced; ValueError without them."""
    first, last = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, begin, rest = page.partition(first)
    _, end, after = rest.partition(last)
    if not (begin and end):
        raise ValueError(f"{PAGE}: no lines '{first}' and '{last}'")
    return f"{before}{begin}\n{block}\n{end}{after}"
