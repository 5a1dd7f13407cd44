"""Values from files, checked against the annotations of the dataclasses that they become."""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Callable
from typing import Any, Literal, Union

import numpy as np

from rnnpool_mcu.system.plain_files import FileFault

Make = Callable[[Any, Any, str], Any]
LARGEST, MOST_FLOAT = 1 << 62, 1e300
"""Of numbers: integers of parameters and sizes are below 2^31, a few int64 sums above it."""


@functools.cache
def field_types(kind: type) -> dict[str, Any]:
    """Name and type of each field that a dataclass is made with."""
    hints = typing.get_type_hints(kind)
    return {field.name: hints[field.name] for field in dataclasses.fields(kind) if field.init}


def check_fields(kind: type, names: typing.Iterable[str], place: str) -> None:
    """FileFault unless `names` are fields of a dataclass, and those without a default among them."""
    given = set(names)
    if unknown := sorted(given - field_types(kind).keys()):
        raise FileFault(f"{place}: '{unknown[0]}', expected a field of {kind.__name__}")
    needed = [
        f.name
        for f in dataclasses.fields(kind)
        if f.init and f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING
    ]
    if missing := [name for name in needed if name not in given]:
        raise FileFault(f"{place}: expected '{missing[0]}' of {kind.__name__}")


def checked(value: Any, hint: Any, place: str) -> Any:
    """`value` where it is of the type `hint`, lists as tuples; FileFault with the place where not."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return _one_of(value, arguments, place)
    if origin is Literal:
        if not any(type(value) is type(allowed) and value == allowed for allowed in arguments):
            raise _fault(place, value, f"one of {', '.join(map(repr, arguments))}")
        return value
    if origin is tuple:
        return _tuple(value, arguments, place)
    if origin is dict:
        if not isinstance(value, dict) or not all(isinstance(key, str) for key in value):
            raise _fault(place, value, "an object")
        return {key: checked(item, arguments[1], f"{place}.{key}") for key, item in value.items()}
    if origin is np.ndarray:
        return _array(value, arguments, place)
    return _single(value, hint, place)


def _single(value: Any, hint: Any, place: str) -> Any:
    if hint is float:
        if type(value) not in (int, float) or not abs(value) <= MOST_FLOAT:
            raise _fault(place, value, "a finite number")
        return value
    if hint is int:
        if type(value) is not int or abs(value) > LARGEST:
            raise _fault(place, value, "an integer")
        return value
    if hint in (bool, str, types.NoneType):
        if type(value) is not hint:
            raise _fault(place, value, "null" if hint is types.NoneType else f"a {hint.__name__}")
        return value
    if not isinstance(value, hint):
        raise _fault(place, value, f"a {hint.__name__}")
    return value


def _one_of(value: Any, hints: tuple[Any, ...], place: str) -> Any:
    for hint in hints:
        try:
            return checked(value, hint, place)
        except FileFault:
            continue
    names = " or ".join(getattr(hint, "__name__", str(hint)) for hint in hints)
    raise _fault(place, value, names)


def _tuple(value: Any, hints: tuple[Any, ...], place: str) -> tuple[Any, ...]:
    if not isinstance(value, tuple | list):
        raise _fault(place, value, "a list")
    if len(hints) == 2 and hints[1] is Ellipsis:
        hints = (hints[0],) * len(value)
    if len(value) != len(hints):
        raise _fault(place, value, f"{len(hints)} values")
    pairs = zip(value, hints, strict=True)
    return tuple(checked(item, hint, f"{place}[{number}]") for number, (item, hint) in enumerate(pairs))


def _array(value: Any, arguments: tuple[Any, ...], place: str) -> Any:
    """An array whose type is the annotated one; `np.floating` and the like stand for their kinds."""
    if not isinstance(value, np.ndarray):
        raise _fault(place, value, "an array")
    wanted = typing.get_args(arguments[1])[0] if len(arguments) > 1 else Any
    if wanted is not Any and not issubclass(value.dtype.type, wanted):
        raise FileFault(f"{place}: an array of {value.dtype}, expected {wanted.__name__}")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise FileFault(f"{place}: an array with NaN or infinity, expected finite numbers")
    return value


def _fault(place: str, value: Any, expected: str) -> FileFault:
    return FileFault(f"{place}: {value!r:.60}, expected {expected}")
