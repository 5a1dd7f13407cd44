"""Model zoo: one file per model, each registering itself."""

from __future__ import annotations

from rnnpool_mcu.zoo import face_m4, mobilenetv2_rnnpool
from rnnpool_mcu.zoo.registry import create, names

__all__ = ["create", "face_m4", "mobilenetv2_rnnpool", "names"]
