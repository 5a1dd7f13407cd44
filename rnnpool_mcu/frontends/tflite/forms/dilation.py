"""Dilated convolutions that a converter wrote as three operators or more, made one again.

SPACE_TO_BATCH_ND deals the pixels out to a batch of small images, a plain convolution runs on each, and
BATCH_TO_SPACE_ND puts the pixels back: the same as one convolution whose taps lie that many pixels apart. For
a signal, EXPAND_DIMS and RESHAPE stand around the convolution: each part is an image of one row there.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from rnnpool_mcu.frontends.tflite.reader import StoredModel, StoredOperator, StoredTensor

EXPLICIT = ("PadTop", "PadLeft", "PadBottom", "PadRight")
"""Options of a merged operator: rows and columns of zero around its input."""
_CONVOLUTIONS = ("CONV_2D", "DEPTHWISE_CONV_2D")
_VIEWS = ("EXPAND_DIMS", "RESHAPE", "SQUEEZE")
_PLAIN = {"Padding": 1, "StrideH": 1, "StrideW": 1, "DilationHFactor": 1, "DilationWFactor": 1}
Readers = dict[int, list[StoredOperator]]


@dataclass(frozen=True)
class _Chain:
    """The operators of a dilated convolution; of an image, no views stand around it."""

    first: StoredOperator  # SPACE_TO_BATCH_ND
    before: StoredOperator | None  # a view
    middle: StoredOperator  # the convolution
    after: StoredOperator | None
    last: StoredOperator  # BATCH_TO_SPACE_ND


def merge_dilated(model: StoredModel) -> StoredModel:
    """The model with every such group as one operator, and its views; others stay as they are."""
    readers: Readers = {}
    for op in model.operators:
        for index in op.inputs:
            readers.setdefault(index, []).append(op)
    found = [_chain(model, op, readers) for op in model.operators if op.kind == "SPACE_TO_BATCH_ND"]
    for chain in found:
        if chain is not None:
            model = _merged(model, chain)
    return model


def _only_reader(model: StoredModel, op: StoredOperator, readers: Readers) -> StoredOperator | None:
    if len(op.outputs) != 1 or op.outputs[0] in model.outputs:
        return None
    found = readers.get(op.outputs[0], [])
    return found[0] if len(found) == 1 and found[0].inputs[0] == op.outputs[0] else None


def _chain(model: StoredModel, first: StoredOperator, readers: Readers) -> _Chain | None:
    """The operators behind a SPACE_TO_BATCH_ND; None where they are anything else."""
    middle, before = _only_reader(model, first, readers), None
    if middle is not None and middle.kind in _VIEWS:
        before, middle = middle, _only_reader(model, middle, readers)
    last = None if middle is None else _only_reader(model, middle, readers)
    after = None
    if before is not None and last is not None and last.kind in _VIEWS:
        after, last = last, _only_reader(model, last, readers)
    if middle is None or last is None or (before is None) != (after is None):
        return None
    plain = all(middle.options.get(key) == value for key, value in _PLAIN.items())
    if middle.kind not in _CONVOLUTIONS or last.kind != "BATCH_TO_SPACE_ND" or not plain:
        return None
    return _Chain(first, before, middle, after, last)


def _merged(model: StoredModel, chain: _Chain) -> StoredModel:
    """The model with one dilated convolution in the place of the chain; as it was where they differ."""
    block, pads = _geometry(model, chain.first)
    again, crops = _geometry(model, chain.last)
    same = all(_keeps_quantization(model, op) for op in (chain.first, chain.before, chain.after, chain.last))
    if not same or not block or again != block or len(pads) != 2 * len(block) or len(crops) != len(pads):
        return model
    added = [pad - crop for pad, crop in zip(pads, crops, strict=True)]
    if min(added) < 0 or len(block) != (2 if chain.before is None else 1):
        return model
    dilation = {"DilationHFactor": block[0], "DilationWFactor": block[-1]}
    if chain.before is not None:
        return _merged_signal(model, chain, block[0], (added[0], added[1]))
    sides = (added[0], added[2], added[1], added[3])
    dilation = {"DilationHFactor": block[0], "DilationWFactor": block[1]}
    options = {**chain.middle.options, **dilation, **dict(zip(EXPLICIT, sides, strict=True))}
    inputs = (chain.first.inputs[0], *chain.middle.inputs[1:])
    one = replace(chain.middle, inputs=inputs, outputs=chain.last.outputs, options=options)
    return _replaced(model, chain, [one])


def _merged_signal(model: StoredModel, chain: _Chain, block: int, added: tuple[int, int]) -> StoredModel:
    """A signal [1, steps, channels] as an image of one row, the dilated convolution, a signal again."""
    assert chain.before is not None and chain.after is not None
    signal, result = model.tensors[chain.first.inputs[0]], model.tensors[chain.last.outputs[0]]
    parts, convolved = model.tensors[chain.before.outputs[0]], model.tensors[chain.middle.outputs[0]]
    # Where the batch was open the file says 1 for the parts, too.
    rows = all(len(t.shape) == 4 and t.shape[1] == 1 and t.shape[0] in (1, block) for t in (parts, convolved))
    signals = all(len(t.shape) == 3 and t.shape[0] == 1 and not t.dynamic for t in (signal, result))
    if not rows or not signals:
        return model
    dilation = {"DilationHFactor": 1, "DilationWFactor": block}
    padding = dict(zip(EXPLICIT, (0, added[0], 0, added[1]), strict=True))
    first, second = len(model.tensors), len(model.tensors) + 1  # as rows, in the place of parts and convolved
    tensors = (*model.tensors, _as_row(parts, first, signal), _as_row(convolved, second, result))
    conv = replace(
        chain.middle,
        inputs=(first, *chain.middle.inputs[1:]),
        outputs=(second,),
        options={**chain.middle.options, **dilation, **padding},
    )
    made = [
        replace(chain.before, kind="RESHAPE", inputs=(signal.index,), outputs=(first,), options={}),
        conv,
        replace(chain.after, kind="RESHAPE", inputs=(second,), outputs=chain.last.outputs, options={}),
    ]
    return _replaced(replace(model, tensors=tensors), chain, made)


def _as_row(tensor: StoredTensor, index: int, signal: StoredTensor) -> StoredTensor:
    """A new tensor of one row with a signal's steps and channels, and the quantization of another."""
    return replace(tensor, index=index, shape=(1, *signal.shape), dynamic=False)


