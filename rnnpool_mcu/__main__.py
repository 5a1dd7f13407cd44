"""`python -m rnnpool_mcu`."""

from __future__ import annotations

from rnnpool_mcu.cli import main

main(prog_name="rnnpool-mcu")
