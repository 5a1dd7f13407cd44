"""Compile RNNPool and other int8 vision models to C firmware with a proven RAM budget."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rnnpool_mcu.api import CompiledModel, compile, quantize_module

__version__ = "0.1.0"
__all__ = ["CompiledModel", "__version__", "compile", "quantize_module"]


def __getattr__(name: str) -> Any:
    """What `rnnpool_mcu.api` offers, imported when it is first asked for."""
    if name in __all__:
        return getattr(importlib.import_module("rnnpool_mcu.api"), name)
    raise AttributeError(f"module 'rnnpool_mcu' has no attribute '{name}'")
