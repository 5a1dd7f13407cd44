"""A streaming .tflite file to a proven project, and the loop around it that firmware has.

    python examples/streaming/example.py [-o FOLDER]

Needs the extra `tflite`, and gcc; the board's part needs arm-none-eabi-gcc and qemu-system-arm.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np

HERE = Path(__file__).parent
MODEL = HERE / "model.tflite"
BANDS = 16


def rnnpool_mcu(*arguments: object) -> None:
    """The command line, as one would type it; ends this program when it fails."""
    print("$ rnnpool-mcu", *arguments, flush=True)
    command = [sys.executable, "-m", "rnnpool_mcu", *map(str, arguments)]
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        raise SystemExit(code)


def frames() -> bytes:
    """90 frames of quiet noise, in which a tone rises from frame 20 on and another falls from frame 60 on."""
    found = np.random.default_rng(0).integers(0, 40, (90, BANDS), dtype=np.uint8)
    for frame in range(12):
        found[20 + frame, 2 + frame] = 250
        found[60 + frame, 13 - frame] = 250
    return found.tobytes()


def listen(project: Path) -> str:
    """Build main.c with the generated C and give it the frames; what it prints."""
    sources = [*(project / "src").glob("*.c"), *(project / "src" / "kernels").glob("*.c")]
    folders = [f"-I{project / 'src' / name}" for name in ("", "include", "kernels")]
    program = project / "listen"
    command = ["gcc", "-std=c99", "-O2", *folders, str(HERE / "main.c"), *map(str, sources)]
    subprocess.run([*command, "-o", str(program)], check=True)
    return subprocess.run([str(program)], input=frames(), capture_output=True, check=True).stdout.decode()


def main() -> None:
    """All steps in order."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("-o", "--out", type=Path, default=Path("streaming_out"))
    out = parser.parse_args().out
    rnnpool_mcu("compile", MODEL, "--ram", "4k", "--image", "streamed", "--name", "chirp", "-o", out)
    rnnpool_mcu("validate", out, "--source", MODEL, "--count", "40")
    print("$ gcc main.c chirp.c ...; ./listen < frames", flush=True)
    print(listen(out), end="")


if __name__ == "__main__":
    main()
