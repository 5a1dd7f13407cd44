"""Faults of the machine around one command: each wraps it, and says with which exit codes it may end."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from tests.soak.networks.network import Random

OK, FILES, TOOL = 0, 2, 6
INTERRUPTED, ENDED, KILLED = (130, -signal.SIGINT), (143, -signal.SIGTERM), -signal.SIGKILL
"""By the command's guard, or by the signal itself before that stands."""
NEEDED_BYTES = 3 << 20  # of the command's files, about: a disk of that size is not full
TOOLS = ("gcc", "arm-none-eabi-gcc", "make", "qemu-system-arm", "arm-none-eabi-objdump", "arm-none-eabi-nm")


@dataclass(frozen=True)
class Fault:
    """What is wrong with the machine."""

    name: str
    allowed: tuple[int, ...]
    shell: str = ""  # run before the command, in a mount namespace of its own
    environment: Mapping[str, str] = field(default_factory=dict)
    signal: int = 0  # sent to the command at a random moment
    out: bytes = b"out"  # the output's name
    leaves: bool = False  # nothing can be tidied up behind it


Make = Callable[[Random, Path], Fault | None]


def full_disk(rng: Random, work: Path) -> Fault | None:
    """The disk of outputs, of temporary files, or both, with room for a part of them."""
    places = [[work], [work / "tmp"], [work, work / "tmp"]][rng.integers(3)]
    room = int(rng.integers(1, NEEDED_BYTES >> 10)) if rng.random() < 0.9 else NEEDED_BYTES >> 9
    return _mounted("full disk", f"size=$(($(du -sk . | cut -f1) + {room}))k", places)


def few_files(rng: Random, work: Path) -> Fault | None:
    """A disk that takes few more files, whatever their size."""
    room = int(rng.integers(4, 200))
    return _mounted("no more files", f"nr_inodes=$(($(find . | wc -l) + {room}))", [work])


def read_only(rng: Random, work: Path) -> Fault | None:
    """Outputs, or temporary files, cannot be written."""
    if not can_mount():
        return None
    place = shlex.quote(str([work, work / "tmp"][rng.integers(2)]))
    shell = f"mount --bind {place} {place} && mount -o remount,ro,bind {place}"
    return Fault("read-only", (OK, FILES), shell)


def _mounted(name: str, limit: str, places: list[Path]) -> Fault | None:
    """A file system of its own at each place, which begins with what is in the folder; `limit` is a word of
    the shell in that folder."""
    if not can_mount():
        return None
    lines = []
    for place in places:
        given, aside = shlex.quote(str(place)), shlex.quote(f"{place}.aside")
        lines += [f"mkdir {aside}", f"mount --bind {given} {aside}", f"cd {given}"]
        lines += [f"mount -t tmpfs -o {limit} none {given}", f"cp -a {aside}/. {given}/"]
    return Fault(name, (OK, FILES), " && ".join([*lines, "cd /"]))


def interrupt(*_: object) -> Fault:
    """Ctrl-C at any moment, the first second included."""
    return Fault("interrupt", (OK, *INTERRUPTED), signal=signal.SIGINT)


def terminate(*_: object) -> Fault:
    """SIGTERM at any moment."""
    return Fault("terminate", (OK, *ENDED), signal=signal.SIGTERM)


def power_off(*_: object) -> Fault:
    """SIGKILL: what stands must be whole still."""
    return Fault("kill", (OK, KILLED), signal=signal.SIGKILL, leaves=True)


def missing_tools(rng: Random, work: Path) -> Fault:
    """One or several of the tools are not installed."""
    missing = {TOOLS[i] for i in rng.permutation(len(TOOLS))[: rng.integers(1, 4)]}
    folder = work.parent / "bin"
    folder.mkdir()
    for place in os.environ["PATH"].split(os.pathsep):
        for tool in Path(place).iterdir() if Path(place).is_dir() else ():
            if tool.name not in missing and not (folder / tool.name).exists():
                (folder / tool.name).symlink_to(tool)
    return Fault(f"without {', '.join(sorted(missing))}", (OK, TOOL), environment={"PATH": str(folder)})


def broken_tool(rng: Random, work: Path) -> Fault:
    """A tool that fails at once, or says nothing."""
    folder = work.parent / "bin"
    folder.mkdir()
    name, code = TOOLS[rng.integers(len(TOOLS))], int(rng.choice([0, 1, 127, 139]))
    (folder / name).write_text(f"#!/bin/sh\nexit {code}\n")
    (folder / name).chmod(0o755)
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return Fault(f"{name} gives {code}", (OK, 1, FILES, 5, TOOL), environment={"PATH": path})


def odd_locale(rng: Random, _: Path) -> Fault:
    """A plain or unknown locale, and an output whose name is no UTF-8, or odd."""
    locale = str(rng.choice(["POSIX", "C", "tr_TR.UTF-8", "xx_XX", "", "en_US.ISO-8859-1"]))
    plain = {"LC_ALL": locale, "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": str(rng.integers(2))}
    names = [
        b"out",
        b"\xff\xfe",
        "schräg".encode(),
        b"with a space",
        b"-o",
        b"a'b\"c",
        b"x" * 200,
        b"$HOME",
    ]
    return Fault("odd locale", (OK, FILES), environment=plain, out=names[rng.integers(len(names))])


FAULTS: tuple[Make, ...] = (
    full_disk,
    few_files,
    read_only,
    interrupt,
    terminate,
    power_off,
    missing_tools,
    broken_tool,
    odd_locale,
)


@cache
def can_mount() -> bool:
    """Whether this user may have file systems of its own."""
    if shutil.which("unshare") is None:
        return False
    trial = ["unshare", "--mount", "sh", "-c", "mount -t tmpfs none /mnt"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0
