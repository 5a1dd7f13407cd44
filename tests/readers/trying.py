"""One reader over one changed file: what is foreign in how it ends."""

from __future__ import annotations

import resource
import signal
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rnnpool_mcu.errors import ModelError, UserError
from rnnpool_mcu.ops.graph_file import FILE_NAME
from tests.readers.readers import Reader

OWN = (FILE_NAME, "project.json", "report.json")
"""Files that this package wrote: damaged ones are exit code 3."""
MOST_SECONDS = 20
MOST_BYTES = 1 << 30


class TooLong(BaseException):
    """Of no kind that a reader would catch."""


@dataclass(frozen=True)
class Found:
    """A changed file that brought something foreign."""

    number: int  # of the seed's changes
    told: str
    data: bytes


def try_reader(reader: Reader, parent: Path, seed: int, numbers: range) -> list[Found]:
    """What some of a seed's changes bring; files stand in a folder below `parent`."""
    folder = parent / "mps2-an386"  # the board's name
    place = folder / reader.name
    place.parent.mkdir(parents=True, exist_ok=True)
    sound, mutate = reader.sample(), reader.mutate()
    place.write_bytes(sound)
    reader.read(folder)  # the sample itself is taken
    before = signal.signal(signal.SIGALRM, _alarm)
    found = []
    try:
        for number in numbers:
            data = mutate(sound, np.random.default_rng([seed, number]))
            place.write_bytes(data)
            if (told := _foreign(reader, folder)) is not None:
                found.append(Found(number, told, data))
    finally:
        signal.signal(signal.SIGALRM, before)
    return found


def _alarm(*_: Any) -> None:
    raise TooLong


def _foreign(reader: Reader, folder: Path) -> str | None:
    """What a reader raised that is no error of ours, or that it took too much."""
    peak = _peak_bytes()
    signal.alarm(MOST_SECONDS)
    try:
        reader.read(folder)
    except UserError as error:
        if not isinstance(error, ModelError) and reader.name in OWN:
            return f"exit code {error.exit_code}: {error}"
    except (Exception, TooLong) as error:
        trace = error.__traceback__
        while trace is not None and trace.tb_next is not None:
            trace = trace.tb_next
        place = "" if trace is None else f"{trace.tb_frame.f_code.co_filename}:{trace.tb_lineno}"
        return f"{type(error).__name__}: {str(error)[:150]} at {place}"
    finally:
        signal.alarm(0)
    if _peak_bytes() - peak > MOST_BYTES:
        return f"took {_peak_bytes() - peak:,} bytes"
    return None


def _peak_bytes() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
