"""Updates to match: when trainings at several rates were first seen to be as good as another.

Lecture chapter 5.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Arm:
    """One kind at all of its rates, of one seed.

    Attributes:
        rates: those.
        looks: updates made when held-out accuracy was looked at.
        accuracy: of shape (rates, looks).
        best: the place of the rate with the lowest training loss, in the mean over the whole training.
    """

    rates: Sequence[float]
    looks: Sequence[int]
    accuracy: NDArray[np.float64]
    best: int

    def at(self, rate: float) -> NDArray[np.float64]:
        """Held-out accuracy at each look."""
        curve: NDArray[np.float64] = self.accuracy[list(self.rates).index(rate)]
        return curve

    def updates(self, curve: NDArray[np.float64], goal: float) -> float:
        """Until an accuracy was seen; NaN where it never was."""
        reached = curve >= goal
        return float(self.looks[int(reached.argmax())]) if reached.any() else math.nan

    def updates_at_best(self, goal: float) -> float:
        """The same at the best rate; as many as were made where it is more."""
        found = self.updates(self.accuracy[self.best], goal)
        return float(self.looks[-1]) if math.isnan(found) else found