def _replaced(model: StoredModel, chain: _Chain, made: list[StoredOperator]) -> StoredModel:
    """The model with operators in the place of a chain, where its last stood."""
    gone = {op.index for op in (chain.first, chain.before, chain.middle, chain.after) if op is not None}
    operators: list[StoredOperator] = []
    for op in model.operators:
        if op.index == chain.last.index:
            operators += made
        elif op.index not in gone:
            operators.append(op)
    return replace(model, operators=tuple(operators))


def _keeps_quantization(model: StoredModel, op: StoredOperator | None) -> bool:
    """Whether an operator that moves bytes gives them the scale and zero point that they had."""
    if op is None:
        return True
    before, after = (model.tensors[index].quantization for index in (op.inputs[0], op.outputs[0]))
    if before is None or after is None:
        return before is after
    return bool(
        np.array_equal(before.scales, after.scales) and np.array_equal(before.zero_points, after.zero_points)
    )


def _geometry(model: StoredModel, op: StoredOperator) -> tuple[list[int], list[int]]:
    """A block and the pads or crops around it, by sides; nothing where they are computed."""
    if len(op.inputs) != 3:
        return [], []
    block, sides = (_integers(model, index) for index in op.inputs[1:])
    return (block, sides) if block and sides is not None else ([], [])


def _integers(model: StoredModel, index: int) -> list[int] | None:
    tensor = model.tensors[index]
    if index < 0 or tensor.data is None or tensor.dtype not in ("INT32", "INT64"):
        return None
    return [int(value) for value in tensor.data.reshape(-1)]
