"""Turns of readers: changed files of one reader for as long as a turn takes, each read to its end."""

from __future__ import annotations

import time

from tests.readers.readers import READERS, Reader
from tests.readers.trying import Found, try_reader
from tests.soak.activities import Failure, Outcome, Turn

AT_ONCE = 20


def turn(given: Turn) -> Outcome:
    """One reader, chosen by the seed."""
    reader = READERS[given.seed % len(READERS)]
    ends, tried, found = time.monotonic() + given.seconds, 0, list[Found]()
    while time.monotonic() < ends:
        found += try_reader(reader, given.folder, given.seed, range(tried, tried + AT_ONCE))
        tried += AT_ONCE
    counts = {"changed files": tried, f"of {reader.name}": tried, "foreign": len(found)}
    return Outcome(counts, failures=tuple(_failure(reader, given.seed, one) for one in found))


def _failure(reader: Reader, seed: int, found: Found) -> Failure:
    """The changed file, and a script that reads it again."""
    text = (
        "import tempfile\nfrom pathlib import Path\n\n"
        "from tests.readers.readers import READERS\nfrom tests.readers.trying import try_reader\n\n"
        f"reader = next(one for one in READERS if one.name == {reader.name!r})\n"
        f"numbers = range({found.number}, {found.number + 1})\n"
        f"print(try_reader(reader, Path(tempfile.mkdtemp()), {seed}, numbers))\n"
    )
    kind = f"{reader.name}: {found.told.partition(' at ')[0][:60]} {found.told.rpartition('/')[2]}"
    files = {"case.py": text.encode(), "changed": found.data}
    return Failure(kind, f"{seed} {found.number}: {found.told}", files)
