"""`python -m rnnpool_mcu`."""

from __future__ import annotations

import signal

_handler = signal.getsignal(signal.SIGINT)
if _handler is signal.default_int_handler:  # Ctrl-C among the imports, which may turn it into other errors
    signal.signal(signal.SIGINT, signal.SIG_DFL)

from rnnpool_mcu.cli import main  # noqa: E402


def start() -> None:
    """The command line; Ctrl-C is heard by it from here on."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_DFL:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    main(prog_name="rnnpool-mcu")


if __name__ == "__main__":
    start()
