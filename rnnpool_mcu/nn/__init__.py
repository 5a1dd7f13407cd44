"""Torch layers: FastGRNN, RNNPool, S3FD's L2Norm and max-out, MobileNet blocks."""

from __future__ import annotations

from rnnpool_mcu.nn import recurrent as recurrent  # registers torch.ops.rnnpool_mcu.gru and lstm
from rnnpool_mcu.nn.blocks import (
    ConvBNReLU6,
    DepthwiseSeparable,
    InvertedResidual,
    ReplicatePad,
    inverted_residuals,
)
from rnnpool_mcu.nn.fastgrnn import FastGRNNCell
from rnnpool_mcu.nn.l2_norm import L2Norm
from rnnpool_mcu.nn.max_out import MaxOut
from rnnpool_mcu.nn.rnnpool import RNNPool

__all__ = [
    "ConvBNReLU6",
    "DepthwiseSeparable",
    "FastGRNNCell",
    "InvertedResidual",
    "L2Norm",
    "MaxOut",
    "RNNPool",
    "ReplicatePad",
    "inverted_residuals",
]
