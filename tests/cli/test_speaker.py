"""How commands speak on a terminal."""

from __future__ import annotations

import io

import pytest

from rnnpool_mcu.cli.common import Speaker


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_paths_that_look_like_markup_are_shown_as_they_are(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = _Terminal()
    monkeypatch.setattr("sys.stderr", terminal)
    monkeypatch.setenv("TERM", "xterm")
    with Speaker(None, 0).progress("reading a[/x].pt") as progress:
        progress("writing b[/y]")
    assert "writing b[/y]" in terminal.getvalue()
