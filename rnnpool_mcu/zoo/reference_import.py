"""Weights of the authors' reference implementation, renamed for the models of this zoo.

The reference names a cell's parameters `<prefix>rnn_model.cell_rnn.cell.{W,U,bias_gate,bias_update,zeta,nu}`
(RNN1) and `<prefix>rnn_model.cell_bidirrnn.cell.{...}` (RNN2); the prefix varies with wrapper classes. It
keeps the same cells a second time under `unrollRNN`, which is left out here.

Output order. This package's RNNPool gives [rows forwards, rows backwards, columns forwards, columns
backwards]. The reference concatenates the result over the summaries of rows (its `outputs_rows`: time runs
along a row) and that over the summaries of columns (`outputs_cols`), on patches reshaped to [C, row, column]:
the same order.
Code that concatenates the columns' result first is read with `columns_first=True`: the input channels of the
layer after RNNPool are then permuted by `rows_first_channels`, so that the network computes the same.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor

from rnnpool_mcu.errors import ModelError
from rnnpool_mcu.zoo.checkpoint import (
    GRAY_PREPROCESSING,
    LoadedModel,
    check_finite,
    load_weights,
    read_plain,
)
from rnnpool_mcu.zoo.registry import create

CELLS = {"cell_rnn.cell.": "rnn1.", "cell_bidirrnn.cell.": "rnn2."}
CELL_PARAMETERS = ("W", "U", "bias_gate", "bias_update", "zeta", "nu")
FACE_M4_NAMES = (
    ("conv.", "stem."),
    ("mob.", "blocks."),
    ("L2Norm3_3.", "norms.0."),
    ("L2Norm4_3.", "norms.1."),
    ("L2Norm5_3.", "norms.2."),
    ("loc.", "loc."),
    ("conf.", "conf."),
)
FACE_M4_AFTER_POOL = "blocks.0.layers.0.0.weight"
MEAN_GRAY = 0.299 * 123 + 0.587 * 117 + 0.114 * 104
"""What the reference subtracts from a grey level of 0..255: the luma of its mean colour."""
REFERENCE_PREPROCESSING = GRAY_PREPROCESSING | {"scale": 1.0, "mean": [MEAN_GRAY]}


def rows_first_channels(hidden: int) -> Tensor:
    """Permutation p [4 * hidden]: channel i, rows first, is channel p[i], columns first."""
    return torch.arange(4 * hidden).roll(2 * hidden)


def import_rnnpool(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """State dict of `nn.RNNPool` from a reference state dict that holds one RNNPool, under any prefix."""
    found: dict[str, Tensor] = {}
    for name, value in state.items():
        for reference, ours in CELLS.items():
            _, marker, parameter = name.rpartition(reference)
            if not marker or parameter not in CELL_PARAMETERS or "unrollRNN." in name:
                continue
            if ours + parameter in found:
                raise ModelError(
                    f"reference weights: more than one RNNPool ({name} after another); import each alone"
                )
            found[ours + parameter] = value
    missing = [cell + p for cell in CELLS for p in CELL_PARAMETERS if CELLS[cell] + p not in found]
    if missing:
        raise ModelError(
            f"reference weights: no {', '.join(missing[:3])} under any prefix; is it an RNNPool model?"
        )
    return found


def import_face_m4(state: Mapping[str, Tensor], columns_first: bool = False) -> dict[str, Tensor]:
    """State dict of the zoo's face-m4 from the reference's S3FD module for RNNPool-Face-M4."""
    converted = {f"pool.{name}": value for name, value in import_rnnpool(state).items()}
    for name, value in state.items():
        plain = name.removeprefix("module.")
        for reference, ours in FACE_M4_NAMES:
            if plain.startswith(reference):
                renamed = ours + plain.removeprefix(reference)
                converted[renamed.replace(".conv.", ".layers.") if ours == "blocks." else renamed] = value
                break
    if columns_first and FACE_M4_AFTER_POOL in converted:
        hidden = converted["pool.rnn2.U"].shape[0]
        converted[FACE_M4_AFTER_POOL] = converted[FACE_M4_AFTER_POOL][:, rows_first_channels(hidden)]
    return converted


def load_reference_face_m4(path: str | Path, columns_first: bool = False) -> LoadedModel:
    """Read a reference checkpoint, {'weight': state_dict, 'epoch': n} or a bare state_dict, as face-m4.

    The model takes the tensors the reference was trained on, grey level - MEAN_GRAY, and gives its outputs;
    `take_pixels` makes it one that compiles. ModelError says what does not fit.
    """
    path = Path(path)
    content = read_plain(path)
    state = content.get("weight", content) if isinstance(content, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ModelError(
            f"{path}: neither {{'weight': state_dict}} nor a state_dict of the reference implementation"
        )
    check_finite(path, state)
    converted = import_face_m4(state, columns_first)
    config = {"hidden": converted["pool.rnn1.U"].shape[0]}
    model = create("face-m4", **config)
    load_weights(path, model, converted)
    return LoadedModel(model.eval(), "face-m4", config, dict(REFERENCE_PREPROCESSING), ["face"])


def take_pixels(loaded: LoadedModel) -> LoadedModel:
    """The same detector for pixel / 255: scale and mean folded into its stem, a convolution and a BatchNorm.

    Outputs are the same but where the stem's padding is seen: it is black now, and was MEAN_GRAY.
    """
    (mean,) = loaded.preprocessing["mean"]
    scale = GRAY_PREPROCESSING["scale"] / loaded.preprocessing["scale"]  # of the new tensors, in the old
    model = copy.deepcopy(loaded.model)
    stem = cast(Any, model).stem
    with torch.no_grad():
        stem[1].running_mean += mean * stem[0].weight.sum(dim=(1, 2, 3))
        stem[0].weight /= scale
    return dataclasses.replace(loaded, model=model, preprocessing=dict(GRAY_PREPROCESSING))
