"""MLPerf Tiny's trained int8 files to proven firmware: RAM, instructions, agreement with TFLite.

    python examples/mlperf_tiny/example.py FOLDER [-o OUT] [--count 4]

FOLDER holds your copies of the benchmark's files (mlcommons/tiny, benchmark/training/*/trained_models); those
that are there are compiled. Needs the extra `tflite`, arm-none-eabi-gcc and qemu-system-arm.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

FILES = {
    "ad01_int8.tflite": "anomaly detection",
    "kws_ref_model.tflite": "keyword spotting",
    "pretrainedResnet_quant.tflite": "image classification",
    "vww_96_int8.tflite": "visual wake words",
    "str_ww_ref_model.tflite": "streaming wake word",
}
BUDGET = "256k"


def rnnpool_mcu(*arguments: object) -> None:
    """The command line, as one would type it; ends this program when it fails."""
    print("$ rnnpool-mcu", *arguments, flush=True)
    command = [sys.executable, "-m", "rnnpool_mcu", *map(str, arguments)]
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        raise SystemExit(code)


def measure(file: Path, out: Path, count: int) -> str:
    """Compile a file, compare C, firmware and the interpreter, and tell in a row of a table."""
    checked = out.with_name(f"{out.name}.json")
    rnnpool_mcu("compile", file, "--ram", BUDGET, "-o", out, "-q")
    rnnpool_mcu("validate", out, "--source", file, "--count", count, "--json", checked, "-q")
    report: dict[str, Any] = json.loads((out / "report.json").read_text(encoding="utf-8"))
    compared = json.loads(checked.read_text(encoding="utf-8"))["source"]
    worst = max(abs(int(steps)) for layer in compared["layers"] for steps in layer["alone"])
    ram, flash = report["ram"], report["flash"]
    sizes = (ram["total_bytes"], ram["arena_bytes"], flash["total_bytes"])
    figures = (*sizes, report["macs"], report["instructions"], worst)
    return f"| {FILES[file.name]} | {' | '.join(f'{figure:,}' for figure in figures)} |"


def main() -> None:
    """Every file that is there."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("-o", "--out", type=Path, default=Path("mlperf_out"))
    parser.add_argument("--count", type=int, default=4)
    arguments = parser.parse_args()
    files = [arguments.folder / name for name in FILES if (arguments.folder / name).is_file()]
    if not files:
        parser.error(f"{arguments.folder} holds none of {', '.join(FILES)}")
    arguments.out.mkdir(parents=True, exist_ok=True)
    rows = [measure(file, arguments.out / file.stem, arguments.count) for file in files]
    print("| task | RAM | arena | flash | multiply-accumulates | instructions | steps from TFLite |")
    print("|---|---|---|---|---|---|---|")
    print("\n".join(rows))


if __name__ == "__main__":
    main()
