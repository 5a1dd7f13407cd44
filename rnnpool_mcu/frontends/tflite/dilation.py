"""Dilated convolutions that a converter wrote as three operators, made one again.

SPACE_TO_BATCH_ND deals the pixels out to a batch of small images, a plain convolution runs on each, and
BATCH_TO_SPACE_ND puts the pixels back: the same as one convolution whose taps lie that many pixels apart.
"""

from __future__ import annotations

from dataclasses import replace

from rnnpool_mcu.frontends.tflite.reader import StoredModel, StoredOperator

EXPLICIT = ("PadTop", "PadLeft", "PadBottom", "PadRight")
"""Options of a merged operator: rows and columns of zero around its input."""
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_PLAIN = {"Padding": 1, "StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}


def merge_dilated(model: StoredModel) -> StoredModel:
    """The model with every such group of three as one operator; others stay as they are."""
    readers: dict[int, list[StoredOperator]] = {}
    for op in model.operators:
        for index in op.inputs:
            readers.setdefault(index, []).append(op)
    merged: dict[int, StoredOperator] = {}  # by the index of the last of the three
    gone: set[int] = set()
    for op in model.operators:
        if op.kind != "SPACE_TO_BATCH_ND":
            continue
        middle = _only_reader(model, op, readers)
        last = None if middle is None else _only_reader(model, middle, readers)
        if middle is None or last is None:
            continue
        one = _merged(model, op, middle, last)
        if one is not None:
            merged[last.index] = one
            gone |= {op.index, middle.index}
    kept = (merged.get(op.index, op) for op in model.operators if op.index not in gone)
    return replace(model, operators=tuple(kept)) if merged else model


def _only_reader(
    model: StoredModel, op: StoredOperator, readers: dict[int, list[StoredOperator]]
) -> StoredOperator | None:
    if len(op.outputs) != 1 or op.outputs[0] in model.outputs:
        return None
    found = readers.get(op.outputs[0], [])
    return found[0] if len(found) == 1 else None


def _merged(
    model: StoredModel, first: StoredOperator, middle: StoredOperator, last: StoredOperator
) -> StoredOperator | None:
    """The convolution that the three compute; None where they are anything else."""
    plain = all(middle.options.get(key) == value for key, value in _PLAIN.items())
    if middle.kind not in _CONVOLUTIONS or last.kind != "BATCH_TO_SPACE_ND" or not plain:
        return None
    if middle.inputs[0] != first.outputs[0] or min(len(first.inputs), len(last.inputs)) != 3:
        return None
    block, pads = (_integers(model, index) for index in first.inputs[1:])
    again, crops = (_integers(model, index) for index in last.inputs[1:])
    if block is None or again != block or pads is None or crops is None:
        return None
    if len(block) != 2 or len(pads) != 4 or len(crops) != 4:
        return None
    top, bottom, left, right = (pad - crop for pad, crop in zip(pads, crops, strict=True))
    if min(top, bottom, left, right) < 0:
        return None
    dilation = {"DilationHFactor": block[0], "DilationWFactor": block[1]}
    padding = dict(zip(EXPLICIT, (top, left, bottom, right), strict=True))
    inputs = (first.inputs[0], *middle.inputs[1:])
    return replace(
        middle, inputs=inputs, outputs=last.outputs, options={**middle.options, **dilation, **padding}
    )


def _integers(model: StoredModel, index: int) -> list[int] | None:
    tensor = model.tensors[index]
    if index < 0 or tensor.data is None or tensor.dtype not in ("INT32", "INT64"):
        return None
    return [int(value) for value in tensor.data.reshape(-1)]
