"""Tensors from files: what a model's weights may be."""

from __future__ import annotations

import torch

from rnnpool_mcu.errors import ModelError


def check_tensor(name: str, tensor: torch.Tensor) -> None:
    """ModelError unless a tensor is dense, in memory, real and no larger than the bytes it is stored in.

    Sparse, meta and quantized ones cannot be taken as they are; one that repeats few stored values (by a
    stride of 0) would take as much memory as its file says.
    """
    kind = str(tensor.layout).removeprefix("torch.")
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_nested:
        kind = "nested" if tensor.is_nested else "quantized" if tensor.is_quantized else kind
        raise ModelError(f"tensor {name!r} is {kind}, supported: dense ones; store it by to_dense()")
    if tensor.device.type != "cpu":
        raise ModelError(f"tensor {name!r} is on '{tensor.device.type}', without values; store it with them")
    if tensor.is_complex():
        raise ModelError(f"tensor {name!r} is complex, supported: real ones")
    stored = tensor.untyped_storage().nbytes()
    if tensor.numel() * tensor.element_size() > stored:
        raise ModelError(
            f"tensor {name!r} of {list(tensor.shape)} repeats {stored} stored bytes, supported: tensors of "
            "their own; store it by clone()"
        )
