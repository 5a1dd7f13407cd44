"""Errors a user may see, each kind with the exit code the command line ends with.

A message says what went wrong, where, the actual and the allowed value, and the next step.
Anything that is not a `UserError` is a defect of this package and keeps its traceback.
"""

from __future__ import annotations

from typing import ClassVar


class UserError(Exception):
    """A problem the user can do something about; printed as `error: ...` without a traceback."""

    exit_code: ClassVar[int] = 1


class UsageError(UserError):
    """An argument or a file given on the command line is wrong."""

    exit_code: ClassVar[int] = 2


class ModelError(UserError):
    """The model cannot be read, or holds something that is not supported."""

    exit_code: ClassVar[int] = 3


class BudgetError(UserError):
    """No plan fits the RAM or flash that was allowed."""

    exit_code: ClassVar[int] = 4


class ValidationError(UserError):
    """Two engines that must agree bit for bit do not."""

    exit_code: ClassVar[int] = 5


class ToolMissingError(UserError):
    """A compiler or a simulator that is needed is not installed."""

    exit_code: ClassVar[int] = 6
