"""Integer square roots."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def isqrt(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """floor(sqrt(v)) of values below 2**32: float64's root is off by less than one."""
    root = np.sqrt(values.astype(np.float64)).astype(np.int64)
    root -= root * root > values
    return root + ((root + 1) * (root + 1) <= values)
