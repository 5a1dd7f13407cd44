"""A Keras model to a proven project: train, save, compile with pictures for calibration, compare, run.

    python examples/keras/example.py [-o FOLDER]

Needs the extras `tensorflow` and `tflite`; the board's part needs arm-none-eabi-gcc and qemu-system-arm.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIZE, CLASSES = 24, 3
SHOWN = 8  # pictures that the compiled model is asked about


def pictures(count: int, seed: int) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Noise with a square that is red, green or blue, and which of them it is."""
    random = np.random.default_rng(seed)
    images = random.integers(0, 120, (count, SIZE, SIZE, 3))
    labels = random.integers(0, CLASSES, count)
    for image, label in zip(images, labels, strict=True):
        top, left = random.integers(0, SIZE - 10, 2)
        image[top : top + 10, left : left + 10, label] += 110
    return images.astype(np.uint8), labels


def trained_model():  # type: ignore[no-untyped-def]
    """A small network of separable convolutions, trained for some seconds; it takes pixels / 255."""
    try:
        from tensorflow import keras
    except ImportError:
        raise SystemExit("tensorflow is not installed; pip install 'rnnpool-mcu[tensorflow]'") from None
    keras.utils.set_random_seed(1)
    layers = keras.layers
    model = keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            layers.Conv2D(8, 3, 2, "same", activation="relu"),
            layers.DepthwiseConv2D(3, padding="same", use_bias=False),
            layers.BatchNormalization(),
            layers.ReLU(6.0),
            layers.Conv2D(16, 1, activation="relu"),
            layers.MaxPooling2D(2),
            layers.GlobalAveragePooling2D(),
            layers.Dense(CLASSES),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    images, labels = pictures(1200, seed=0)
    model.fit(images / np.float32(255), labels, epochs=6, verbose=2)
    return model


def rnnpool_mcu(*arguments: object) -> None:
    """The command line, as one would type it; ends this program when it fails."""
    print("$ rnnpool-mcu", *arguments, flush=True)
    command = [sys.executable, "-m", "rnnpool_mcu", *map(str, arguments)]
    code = subprocess.run(command, check=False).returncode
    if code != 0:
        raise SystemExit(code)


def saved_pictures(folder: Path, images: NDArray[np.uint8]) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    files = [folder / f"{index}.png" for index in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    return files


def main() -> None:
    """All steps in order."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("-o", "--out", type=Path, default=Path("keras_out"))
    out = parser.parse_args().out
    work = out.with_name(f"{out.name}_model")
    model = trained_model()
    saved_pictures(work / "calibration", pictures(32, seed=1)[0])
    model.save(work / "model.keras")
    calibration = ("--calibration", work / "calibration")
    rnnpool_mcu("compile", work / "model.keras", *calibration, "--ram", "32k", "--name", "net", "-o", out)
    rnnpool_mcu("validate", out, "--images", work / "calibration", "--count", "4")

    images, _ = pictures(SHOWN, seed=2)
    expected = model.predict(images / np.float32(255), verbose=0).argmax(axis=1)
    found = []
    for file in saved_pictures(work / "shown", images):
        rnnpool_mcu("run", out, file, "--engine", "c", "--json", work / "result.json")
        found.append(json.loads((work / "result.json").read_text())["top1"])
    print(f"same class as Keras on {int((np.array(found) == expected).sum())} of {SHOWN} pictures")


if __name__ == "__main__":
    main()
