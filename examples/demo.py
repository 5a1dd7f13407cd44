"""The demo: the shipped face detector becomes firmware, and the emulated board finds faces in a photograph.

    python examples/demo.py [--image photo.jpg] [--out demo_out]

It runs three commands that can as well be typed, and prints them.
"""

from __future__ import annotations

import argparse
import shlex
import subprocess
import sys
from pathlib import Path

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.system.images import read_image

MODEL = Path(__file__).parent / "models" / "face_m4.pt"


def rnnpool_mcu(*arguments: str | Path) -> None:
    """Runs one command of rnnpool-mcu, and ends the demo with its exit code when it fails."""
    words = [str(argument) for argument in arguments]
    print(f"\n$ rnnpool-mcu {shlex.join(words)}", flush=True)
    code = subprocess.run([sys.executable, "-m", "rnnpool_mcu", *words], check=False).returncode
    if code != 0:
        sys.exit(code)


def default_photo(out: Path) -> Path:
    """scikit-image's portrait of an astronaut, written into `out`."""
    from PIL import Image
    from skimage.data import astronaut

    path = out / "astronaut.png"
    Image.fromarray(astronaut()).save(path)
    return path


def main() -> None:
    """Compile, run on the emulated board, show what was measured."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--image", type=Path, help="a photograph of your own")
    parser.add_argument("--out", type=Path, default=Path("demo_out"), help="folder to write")
    options = parser.parse_args()
    try:
        if options.image is not None:
            read_image(options.image)  # before anything that takes time
        options.out.mkdir(parents=True, exist_ok=True)
    except (UsageError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(UsageError.exit_code)
    photo = options.image or default_photo(options.out)
    firmware = options.out / "firmware"
    rnnpool_mcu("compile", "-q", MODEL, "--ram", "256k", "--name", "face", "-o", firmware)
    rnnpool_mcu("run", firmware, photo, "-o", options.out / "photo_boxes.png")
    rnnpool_mcu("report", firmware)
    print(f"The picture with its boxes: {options.out / 'photo_boxes.png'}")


if __name__ == "__main__":
    main()
