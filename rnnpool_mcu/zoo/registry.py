"""Models by name: each file of the zoo registers its own."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from typing import Any

from torch import nn

from rnnpool_mcu.errors import ModelError

_MODELS: dict[str, Callable[..., nn.Module]] = {}


def register(name: str) -> Callable[[Callable[..., nn.Module]], Callable[..., nn.Module]]:
    """Decorator: make `create(name, **config)` call the decorated constructor."""

    def add(build: Callable[..., nn.Module]) -> Callable[..., nn.Module]:
        _MODELS[name] = build
        return build

    return add


def names() -> tuple[str, ...]:
    """All registered names, sorted."""
    return tuple(sorted(_MODELS))


def create(arch: str, **config: Any) -> nn.Module:
    """Build a model with fresh weights; ModelError for an unknown name or a setting it does not have."""
    build = _MODELS.get(arch)
    if build is None:
        close = difflib.get_close_matches(arch, _MODELS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ModelError(f"model {arch!r} is not known; known: {', '.join(names())}{hint}")
    try:
        return build(**config)
    except TypeError as error:
        raise ModelError(f"model {arch!r}: configuration {config!r} does not fit: {error}") from error
