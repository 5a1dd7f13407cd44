"""A quantized .onnx file to a proven project: compile, compare with ONNX Runtime, run.

    python examples/onnx/example.py [-o FOLDER]

Needs the extra `onnx`; the board's part needs arm-none-eabi-gcc and qemu-system-arm.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

MODEL = Path(__file__).with_name("model.onnx")


def rnnpool_mcu(*arguments: object) -> None:
    """The command line, as one would type it; ends this program when it fails."""
    print("$ rnnpool-mcu", *arguments, flush=True)
    command = [sys.executable, "-m", "rnnpool_mcu", *map(str, arguments)]
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        raise SystemExit(code)


def main() -> None:
    """All steps in order."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("-o", "--out", type=Path, default=Path("onnx_out"))
    out = parser.parse_args().out
    rnnpool_mcu("compile", MODEL, "--ram", "32k", "--name", "net", "-o", out)
    rnnpool_mcu("validate", out, "--source", MODEL, "--count", "4")


if __name__ == "__main__":
    main()
