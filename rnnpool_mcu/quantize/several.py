"""What sets the ranges of a float model that takes several tensors: one of each, over and over."""

from __future__ import annotations

import zipfile
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rnnpool_mcu.errors import UsageError
from rnnpool_mcu.ir.source import InputForm
from rnnpool_mcu.system.arrays import open_arrays

Sample = tuple[NDArray[np.float32], ...]
"""Real values [H, W, C] of each input, in the graph's order of axes."""


def several_samples(
    given: Any, names: Sequence[str], forms: Sequence[InputForm], count: int, seed: int
) -> tuple[list[Sample], str]:
    """At most `count` samples, and where they are from.

    `given` is an iterable of tuples, one float tensor of each input, batches in equal numbers; or an .npz
    file with an array of rows for each input, under its name, of which rows are drawn by `seed`. Raises
    UsageError for anything else, and for other shapes or values that are not finite.
    """
    wanted = ", ".join(f"'{n}' {list(form.shape)}" for n, form in zip(names, forms, strict=True))
    if given is None:
        raise UsageError(
            f"calibration: none given for a float model; give tuples of a float tensor of each of {wanted}, "
            "or an .npz file with an array of rows of each"
        )
    if isinstance(given, (str, Path)):
        rows = _from_file(Path(given), names, wanted)
        chosen = np.random.default_rng(seed).permutation(len(rows[0]))[:count]
        found = [tuple(array[i] for array in rows) for i in chosen]
        origin = f"{len(found)} rows of {Path(given).name}"
    else:
        found = list(islice(_singles(given, len(forms), wanted), count))
        origin = f"{len(found)} inputs given"
    if not found:
        raise UsageError(f"calibration: it is empty; give values of {wanted}")
    return [_sample(values, forms, wanted, at) for at, values in enumerate(found)], origin


def as_tensors(sample: Sample, forms: Sequence[InputForm]) -> tuple[Tensor, ...]:
    """A sample as the model takes it."""
    pairs = zip(sample, forms, strict=True)
    return tuple(torch.from_numpy(form.from_graph(values).reshape(form.shape)) for values, form in pairs)


def _from_file(path: Path, names: Sequence[str], wanted: str) -> list[NDArray[Any]]:
    if not zipfile.is_zipfile(path):
        raise UsageError(f"{path}: is no .npz file, allowed: one with an array of each of {wanted}")
    arrays = open_arrays(path)
    counts = {len(array) if array.ndim else None for array in arrays.values()}
    if set(arrays) != set(names) or len(counts) != 1 or None in counts:
        found = ", ".join(f"'{name}' {list(array.shape)}" for name, array in arrays.items()) or "nothing"
        raise UsageError(f"{path}: holds {found}, allowed: as many rows of each of {wanted}")
    return [arrays[name] for name in names]


def _singles(given: Any, inputs: int, wanted: str) -> Iterable[tuple[Any, ...]]:
    """One of each input after another."""
    pairs = [given] if isinstance(given, tuple) and all(hasattr(one, "shape") for one in given) else given
    if not isinstance(pairs, Iterable):
        raise UsageError(
            f"calibration: {type(given).__name__}, allowed: tuples of a tensor of each of {wanted}"
        )
    for pair in pairs:
        if not isinstance(pair, (tuple, list)) or len(pair) < inputs:
            raise UsageError(
                f"calibration: holds {type(pair).__name__}, allowed: tuples of a tensor of each of {wanted}"
            )
        tensors = [torch.as_tensor(one).detach().cpu() for one in pair[:inputs]]
        if len({len(one) if one.ndim else -1 for one in tensors}) != 1:
            shapes = ", ".join(str(list(one.shape)) for one in tensors)
            raise UsageError(f"calibration: {shapes}, allowed: as many of each of {wanted}")
        yield from zip(*(one.numpy() for one in tensors), strict=True)


def _sample(values: Sequence[Any], forms: Sequence[InputForm], wanted: str, at: int) -> Sample:
    arrays = [np.asarray(one) for one in values]
    for array, form in zip(arrays, forms, strict=True):
        if array.dtype.kind != "f" or array.size != int(np.prod(form.shape)):
            raise UsageError(
                f"calibration: input {at} is {array.dtype} {list(array.shape)}, allowed: floats of {wanted}"
            )
        if not np.isfinite(array).all():
            raise UsageError(f"calibration: input {at} holds NaN or infinity; leave it out")
    return tuple(
        form.to_graph(array.astype(np.float32).reshape(form.shape))
        for array, form in zip(arrays, forms, strict=True)
    )
