"""The runtime that a model came from, as validation asks it: every value it computes for one image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from rnnpool_mcu.ir.evaluate import Inputs


class SourceRuntime(Protocol):
    """Runs the model file itself, by the framework's own kernels."""

    name: str  # for people: runtime, version, kernels

    def reset(self) -> None:
        """Forget all earlier inputs: what comes next is the first of a sequence."""

    def values(self, image: Inputs) -> Mapping[str, NDArray[np.int8]]:
        """int8 height x width x channels of each value of the integer graph that the runtime has, by name.

        `image` is the graph's int8 input, or each input by name where it has several. A value that the
        runtime does not compute is left out; states are as they were before this run.
        """
