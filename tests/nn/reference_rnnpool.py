"""RNNPool written straight from the paper's equations, patch by patch, in numpy float64.

Shares nothing with the package: neither code nor the idea of sharing sweeps between patches.
"""

from __future__ import annotations

import numpy as np

Cell = dict[str, np.ndarray]


def step(cell: Cell, x: np.ndarray, h: np.ndarray, piecewise_linear: bool) -> np.ndarray:
    a = x @ cell["W"] + h @ cell["U"]
    gate, update = a + cell["bias_gate"][0], a + cell["bias_update"][0]
    if piecewise_linear:
        z, c = np.clip((gate + 1) / 2, 0, 1), np.clip(update, -1, 1)
    else:
        z, c = 1 / (1 + np.exp(-gate)), np.tanh(update)
    zeta, nu = 1.0, 0.0
    return z * h + (zeta * (1 - z) + nu) * c


def sweep(cell: Cell, sequence: list[np.ndarray], piecewise_linear: bool) -> np.ndarray:
    h = np.zeros(cell["U"].shape[0])
    for x in sequence:
        h = step(cell, x, h, piecewise_linear)
    return h


def pool_patch(patch: np.ndarray, rnn1: Cell, rnn2: Cell, piecewise_linear: bool) -> np.ndarray:
    """patch [rows, columns, channels] to [4 * h2]."""
    rows = [sweep(rnn1, list(patch[r]), piecewise_linear) for r in range(patch.shape[0])]
    columns = [sweep(rnn1, list(patch[:, c]), piecewise_linear) for c in range(patch.shape[1])]
    sequences = (rows, rows[::-1], columns, columns[::-1])
    return np.concatenate([sweep(rnn2, s, piecewise_linear) for s in sequences])


def rnnpool(
    x: np.ndarray, rnn1: Cell, rnn2: Cell, patch: int, stride: int, piecewise_linear: bool = False
) -> np.ndarray:
    """x [N, C, H, W] to [N, 4 * h2, out_height, out_width]."""
    n, _, height, width = x.shape
    tops, lefts = range(0, height - patch + 1, stride), range(0, width - patch + 1, stride)
    out = np.zeros((n, 4 * rnn2["U"].shape[0], len(tops), len(lefts)))
    for image in range(n):
        for i, top in enumerate(tops):
            for j, left in enumerate(lefts):
                part = x[image, :, top : top + patch, left : left + patch].transpose(1, 2, 0)
                out[image, :, i, j] = pool_patch(part, rnn1, rnn2, piecewise_linear)
    return out
