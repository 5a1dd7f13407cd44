"""Sizes in bytes as options of commands."""

from __future__ import annotations

from typing import Any

import click

from rnnpool_mcu.ir.sizes import parse_size


class SizeType(click.ParamType[int]):
    """A click parameter type for sizes."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """The size in bytes; ends the command with a usage error where it is none."""
        if isinstance(value, int):
            return value
        try:
            return parse_size(value)
        except ValueError as error:
            self.fail(str(error), param, ctx)


SIZE = SizeType()
