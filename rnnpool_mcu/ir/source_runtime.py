"""The runtime that a model came from, as validation asks it: every value it computes for one image."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class SourceRuntime(Protocol):
    """Runs the model file itself, by the framework's own kernels."""

    name: str  # for people: runtime, version, kernels

    def values(self, image: NDArray[np.int8]) -> Mapping[str, NDArray[np.int8]]:
        """int8 height x width x channels of each value of the integer graph that the runtime has, by name.

        `image` is the graph's int8 input. A value that the runtime does not compute is left out.
        """
