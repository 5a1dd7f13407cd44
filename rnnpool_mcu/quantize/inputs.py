"""What sets a float torch model's activation ranges: tensors, a data loader, a folder or a file of arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.source import AS_IT_IS, InputForm
from rnnpool_mcu.quantize.samples import Samples, samples_from

WANTED = (
    "give typical inputs of the model: a float tensor [N, C, H, W], an iterable of such batches, a uint8 "
    "array of pictures [N, H, W, C], a folder of pictures, or a file of arrays (.npy, .npz, .csv)"
)


def calibration_inputs(
    given: Any, shape: Sequence[int], count: int = 64, seed: int = 0
) -> tuple[Samples, str]:
    """At most `count` inputs in the graph's order, for a program whose input has the shape; and their origin.

    A uint8 array holds pictures [N, H, W, C], and like those of a folder they enter as pixel / 255. Raises
    UsageError when there is none, or one of another shape, or with values that are not finite.
    """
    form = InputForm(tuple(shape))
    if given is None:
        raise UsageError(f"calibration: none given for a float model; {WANTED}")
    if isinstance(given, (str, Path)):
        return samples_from(Path(given), form, count, seed, AS_IT_IS)
    if isinstance(given, np.ndarray) and given.dtype == np.uint8 and given.ndim == 4 and len(given):
        if tuple(given.shape[1:]) != form.size:
            raise UsageError(
                f"calibration: pictures {list(given.shape[1:])}, the model takes {list(form.size)} (height, "
                f"width, channels); {WANTED}"
            )
        return given[:count], f"{min(count, len(given))} pictures given"
    found = list(islice(_singles(given), count))
    if not found:
        raise UsageError(f"calibration: it is empty; {WANTED}")
    for at, single in enumerate(found):
        _check(single, tuple(shape), at)
    return np.stack([form.to_graph(single.numpy()) for single in found]), f"{len(found)} inputs given"


def _singles(given: Any) -> Iterator[Tensor]:
    """One input after another, [1, ...] each."""
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
