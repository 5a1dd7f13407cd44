"""Compile RNNPool and other int8 vision models to C firmware with a proven RAM budget."""

from __future__ import annotations

__version__ = "0.1.0"
