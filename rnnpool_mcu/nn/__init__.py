"""Torch layers: FastGRNN, RNNPool, S3FD's L2Norm and max-out, MobileNet blocks."""

from __future__ import annotations

from rnnpool_mcu.nn.blocks import ConvBNReLU6, InvertedResidual, ReplicatePad
from rnnpool_mcu.nn.fastgrnn import FastGRNNCell
from rnnpool_mcu.nn.l2_norm import L2Norm
from rnnpool_mcu.nn.max_out import MaxOut
from rnnpool_mcu.nn.rnnpool import RNNPool

__all__ = ["ConvBNReLU6", "FastGRNNCell", "InvertedResidual", "L2Norm", "MaxOut", "RNNPool", "ReplicatePad"]
