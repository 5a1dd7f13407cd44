"""What of an operator was looked at: an operand or attribute that nothing reads would vanish silently."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rnnpool_mcu.errors import ModelError

DAMAGED = "correct the file, or cut the model before the operator"


class Noted(Mapping[str, Any]):
    """Attributes of an operator, with note of which were asked for."""

    def __init__(self, items: Mapping[str, Any]) -> None:
        """`items` are those that the file gives."""
        self.asked: set[str] = set()
        self._items = dict(items)

    def __getitem__(self, name: str) -> Any:
        self.asked.add(name)
        return self._items[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._items)

    def __len__(self) -> int:
        return len(self._items)

    def unread(self) -> dict[str, Any]:
        """Those that nobody asked for, with their values."""
        return {name: value for name, value in self._items.items() if name not in self.asked}


class Operands:
    """The operands of an operator by their place in it, with note of which were used.

    A place is a position, or an argument's name; an absent operand has the name "".
    """

    def __init__(self, names: Mapping[Any, str] | Sequence[str]) -> None:
        """`names` are the tensors that the operator reads."""
        self._names = dict(names if isinstance(names, Mapping) else enumerate(names))
        self._used: set[Any] = set()

    def use(self, *places: Any) -> None:
        """Note that what stands there is part of what the operator becomes."""
        self._used.update(places)

    def unused(self) -> dict[Any, str]:
        """Those that nobody used, by their place."""
        return {place: name for place, name in self._names.items() if name and place not in self._used}


def check_account(operands: Operands, attributes: Mapping[str, Any], supported: str = "") -> None:
    """ModelError for an operand that was not used, or for one of `attributes`, which nobody asked for.

    `supported` says what the operator may be.
    """
    limits = f", supported: {supported.rstrip('.')}" if supported else ""
    for place, name in operands.unused().items():
        raise ModelError(f"its input {place} ('{name}') is not looked at{limits}; {DAMAGED}")
    for attribute, value in attributes.items():
        raise ModelError(f"its attribute {attribute} ({value!r}) is not looked at{limits}; {DAMAGED}")
