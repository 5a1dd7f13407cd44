"""How far a training is: in steps, or in minutes on the wall."""

from __future__ import annotations

import time
from dataclasses import dataclass

from rnnpool_mcu.training.engine.recipe import Recipe


@dataclass
class Clock:
    """Time since `started` (seconds of the epoch), and `earlier` seconds of the parts before a resumption."""

    recipe: Recipe
    started: float
    earlier: float = 0.0

    @property
    def seconds(self) -> float:
        """Wall-clock seconds of training, resumed parts included."""
        return self.earlier + time.time() - self.started

    @property
    def minutes(self) -> float:
        """The same in minutes."""
        return self.seconds / 60

    def progress(self, steps: int) -> float:
        """Share of the training that is done, now or, if it is counted in steps, after so many of them."""
        if self.recipe.steps is not None:
            return steps / self.recipe.steps
        return self.minutes / float(self.recipe.minutes or 1)
