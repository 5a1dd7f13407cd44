"""Model zoo: one file per model, each registering itself."""

from __future__ import annotations

from rnnpool_mcu.zoo import (
    face_a,
    face_b,
    face_c,
    face_m4,
    face_quant,
    face_qvga_mono,
    mcunet_like,
    mobilenetv2,
    mobilenetv2_rnnpool,
    one_shot_pooling,
)
from rnnpool_mcu.zoo.registry import create, names

__all__ = [
    "create",
    "face_a",
    "face_b",
    "face_c",
    "face_m4",
    "face_quant",
    "face_qvga_mono",
    "mcunet_like",
    "mobilenetv2",
    "mobilenetv2_rnnpool",
    "names",
    "one_shot_pooling",
]
