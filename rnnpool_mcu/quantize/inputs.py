"""What sets a float torch model's activation ranges: tensors, a data loader or a folder of pictures."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.quantize.calibration import as_batches, calibration_images
from rnnpool_mcu.quantize.quantizer import PIXELS

WANTED = (
    "give typical inputs of the model: a float tensor [N, C, H, W], an iterable of such batches, a uint8 "
    "array of pictures [N, H, W, C], or a folder of pictures"
)


def calibration_inputs(
    given: Any, shape: Sequence[int], count: int = 64, seed: int = 0
) -> tuple[list[Tensor], str]:
    """At most `count` inputs [1, ...] of the shape, and where they are from.

    A uint8 array holds pictures [N, H, W, C], and like those of a folder they enter as pixel / 255. Raises
    UsageError when there is none, or one of another shape, or with values that are not finite.
    """
    if given is None:
        raise UsageError(f"calibration: none given for a float model; {WANTED}")
    if isinstance(given, (str, Path)):
        folder = Path(given)
        images = calibration_images(folder, picture_size(shape), count, seed, "stretch")
        return list(as_batches(images)), f"{len(images)} images of {folder.name}"
    found = list(islice(_singles(given), count))
    if not found:
        raise UsageError(f"calibration: it is empty; {WANTED}")
    for at, single in enumerate(found):
        _check(single, tuple(shape), at)
    return found, f"{len(found)} inputs given"


def picture_size(shape: Sequence[int]) -> tuple[int, int, int]:
    """Height, width and channels of an input [1, C, H, W] that pictures can be."""
    if len(shape) != 4 or shape[1] not in (1, 3):
        raise UsageError(
            f"calibration: pictures for an input of {list(shape)}, allowed: [1, 1 or 3, height, width]; give "
            "tensors instead"
        )
    return shape[2], shape[3], shape[1]


def input_quantization(inputs: Sequence[Tensor]) -> tuple[float, int]:
    """Scale and zero point of the model's input: a camera's where all values are in 0..1."""
    low = min(0.0, *(float(single.min()) for single in inputs))
    high = max(0.0, *(float(single.max()) for single in inputs))
    if (low >= 0.0 and high <= 1.0) or low == high:
        return PIXELS
    scale = (high - low) / 255.0
    return scale, int(np.clip(round(-128 - low / scale), -128, 127))


def _singles(given: Any) -> Iterator[Tensor]:
    """One input after another, [1, ...] each."""
    if isinstance(given, np.ndarray) and given.dtype == np.uint8 and given.ndim == 4:
        yield from as_batches(given)
        return
    batches: Iterable[Any] = [given] if isinstance(given, (Tensor, np.ndarray)) else given
    if not isinstance(batches, Iterable):
        raise UsageError(f"calibration: {type(given).__name__}; {WANTED}")
    for batch in batches:
        first = batch[0] if isinstance(batch, (tuple, list)) and len(batch) else batch
        if not isinstance(first, (Tensor, np.ndarray)):
            raise UsageError(f"calibration: holds {type(first).__name__}; {WANTED}")
        tensor = torch.as_tensor(first).detach().cpu()
        if not tensor.is_floating_point():
            raise UsageError(f"calibration: a tensor of {tensor.dtype}; {WANTED}")
        yield from torch.split(tensor.float(), 1) if tensor.ndim and len(tensor) else ()


def _check(single: Tensor, shape: tuple[int, ...], at: int) -> None:
    if tuple(single.shape) != shape:
        raise UsageError(
            f"calibration: input {at} is {list(single.shape)}, the model takes {list(shape)}; {WANTED}"
        )
    if not bool(torch.isfinite(single).all()):
        raise UsageError(f"calibration: input {at} holds NaN or infinity; leave it out")
