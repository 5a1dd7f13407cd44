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


def create(arch: str, /, **config: Any) -> nn.Module:
    """Build a model with fresh weights; ModelError for an unknown name or a setting that it cannot have."""
    build = _MODELS.get(arch)
    if build is None:
        close = difflib.get_close_matches(arch, _MODELS, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise ModelError(f"model {arch!r} is not known; known: {', '.join(names())}{hint}")
    try:
        model = build(**config)
        size = tuple(int(side) for side in getattr(model, "input_size", (1,)))
    except (TypeError, ValueError, RuntimeError, ArithmeticError, LookupError) as error:
        raise ModelError(f"model {arch!r}: configuration {config!r} does not fit: {error}") from error
    if min(size) < 1:
        raise ModelError(
            f"model {arch!r}: configuration {config!r} makes an input of {size}, allowed: sides from 1 on"
        )
    return model
