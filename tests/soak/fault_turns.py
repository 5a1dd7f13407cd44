"""Turns of faults: a compile on a faulty machine; nothing is lost, half-written or running still."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from contextlib import suppress
from functools import cache
from pathlib import Path

import numpy as np

from rnnpool_mcu.ir.project import Project
from rnnpool_mcu.report import read_report
from rnnpool_mcu.report.provenance import file_sha256
from tests.soak.activities import Failure, Outcome, Turn, again
from tests.soak.faults import FAULTS, Fault
from tests.soak.networks.network import Random
from tests.tflite_writer import Writer

ROOT = Path(__file__).resolve().parents[2]
MOST_SECONDS = 120
MOST_TO_END = 10  # behind a signal, on a busy machine
MARK = "SOAK_FAULT"
MODEL = "net.tflite"


def turn(given: Turn) -> Outcome:
    """One fault, with the sound result beside it where there is none yet."""
    rng = np.random.default_rng(given.seed)
    sound = _sound(given)
    work = given.folder / "work"
    (work / "tmp").mkdir(parents=True)
    (work.parent / "after").mkdir()
    (work / MODEL).write_bytes(_model())
    make = FAULTS[rng.integers(len(FAULTS))]
    fault, kind = make(rng, work), make.__name__.replace("_", " ")
    if fault is None:
        return Outcome({"not to be had on this machine": 1})
    had = fault.out == b"out" and rng.random() < 0.5
    if had:
        shutil.copytree(sound, work / "out")
    code, said, seconds = _run(fault, work, rng, _usual_seconds(sound))
    if fault.shell:
        work = work.parent / "after"  # its own file systems are gone
    bad = wrong(fault, work, code, said, had)
    if fault.signal and seconds > MOST_TO_END:
        bad.append("ended late")
    counts = Counter({"faults": 1, f"of {kind}": 1, f"ended with {code}": 1})
    if not bad:
        return Outcome(counts)
    words = f"{fault}, a former output: {had}, code {code} after {seconds:.1f} s: {'; '.join(bad)}\n{said}"
    files = {"case.py": again("faults", given.seed).encode()}
    return Outcome(counts, failures=(Failure(f"{kind}: {bad[0][:80]}", words, files),))


@cache
def _model() -> bytes:
    """A small one: most of the time goes to what is the same for each."""
    w = Writer()
    return w.finish(w.dense(w.view(w.input(4, 4, 1), 1, 16), 3))


def _sound(given: Turn) -> Path:
    """A compiled folder without any fault, made once."""
    folder = given.kept.parent / "sound"
    if not (folder / "seconds").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "tmp").mkdir(parents=True)
        (folder / MODEL).write_bytes(_model())
        code, said, seconds = _run(Fault("none", (0,)), folder, np.random.default_rng(0), 1.0)
        assert code == 0 and not not_whole(folder / "out"), said
        (folder / "seconds").write_text(str(seconds))
    return folder / "out"


def _usual_seconds(sound: Path) -> float:
    return float((sound.parent / "seconds").read_text())


def _run(fault: Fault, work: Path, rng: Random, usual: float) -> tuple[int, str, float]:
    """Exit code, what was said, and seconds of `compile` under a fault."""
    out = os.fsencode(work) + b"/" + fault.out
    command: list[str | bytes] = [sys.executable, "-m", "rnnpool_mcu", "compile", str(work / MODEL)]
    command += ["--ram", "64k", "--check" if rng.random() < 0.3 else "--no-check", "-o", out]
    if fault.shell:
        kept = f"cp -a {shlex.quote(str(work))}/. {shlex.quote(str(work.parent))}/after"
        script = f'{fault.shell}; "$@"; code=$?; {kept}; exit $code'
        command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    marked = {MARK: work.parent.name, "TMPDIR": str(work / "tmp"), "PYTHONPATH": str(ROOT)}
    begun = time.monotonic()
    with subprocess.Popen(
        command, env=os.environ | fault.environment | marked, cwd=work.parent, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler) and None,
    ) as process:  # fmt: skip
        try:
            if fault.signal:
                with suppress(subprocess.TimeoutExpired):
                    process.wait(float(rng.uniform(0, 1.1 * usual)))
                process.send_signal(fault.signal)
                begun = time.monotonic()
            said = process.communicate(timeout=MOST_SECONDS)[0].decode("utf-8", "replace")
        except subprocess.TimeoutExpired:
            process.kill()
            said = f"no end after {MOST_SECONDS} s"
    return process.returncode, said[-3000:], time.monotonic() - begun


def wrong(fault: Fault, work: Path, code: int, said: str, had: bool) -> list[str]:
    """Everything that is not as it should be, the worst first."""
    found = [] if code in fault.allowed else [f"exit code {code}"]
    if "Traceback" in said:
        found.append("a traceback")
    if code and not said.strip() and not fault.signal:
        found.append("no word about what is wrong")
    if not fault.leaves and _running(work.parent.name):
        found.append("programs still run")
    if (work / MODEL).read_bytes() != _model():
        found.append("the model is another")
    out = Path(os.fsdecode(os.fsencode(work) + b"/" + fault.out))
    if out.exists():
        found += not_whole(out)
    elif had:
        found.append("the former output is gone")
    elif code == 0:
        found.append("no output, and no word of it")
    if not fault.leaves:
        found += _left(work, out)
    return found


def not_whole(out: Path) -> list[str]:
    """What is wrong with a compiled folder."""
    try:
        files = read_report(out)["provenance"]["files"]
        Project.load(out)
        return [f"{name} is another" for name, digest in files.items() if file_sha256(out / name) != digest]
    except Exception as error:
        return [f"the output is not whole: {type(error).__name__}: {error}"]


def _left(work: Path, out: Path) -> list[str]:
    expected = {MODEL, "tmp", out.name, "tmp.aside"}
    beside = [path.name for path in work.iterdir() if path.name not in expected]
    behind = [path.name for path in (work / "tmp").iterdir()]
    return [f"left behind: {', '.join(found)}" for found in (beside, behind) if found]


def _running(mark: str) -> bool:
    """Whether any program that a turn started is there still; one that was killed takes a moment."""
    wanted = f"{MARK}={mark}".encode()
    for _ in range(20):
        if not any(wanted in _environment(path) for path in Path("/proc").glob("[0-9]*")):
            return False
        time.sleep(0.05)
    return True


def _environment(process: Path) -> bytes:
    try:
        return (process / "environ").read_bytes()
    except OSError:
        return b""
