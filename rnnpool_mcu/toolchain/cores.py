"""The Cortex-M cores that firmware is built for, and the compiler's flags for each.

Flags are those of Arm's GCC (its manual, "ARM Options"); DSP instructions come with the architecture from the
Cortex-M4 on, and kernels take them by the compiler's own macros.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Core:
    """One kind of core."""

    name: str
    flags: str  # of compiler and linker


_SOFT = "-mthumb -mfloat-abi=soft"
CORES = {
    core.name: core
    for core in (
        Core("cortex-m0plus", f"-mcpu=cortex-m0plus {_SOFT}"),
        Core("cortex-m3", f"-mcpu=cortex-m3 {_SOFT}"),
        Core("cortex-m4", f"-mcpu=cortex-m4 {_SOFT}"),
        Core("cortex-m4f", "-mcpu=cortex-m4 -mthumb -mfpu=fpv4-sp-d16 -mfloat-abi=hard"),
        Core("cortex-m7", "-mcpu=cortex-m7 -mthumb -mfpu=fpv5-sp-d16 -mfloat-abi=hard"),
        Core("cortex-m33", "-mcpu=cortex-m33 -mthumb -mfpu=fpv5-sp-d16 -mfloat-abi=hard"),
        Core("cortex-m55", "-mcpu=cortex-m55+nomve -mthumb -mfloat-abi=hard"),
    )
}
