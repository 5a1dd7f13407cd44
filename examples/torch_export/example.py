"""A module of plain torch to a proven project: quantize, save, compile, compare with torch, run.

    python examples/torch_export/example.py [-o FOLDER]

Needs the extra `torch`; the board's part needs arm-none-eabi-gcc and qemu-system-arm.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import torch
from torch import Tensor, nn

import rnnpool_mcu

SIZE = 32  # rows and columns of the image


class Block(nn.Module):
    """A residual of a depthwise separable convolution, with a gate for each channel."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Sequential(
            nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False),
            nn.BatchNorm2d(channels),
            nn.Hardswish(inplace=True),
        )
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(channels, channels, 1), nn.Hardsigmoid())
        self.pointwise = nn.Conv2d(channels, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[1, channels, height, width] to the same."""
        wide = self.depthwise(x)
        return x + self.pointwise(wide * self.gate(wide))


class Net(nn.Module):
    """Ten classes of RGB images [1, 3, 32, 32], pixel / 255."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1), nn.ReLU(), nn.MaxPool2d(2))
        self.blocks = nn.Sequential(Block(16), Block(16))
        self.head = nn.Sequential(nn.Flatten(), nn.Dropout(0.2), nn.Linear(16 * 8 * 8, 10))

    def forward(self, x: Tensor) -> Tensor:
        """Logits [1, 10]."""
        return self.head(self.blocks(self.stem(x)))


def main() -> None:
    """All steps in order."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("-o", "--out", type=Path, default=Path("torch_export_out"))
    out = parser.parse_args().out

    torch.manual_seed(0)  # random weights: train your own here
    images = torch.rand(16, 3, SIZE, SIZE)  # typical inputs of the model: pictures in earnest
    program = rnnpool_mcu.quantize_module(Net(), images[:1], images)
    file = out.with_suffix(".pt2")
    file.parent.mkdir(parents=True, exist_ok=True)
    torch.export.save(program, file)

    compiled = rnnpool_mcu.compile(program, ram="32k", out=out, name="net")
    (logits,) = compiled.predict(images[:1].numpy())
    print(f"{compiled.ram_bytes} bytes of RAM; class {logits.argmax()} for the first image")
    command = [sys.executable, "-m", "rnnpool_mcu", "validate", out, "--source", file, "--count", "4"]
    raise SystemExit(subprocess.run(list(map(str, command)), check=False).returncode)


if __name__ == "__main__":
    main()
